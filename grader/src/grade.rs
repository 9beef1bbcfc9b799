//! Grades one subject: reads, builds, runs, and puts the report together.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::compile::{self, Build};
use crate::course::{Course, Selection};
use crate::error::{Error, Result};
use crate::ignored;
use crate::lab::{Check, Evidence, Lab, Part};
use crate::output::harmless;
use crate::progress::Progress;
use crate::report::{CheckReport, LabReport, Report};
use crate::runner::{Ran, Runner, Task, check_seed};
use crate::sandbox::probe;
use crate::sandbox::protection::Protection;
use crate::sandbox::tier::Tier;
use crate::scratch::{Scratch, Unit};
use crate::subject::Subject;
use crate::twin::{self, Twins};
use crate::verdict::{Uncompiled, Verdict};

/// How to grade.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What to grade.
    pub subject: Subject,
    /// The seed every check's own seed is derived from.
    pub seed: u64,
    /// How many checks run at a time.
    pub jobs: usize,
    /// Stretches every deadline.
    pub time_budget: f64,
    /// How checks are shut in, if not as well as possible.
    pub tier: Option<Tier>,
    /// How well they must be.
    pub require_tier: Option<Tier>,
    /// A protection that is off, in tests.
    pub without: Option<Protection>,
}

/// Who hears of results while the run goes on.
pub trait Listener {
    /// A check of a lab has its final verdict. Checks come in the order of the rubric.
    fn checked(&mut self, lab: &Lab, check: &CheckReport);
}

/// Grades the selected checks.
///
/// # Errors
/// Failures of ours; whatever the student did is in the report.
pub fn grade(
    course: &Course,
    selections: &[Selection<'_>],
    settings: &Settings,
    listener: &mut (dyn Listener + Send),
) -> Result<Report> {
    let slowness = crate::calibrate::slowness();
    let mut unreadable = BTreeMap::new();
    let mut units = Vec::new();
    for Selection { lab, .. } in selections {
        match course.sources(lab, &settings.subject)? {
            Ok(sources) => {
                let (_, shown) = course.source_root(lab, &settings.subject);
                units.push(Unit {
                    id: format!("{}-{}", lab.name, settings.subject.id()),
                    lab,
                    sources,
                    shown,
                });
            }
            Err(why) => {
                unreadable.insert(lab.name.as_str(), harmless(&why));
            }
        }
    }
    let progress = Progress::start();
    let scratch = Scratch::open(course, || progress.waiting())?;
    let tier = probe::choose(course, &scratch, settings.tier, settings.require_tier)?;
    write(&scratch, course, &units)?;
    let explored: Vec<Unit<'_>> = selections
        .iter()
        .filter(|selection| selection.checks.iter().any(|check| check.evidence == Evidence::Explore))
        .filter_map(|selection| units.iter().find(|unit| unit.lab.name == selection.lab.name).cloned())
        .collect();
    progress.building(units.len(), explored.len());
    let twins = Twins::default();
    std::thread::scope(|scope| {
        scope.spawn(|| twins.build(&scratch, course, &explored));
        run(
            Run {
                course,
                selections,
                settings,
                slowness,
                tier,
                scratch: &scratch,
                units: &units,
                unreadable,
                twins: &twins,
                progress: &progress,
            },
            listener,
        )
    })
}

/// What there is to run.
struct Run<'a> {
    course: &'a Course,
    selections: &'a [Selection<'a>],
    settings: &'a Settings,
    slowness: f64,
    tier: Tier,
    scratch: &'a Scratch,
    units: &'a [Unit<'a>],
    unreadable: BTreeMap<&'a str, String>,
    twins: &'a Twins,
    progress: &'a Progress,
}

