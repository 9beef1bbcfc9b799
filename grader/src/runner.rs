//! Runs checks of built subjects, some at a time, and judges each.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use harness::event::{Event, Line};

use crate::compile::{Build, readable_paths};
use crate::course::Course;
use crate::error::Result;
use crate::grade::Settings;
use crate::judge::{is_void, judge};
use crate::lab::{Check, Evidence, Use};
use crate::machine_code::{self, Broken, Seen};
use crate::output::{cut, harmless};
use crate::sandbox::probe;
use crate::sandbox::protection::Protection;
use crate::sandbox::tier::Tier;
use crate::sandbox::{self, Order};
use crate::scratch::{Scratch, Unit};
use crate::twin::Twins;
use crate::verdict::{Uncompiled, Verdict};

/// So many executions that say nothing are made again.
const MOST_VOID: usize = 3;
/// The most text of one check that is kept for the report, besides its output: its verdict, then its notes. In bytes.
const MOST_TEXT: usize = 32 * 1024;

/// One check of one built subject.
#[derive(Debug, Clone)]
pub struct Task<'a> {
    /// The subject.
    pub unit: &'a Unit<'a>,
    /// What the compiler made of it.
    pub build: &'a Build,
    /// The explored twins, for checks that explore.
    pub twins: &'a Twins,
    /// The check.
    pub check: &'a Check,
    /// The check's own seed.
    pub seed: u64,
}

/// What came of a task.
#[derive(Debug, Clone)]
pub struct Ran {
    /// The verdict, its paths readable.
    pub verdict: Verdict,
    /// What was covered.
    pub notes: Vec<String>,
    /// What the submission printed.
    pub output: String,
    /// How long it took.
    pub elapsed: Duration,
}

/// Where and how fast checks run.
#[derive(Debug)]
pub struct Runner<'a> {
    /// Whose checks.
    pub course: &'a Course,
    /// Where they run.
    pub scratch: &'a Scratch,
    /// How slow this machine is; at least 1.
    slowness: f64,
    /// The factor the user asks for on top.
    time_budget: f64,
    /// How many checks run at a time.
    jobs: usize,
    /// How checks are shut in.
    tier: Tier,
    /// Folders that a check has no business in.
    hidden: Vec<PathBuf>,
    /// Folders that it may read.
    shown: Vec<PathBuf>,
    /// A protection that is off, in tests.
    without: Option<Protection>,
}

