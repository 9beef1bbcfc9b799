//! `replay`: one failing execution of a check again, by its schedule, all at once or step by step.

use std::io::IsTerminal;
use std::os::fd::AsFd;

use anstyle::{AnsiColor, Style};
use harness::event::{Finding, Line};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::compile::{self, Build};
use crate::course::{Course, nearest};
use crate::error::{Error, Result};
use crate::exit_code::ExitCode;
use crate::grade::Settings;
use crate::lab::{Check, Evidence, Lab};
use crate::progress::Progress;
use crate::publish::print;
use crate::report::terminal;
use crate::runner::{Ran, Runner, Task, check_seed};
use crate::sandbox::probe;
use crate::scratch::{Scratch, Unit};
use crate::signals;
use crate::twin::Twins;
use crate::verdict::{Uncompiled, Verdict};

// Not by a dependency: see `twin`.
#[path = "../explore/src/schedule.rs"]
pub mod schedule;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const RED: Style = AnsiColor::Red.on_default();
const GREEN: Style = AnsiColor::Green.on_default();

/// Runs that execution of the check and prints it.
///
/// # Errors
/// [`Error::Usage`] for a lab, check or schedule that there is not; failures of ours.
pub fn replay(
    course: &Course,
    lab: &str,
    check: &str,
    schedule: &str,
    step: bool,
    settings: &Settings,
) -> Result<ExitCode> {
    let lab = course.lab(lab)?;
    let check = exploring_check(lab, check)?;
    validate(schedule)?;
    let sources = match course.sources(lab, &settings.subject)? {
        Ok(sources) => sources,
        Err(why) => return lost(&Verdict::DidNotCompile(Uncompiled::Unreadable(why))),
    };
    let (_, shown) = course.source_root(lab, &settings.subject);
    let unit = Unit { id: format!("{}-{}", lab.name, settings.subject.id()), lab, sources, shown };
    let units = std::slice::from_ref(&unit);
    let progress = Progress::start();
    let scratch = Scratch::open(course, || progress.waiting())?;
    progress.building(1, 0);
    scratch.write(course, units)?;
    let twins = Twins::default();
    twins.build(&scratch, course, units);
    let twin = twins.wait(&unit.id);
    if let Some(signal) = signals::received() {
        return Err(Error::Interrupted(signal));
    }
    let twin = match twin {
        Ok(twin) => twin,
        Err(why) => {
            // The plain build says what is wrong with the submission, if that is it.
            let builds = compile::build(&scratch, &course.root, units, &|_| {})?;
            progress.finish();
            return match builds.get(&unit.id) {
                Some(Build::Errors(errors)) => {
                    lost(&Verdict::DidNotCompile(Uncompiled::Compiler(errors.clone())))
                }
                Some(Build::Refused(why)) => {
                    lost(&Verdict::DidNotCompile(Uncompiled::Unreadable(why.clone())))
                }
                Some(Build::Binary(_)) | None => Err(Error::Internal(why)),
            };
        }
    };
    let tier = probe::choose(course, &scratch, settings.tier, settings.require_tier)?;
    let runner = Runner::new(course, &scratch, settings, crate::calibrate::slowness(), tier);
    let build = Build::Binary(twin.clone());
    let seed = check_seed(settings.seed, &lab.name, check);
    let task = Task { unit: &unit, build: &build, twins: &twins, check, seed };
    let (Ran { verdict, .. }, steps, fits) = runner.replay(&twin, &task, schedule)?;
    progress.finish();
    if let Some(signal) = signals::received() {
        return Err(Error::Interrupted(signal));
    }
    match (verdict, fits) {
        (Verdict::Found(finding), _) if step => show_steps(&finding, &steps),
        (Verdict::Found(finding), _) => show(&finding),
        (Verdict::Passed, Some(fits)) => {
            let why = if fits { "it does not fail any more" } else { "there is no such execution any more" };
            let again = format!("cargo run -p grader -- {} {}", lab.name, check.name);
            print(&format!("{GREEN}✓{GREEN:#} {why}; `{again}` looks at all the others\n"))?;
            Ok(ExitCode::FullMarks)
        }
        (Verdict::Passed, None) => {
            let number = schedule.split(':').next().unwrap_or_default();
            Err(Error::Usage(format!("`{}` has no exploration number {number}", check.name)))
        }
        (verdict, _) => lost(&verdict),
    }
}

