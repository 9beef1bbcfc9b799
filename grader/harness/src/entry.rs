//! The check binary's `main`: runs one check for the grader, or by hand.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::process::ExitCode;
use std::time::Duration;

use crate::check::{Check, Replay};
use crate::stop::{Outcome, Stop};
use crate::{deadline, panics};

const USAGE: &str =
    "usage: list | run CHECK [--events FD] [--seed N] [--deadline-ms N] [--slowness X] [--replay N:SCHEDULE]
The grader runs this program: `cargo run -p grader` grades the labs.";

/// A check with its name.
type Named = (&'static str, fn(&mut Check) -> Outcome);

/// Runs what the command line asks for. Called by the `main` that [`checks!`](crate::checks) defines.
///
/// `list` prints the names of the checks; `run NAME` runs one. With `--events FD` everything that
/// happens goes to that socket and the exit code is 0; without it events are printed, and the exit code is 1 for a check that did not pass.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "this is the command line of the check binary")]
pub fn run(checks: &[Named]) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["list"] => {
            checks.iter().for_each(|(name, _)| println!("{name}"));
            ExitCode::SUCCESS
        }
        ["run", name, options @ ..] => {
            let Some((_, function)) = checks.iter().find(|(known, _)| known == name) else {
                eprintln!("no check named `{name}`");
                return ExitCode::from(2);
            };
            match Arguments::parse(options) {
                Some(arguments) => arguments.run(*function),
                None => {
                    eprintln!("{USAGE}");
                    ExitCode::from(2)
                }
            }
        }
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

struct Arguments {
    events: Option<RawFd>,
    seed: u64,
    deadline: Duration,
    slowness: f64,
    replay: Option<Replay>,
}

impl Arguments {
    fn parse(options: &[&str]) -> Option<Arguments> {
        let mut arguments = Arguments {
            events: None,
            seed: 1,
            deadline: Duration::from_secs(5),
            slowness: 1.0,
            replay: None,
        };
        for pair in options.chunks(2) {
            let [name, value] = pair else { return None };
            match *name {
                "--events" => arguments.events = Some(value.parse().ok()?),
                "--seed" => arguments.seed = value.parse().ok()?,
                "--deadline-ms" => arguments.deadline = Duration::from_millis(value.parse().ok()?),
                "--slowness" => {
                    arguments.slowness = value.parse().ok().filter(|slowness| *slowness >= 1.0)?
                }
                "--replay" => arguments.replay = Some(Replay::parse(value)?),
                _ => return None,
            }
        }
        Some(arguments)
    }

    fn run(self, function: fn(&mut Check) -> Outcome) -> ExitCode {
        panics::install();
        deadline::install();
        crate::check::leftovers::install();
        let by_hand = self.events.is_none();
        let events = self.events.map(|fd| {
            // SAFETY: the grader passes one open descriptor for this process alone.
            let events = unsafe { OwnedFd::from_raw_fd(fd) };
            crate::check::out_of_the_way(events)
        });
        let mut check = Check::new(events, self.seed, self.deadline, self.slowness, self.replay);
        let outcome = if std::path::Path::new("/proc/self/stat").exists() {
            function(&mut check)
        } else {
            Err(Stop::inconclusive(
                "there is no /proc on this machine: what a check leaves behind cannot be seen",
            ))
        };
        if check.finish(outcome) || !by_hand { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