impl<'r> Runner<'r> {
    /// A runner on a machine that is so slow and offers this sandbox.
    pub fn new(
        course: &'r Course,
        scratch: &'r Scratch,
        settings: &Settings,
        slowness: f64,
        tier: Tier,
    ) -> Runner<'r> {
        let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.parent().is_some());
        let common = ["/home", "/root", "/run", "/mnt", "/media"].map(PathBuf::from);
        let own = [course.root.clone(), scratch.root.clone()];
        let shown = probe::shown(course, scratch);
        let hidden = common.into_iter().chain(home).chain(own).collect();
        Runner {
            course,
            scratch,
            slowness,
            time_budget: settings.time_budget,
            jobs: settings.jobs,
            tier,
            hidden,
            shown,
            without: settings.without,
        }
    }

    /// Runs all tasks; the results come in the order of the tasks. `review` may change a result, and
    /// `done` hears of each with its number, in the order in which they end.
    ///
    /// # Errors
    /// The first failure of ours.
    pub fn run_all<'a>(
        &self,
        tasks: &[Task<'a>],
        review: &(dyn Fn(&Task<'a>, Ran) -> Result<Ran> + Sync),
        done: &(dyn Fn(usize, &Ran) + Sync),
    ) -> Result<Vec<Ran>> {
        let next = AtomicUsize::new(0);
        let results: Vec<Mutex<Option<Result<Ran>>>> = tasks.iter().map(|_| Mutex::new(None)).collect();
        let work = || {
            while let Some(index) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&i| i < tasks.len()) {
                let ran = self.run(&tasks[index]).and_then(|ran| review(&tasks[index], ran));
                match &ran {
                    Ok(ran) => done(index, ran),
                    Err(_) => next.store(tasks.len(), Ordering::Relaxed),
                }
                *results[index].lock().unwrap_or_else(PoisonError::into_inner) = Some(ran);
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..self.jobs {
                scope.spawn(work);
            }
            work();
        });
        // A task is left without a result only after another one failed, and that failure is returned.
        results
            .into_iter()
            .filter_map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner))
            .collect()
    }

    /// Runs one task.
    ///
    /// # Errors
    /// When the process cannot be started or watched.
    pub fn run(&self, task: &Task<'_>) -> Result<Ran> {
        let binary = match task.build {
            Build::Binary(binary) => binary,
            Build::Refused(why) => {
                let verdict = Verdict::DidNotCompile(Uncompiled::Unreadable(why.clone()));
                return Ok(Ran::without_running(verdict));
            }
            Build::Errors(errors) => {
                return Ok(Ran::without_running(Verdict::DidNotCompile(Uncompiled::Compiler(
                    errors.clone(),
                ))));
            }
        };
        if crate::signals::received().is_some() {
            return Ok(Ran::without_running(Verdict::interrupted()));
        }
        if let Some(need) = task.check.needs.iter().find(|&&need| !self.tier.gives(need)) {
            let why = format!(
                "the check needs {need}, which the sandbox of tier {} does not give; `grader doctor` says more",
                self.tier
            );
            return Ok(Ran::without_running(Verdict::Inconclusive { why }));
        }
        if task.check.evidence != Evidence::Explore {
            return self.execute(binary, task);
        }
        match task.twins.wait(&task.unit.id) {
            Ok(twin) => self.execute(&twin, task),
            Err(why) => Ok(Ran::without_running(Verdict::Inconclusive { why })),
        }
    }

    fn execute(&self, binary: &Path, task: &Task<'_>) -> Result<Ran> {
        Ok(self.judged(binary, task, None)?.0)
    }

    /// Runs one execution of an exploring check again. With the result: its steps, and whether its schedule fits the
    /// program, if there is such an exploration and the execution did not fail.
    ///
    /// # Errors
    /// When the process cannot be started or watched.
    pub fn replay(
        &self,
        twin: &Path,
        task: &Task<'_>,
        schedule: &str,
    ) -> Result<(Ran, Vec<Line>, Option<bool>)> {
        let (ran, events) = self.judged(twin, task, Some(schedule))?;
        let steps = events.iter().filter_map(|event| match event {
            Event::Stepped(Line { kind, text }) => {
                Some(Line { kind: *kind, text: self.readable(text, task) })
            }
            _ => None,
        });
        let steps = steps.collect();
        let fits = events.iter().find_map(|event| match event {
            Event::Replayed { fits } => Some(*fits),
            _ => None,
        });
        Ok((ran, steps, fits))
    }

    /// Text of a submission with the paths that a reader knows, made harmless.
    fn readable(&self, text: &str, task: &Task<'_>) -> String {
        let text = readable_paths(text, &self.scratch.root, &self.course.root, task.unit);
        harmless(&text)
    }

    fn judged(&self, binary: &Path, task: &Task<'_>, replay: Option<&str>) -> Result<(Ran, Vec<Event>)> {
        let factor = self.slowness * self.time_budget;
        let order = Order {
            binary,
            check: &task.check.name,
            seed: task.seed,
            deadline: task.check.deadline().mul_f64(factor),
            slowness: factor.max(1.0),
            options: &replay.map_or(Vec::new(), |replay| vec!["--replay", replay]),
            scratch: &self.scratch.root,
            tier: self.tier,
            hidden: &self.hidden,
            shown: &self.shown,
            sockets: task.check.uses.contains(&Use::NamedSockets),
            without: self.without,
        };
        let mut execution = sandbox::run(&order)?;
        // Not a second chance: an execution in which the sandbox is known to have made a call fail is none.
        for _ in 0..MOST_VOID {
            if !is_void(&execution) {
                break;
            }
            execution = sandbox::run(&order)?;
        }
        let room = Cell::new(MOST_TEXT);
        let readable = |text: &str| {
            let text = cut(self.readable(text, task), room.get());
            room.set(room.get().saturating_sub(text.len()));
            text
        };
        let verdict = with_machine_code(judge(&execution), binary, &execution.events).map_text(readable);
        let notes = execution.events.iter().filter_map(|event| match event {
            Event::Note { text } => (room.get() > 0).then(|| readable(text)),
            _ => None,
        });
        let ran = Ran {
            verdict,
            notes: notes.collect(),
            output: self.readable(&execution.output.text(), task),
            elapsed: execution.elapsed,
        };
        Ok((ran, execution.events))
    }
}

impl Ran {
    /// The result of a check for which there is nothing to run.
    pub fn without_running(verdict: Verdict) -> Ran {
        Ran { verdict, notes: Vec::new(), output: String::new(), elapsed: Duration::ZERO }
    }
}

/// Adds what the instructions say that the check has seen at work: a broken rule is a failure, and a
/// failure that points at instructions names their lines.
fn with_machine_code(verdict: Verdict, binary: &Path, events: &[Event]) -> Verdict {
    let seen: Vec<Seen> = events
        .iter()
        .filter_map(|event| match event {
            Event::Instruction { rule, address, bytes } => Some((rule.clone(), *address, bytes.clone())),
            _ => None,
        })
        .collect();
    match verdict {
        _ if seen.is_empty() => verdict,
        Verdict::Passed => match machine_code::judge(binary, &seen) {
            Some(Broken { expected, observed, look, place }) => {
                Verdict::Failed { expected, observed, look, place }
            }
            None => Verdict::Passed,
        },
        Verdict::Failed { expected, mut observed, look, mut place } => {
            for (sentence, line) in machine_code::describe(binary, &seen) {
                observed.push('\n');
                observed.push_str(&sentence);
                if let Some(line) = &line {
                    observed.push_str(&format!(", {}:{}", line.file, line.line));
                }
                place = place.or(line);
            }
            Verdict::Failed { expected, observed, look, place }
        }
        other => other,
    }
}

/// The seed of one check of a run (FNV-1a over the run's seed and the names). A check that explores has the same one in
/// every run, so that a schedule replays in any.
pub fn check_seed(run: u64, lab: &str, check: &Check) -> u64 {
    let run = if check.evidence == Evidence::Explore { 0 } else { run };
    let bytes = run.to_le_bytes().into_iter().chain(lab.bytes()).chain([0]).chain(check.name.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