/// Builds the check binaries and runs the checks, while the explored twins are being built.
fn run(run: Run<'_>, listener: &mut (dyn Listener + Send)) -> Result<Report> {
    let Run { course, selections, settings, slowness, tier, scratch, units, unreadable, twins, progress } =
        run;
    let builds = match build(scratch, course, units, progress) {
        // What was not built was not run either: the report says so.
        Err(Error::Interrupted(_)) => BTreeMap::new(),
        builds => builds?,
    };
    let runner = Runner::new(course, scratch, settings, slowness, tier);

    let slots: Vec<(&Lab, &Part, &Check)> = selections
        .iter()
        .flat_map(|Selection { lab, checks }| {
            let chosen = lab.checks().filter(|(_, check)| checks.iter().any(|c| c.name == check.name));
            chosen.map(move |(part, check)| (*lab, part, check))
        })
        .collect();
    let mut board = Board { slots: &slots, settings, results: Vec::new(), shown: 0, listener };
    let mut runnable = Vec::new();
    for (slot, (lab, part, check)) in slots.iter().enumerate() {
        let built = units.iter().find(|unit| unit.lab.name == lab.name);
        let built = built.and_then(|unit| Some((unit, builds.get(&unit.id)?)));
        let seed = check_seed(settings.seed, &lab.name, check);
        board.results.push(match built {
            Some((unit, build)) => {
                runnable.push((slot, Task { unit, build, twins, check, seed }));
                None
            }
            None => {
                let verdict = match unreadable.get(lab.name.as_str()) {
                    Some(why) => Verdict::DidNotCompile(Uncompiled::Unreadable(why.clone())),
                    None => Verdict::interrupted(),
                };
                Some(CheckReport::new(lab, part, check, settings, Ran::without_running(verdict)))
            }
        });
    }
    // While twins are being built, what measures runs on a busy machine, and what explores cannot run yet.
    runnable.sort_by_key(|(_, task)| match task.check.evidence {
        Evidence::Answers | Evidence::Faults | Evidence::MachineCode | Evidence::Observe => 0,
        Evidence::Explore => 1,
        Evidence::Stress => 2,
    });
    let (places, tasks): (Vec<usize>, Vec<Task<'_>>) = runnable.into_iter().unzip();
    progress.running(tasks.len());
    progress.aside(|| board.show());
    let board = Mutex::new(board);
    let control = Control { runner: &runner, settings, progress, references: Mutex::default() };
    let done = |index: usize, ran: &Ran| {
        let mut board = board.lock().unwrap_or_else(PoisonError::into_inner);
        progress.ran(&tasks[index].check.name);
        board.put(places[index], ran.clone());
        progress.aside(|| board.show());
    };
    runner.run_all(&tasks, &|task, ran| control.review(task, ran), &done)?;
    progress.finish();

    let mut results =
        board.into_inner().unwrap_or_else(PoisonError::into_inner).results.into_iter().flatten();
    let labs = selections.iter().map(|selection| {
        LabReport::new(selection.lab, results.by_ref().take(selection.checks.len()).collect())
    });
    let labs = labs.collect();
    let graded: Vec<&Lab> = selections.iter().map(|selection| selection.lab).collect();
    let ignored = ignored::ignored(course, &graded, &settings.subject);
    Ok(Report::new(labs, ignored, settings, slowness, tier))
}

/// The results so far; those before the first gap have been shown.
struct Board<'a> {
    slots: &'a [(&'a Lab, &'a Part, &'a Check)],
    settings: &'a Settings,
    results: Vec<Option<CheckReport>>,
    shown: usize,
    listener: &'a mut (dyn Listener + Send),
}

impl Board<'_> {
    fn put(&mut self, slot: usize, ran: Ran) {
        let (lab, part, check) = self.slots[slot];
        self.results[slot] = Some(CheckReport::new(lab, part, check, self.settings, ran));
    }

    fn show(&mut self) {
        while let Some(Some(result)) = self.results.get(self.shown) {
            self.listener.checked(self.slots[self.shown].0, result);
            self.shown += 1;
        }
    }
}

fn write(scratch: &Scratch, course: &Course, units: &[Unit<'_>]) -> Result<()> {
    if units.is_empty() { Ok(()) } else { scratch.write(course, units) }
}

fn build(
    scratch: &Scratch,
    course: &Course,
    units: &[Unit<'_>],
    progress: &Progress,
) -> Result<BTreeMap<String, Build>> {
    if units.is_empty() {
        return Ok(BTreeMap::new());
    }
    compile::build(scratch, &course.root, units, &|ready| progress.built(ready))
}

/// Tells a slow machine from a slow submission: a check that timed out is run on the reference as well.
struct Control<'a> {
    runner: &'a Runner<'a>,
    settings: &'a Settings,
    progress: &'a Progress,
    /// The references built so far, by lab; `None` where there is none.
    references: Mutex<BTreeMap<String, Option<Reference<'a>>>>,
}

/// A built reference.
#[derive(Debug, Clone)]
struct Reference<'a> {
    unit: Unit<'a>,
    build: Build,
    twins: Arc<Twins>,
}

impl<'a> Control<'a> {
    /// When the reference does not pass here and now either, the time says nothing about the submission.
    fn review(&self, task: &Task<'a>, ran: Ran) -> Result<Ran> {
        let timed_out = matches!(ran.verdict, Verdict::TimedOut { .. });
        if !timed_out || self.settings.subject == Subject::Reference || crate::signals::received().is_some() {
            return Ok(ran);
        }
        let reference = match self.reference(task.unit.lab) {
            Err(Error::Interrupted(_)) => None,
            reference => reference?,
        };
        let Some(Reference { unit, build, twins }) = reference else { return Ok(ran) };
        let control = self.runner.run(&Task { unit: &unit, build: &build, twins: &twins, ..task.clone() })?;
        if control.verdict.is_passed() {
            return Ok(ran);
        }
        let why = "the check took too long, and so did the reference solution on this machine just now; \
                   run it again when the machine is less busy, or with `--time-budget 4`";
        Ok(Ran { verdict: Verdict::Inconclusive { why: why.to_owned() }, ..ran })
    }

    fn reference(&self, lab: &'a Lab) -> Result<Option<Reference<'a>>> {
        let course = self.runner.course;
        let mut references = self.references.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = references.get(&lab.name) {
            return Ok(known.clone());
        }
        let mut built = None;
        if course.has_solution(lab)
            && let Ok(sources) = course.sources(lab, &Subject::Reference)?
        {
            self.progress.control();
            let (_, shown) = course.source_root(lab, &Subject::Reference);
            let unit = Unit { id: format!("{}-reference", lab.name), lab, sources, shown };
            let (scratch, units) = (self.runner.scratch, std::slice::from_ref(&unit));
            write(scratch, course, units)?;
            let builds = build(scratch, course, units, self.progress)?;
            let twins = Arc::new(Twins::default());
            if twin::is_wanted(lab) {
                twins.build(scratch, course, units);
            }
            built = builds.get(&unit.id).cloned().map(|build| Reference { unit, build, twins });
        }
        references.insert(lab.name.clone(), built.clone());
        Ok(built)
    }
}