fn exploring_check<'a>(lab: &'a Lab, name: &str) -> Result<&'a Check> {
    let explores = |check: &Check| check.evidence == Evidence::Explore;
    match lab.check(name) {
        Some(check) if explores(check) => Ok(check),
        Some(check) => Err(Error::Usage(format!(
            "`{name}` explores nothing that could be run again; its evidence is `{}`",
            check.evidence
        ))),
        None => {
            let checks = lab.checks().map(|(_, check)| check).filter(|check| explores(check));
            let near = nearest(name, checks.map(|check| check.name.as_str()));
            Err(Error::Usage(format!("`{}` has no check named `{name}`; {near}", lab.name)))
        }
    }
}

/// A number, a colon, a schedule.
pub fn validate(text: &str) -> Result<()> {
    let is_number = |number: &str| number.parse::<u32>().is_ok_and(|number| number > 0);
    let schedule = text.split_once(':').filter(|(number, _)| is_number(number)).map(|(_, schedule)| schedule);
    match schedule.map(str::parse::<schedule::Schedule>) {
        Some(Ok(_)) => Ok(()),
        Some(Err(_)) | None => Err(Error::Usage(format!(
            "`{text}` is not a schedule; copy it from the report, for example `1:17t2.23r1`"
        ))),
    }
}

fn lost(verdict: &Verdict) -> Result<ExitCode> {
    let why = verdict.why().unwrap_or_default();
    print(&format!("{RED}✗{RED:#} {}\n\n{}\n", verdict.word(), why.trim_end()))?;
    Ok(ExitCode::PointsLost)
}

fn show(finding: &Finding) -> Result<ExitCode> {
    let lines = finding.timeline.iter().map(|line| format!("{}\n", terminal::timeline_line(line)));
    let (lines, cause) = (lines.collect::<String>(), finding.cause.trim_end());
    print(&format!("{BOLD}{}{BOLD:#}\n\n{lines}\n{cause}\n", finding.headline))?;
    Ok(ExitCode::PointsLost)
}

/// Every step, one at a time: the next one when asked for, all the rest at the end of the input.
fn show_steps(finding: &Finding, steps: &[Line]) -> Result<ExitCode> {
    print(&format!("{BOLD}{}{BOLD:#}\n\n", finding.headline))?;
    let mut keys = Some(Keys::open());
    for (index, step) in steps.iter().enumerate() {
        print(&format!("{}\n", terminal::timeline_line(step)))?;
        // After the last step comes the cause.
        if index + 1 < steps.len() {
            match keys.as_mut().map(Keys::wait).transpose()? {
                None | Some(Key::Enter) => {}
                Some(Key::Quit) => return Ok(ExitCode::PointsLost),
                Some(Key::End) => keys = None,
            }
        }
    }
    print(&format!("\n{}\n", finding.cause.trim_end()))?;
    Ok(ExitCode::PointsLost)
}

enum Key {
    Enter,
    Quit,
    End,
}

/// Lines from standard input, waited for so that a signal is heard as well.
struct Keys {
    pending: Vec<u8>,
}

impl Keys {
    fn open() -> Keys {
        if std::io::stdin().is_terminal() {
            // Only a courtesy.
            let _ = print(&format!("{DIM}Enter: next step; q, Enter: quit{DIM:#}\n\n"));
        }
        Keys { pending: Vec::new() }
    }

    fn wait(&mut self) -> Result<Key> {
        let input = std::io::stdin();
        loop {
            if let Some(end) = self.pending.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                return Ok(if line.trim_ascii() == b"q" { Key::Quit } else { Key::Enter });
            }
            let watched: Vec<_> =
                [Some(input.as_fd()), signals::descriptor()].into_iter().flatten().collect();
            let mut polled: Vec<_> = watched.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
            match poll(&mut polled, PollTimeout::NONE) {
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(_) => return Ok(Key::End),
            }
            if let Some(signal) = signals::received() {
                return Err(Error::Interrupted(signal));
            }
            let mut chunk = [0; 256];
            match nix::unistd::read(&input, &mut chunk) {
                Ok(0) | Err(_) => return Ok(Key::End),
                Ok(count) => self.pending.extend_from_slice(&chunk[..count]),
            }
        }
    }
}
