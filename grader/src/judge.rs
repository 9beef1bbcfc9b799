//! From everything that was seen of a check to its one verdict. Pure.

use harness::event::Event;

use crate::sandbox::{Execution, Exit, Resource, Stopped};
use crate::verdict::Verdict;

/// The verdict on an execution, unless the sandbox itself may be why it did not pass.
pub fn judge(execution: &Execution) -> Verdict {
    match disturbance(execution) {
        Some(disturbance) => Verdict::Inconclusive { why: disturbance.why().to_owned() },
        None => at_face_value(execution),
    }
}

/// Whether an execution says nothing about the submission, and the next one may.
pub fn is_void(execution: &Execution) -> bool {
    matches!(disturbance(execution), Some(Disturbance::Interrupted | Disturbance::Crowded))
}

/// What has been done to a check that it might have passed without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disturbance {
    /// It would be done again.
    RefusedSocket,
    /// An accident.
    Interrupted,
    /// It was ended, as far as is known, because of somebody else.
    Crowded,
}

impl Disturbance {
    fn why(self) -> &'static str {
        match self {
            Disturbance::RefusedSocket => {
                "it was refused a UNIX socket with a name, which this sandbox cannot keep inside; a pair of sockets would have \
                 been given to it, and `grader doctor` says how to get a better sandbox"
            }
            Disturbance::Interrupted => {
                "a signal came while a system call waited for the sandbox to let it through, and the call failed, which it would \
                 not have done without a sandbox; run it again, or on a less busy machine"
            }
            Disturbance::Crowded => {
                "more than 768 MiB of shared memory came into being on this machine while it ran, and it is not known by whom; run it \
                 again when nothing else that takes so much is at work here"
            }
        }
    }
}

fn disturbance(execution: &Execution) -> Option<Disturbance> {
    let disturbance = match execution {
        Execution { stopped: Some(Stopped::Crowded), .. } => return Some(Disturbance::Crowded),
        // Who is killed while he asks is told of as interrupted, too.
        Execution { stopped: Some(_), .. } => return None,
        Execution { refused_socket: true, .. } => Disturbance::RefusedSocket,
        Execution { interrupted: true, .. } => Disturbance::Interrupted,
        _ => return None,
    };
    match at_face_value(execution) {
        Verdict::Failed { .. } | Verdict::Crashed { .. } | Verdict::Inconclusive { .. } => Some(disturbance),
        // Of what was left behind, for one, there is evidence.
        _ => None,
    }
}

/// The verdict on what was seen. The first rule that applies decides.
fn at_face_value(execution: &Execution) -> Verdict {
    let told = [
        Told::Unimplemented,
        Told::TimedOut,
        Told::Crashed,
        Told::Found,
        Told::Failed,
        Told::Leaked,
        Told::Inconclusive,
    ]
    .into_iter()
    .filter(|told| *told != Told::Inconclusive || execution.leftovers.is_empty())
    .find_map(|told| execution.events.iter().find_map(|event| told.verdict(event)));
    let overran = || {
        let why = format!("the check itself had to be killed long after its deadline\n{}", execution.hang);
        (execution.stopped == Some(Stopped::Overran)).then_some(Verdict::TimedOut { why })
    };
    // Whatever else was told is a consequence.
    let exhausted = match execution.stopped {
        Some(Stopped::Exhausted(resource)) => Some(crashed(exhausted(resource))),
        Some(Stopped::Overran | Stopped::Flooded | Stopped::Crowded | Stopped::Interrupted) | None => None,
    };
    let stopped = || match execution.stopped? {
        Stopped::Overran | Stopped::Exhausted(_) => None,
        Stopped::Flooded => Some(crashed("it wrote more than 64 MiB of output and was stopped")),
        Stopped::Crowded => Some(Verdict::Inconclusive { why: Disturbance::Crowded.why().to_owned() }),
        Stopped::Interrupted => {
            Some(Verdict::Inconclusive { why: "the run was interrupted before this check ended".to_owned() })
        }
    };
    exhausted
        .or(told)
        .or_else(overran)
        .or_else(stopped)
        .or_else(|| {
            (execution.malformed > 0)
                .then(|| crashed("the submission broke the check's channel to the grader"))
        })
        .or_else(|| premature_end(execution))
        .or_else(|| left_over(execution))
        .unwrap_or(Verdict::Passed)
}

/// What an event can tell, in the order in which it decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Unimplemented,
    TimedOut,
    Crashed,
    Found,
    Failed,
    Leaked,
    Inconclusive,
}

impl Told {
    fn verdict(self, event: &Event) -> Option<Verdict> {
        let (told, verdict) = match event.clone() {
            Event::Unimplemented { todo, place } => {
                (Told::Unimplemented, Verdict::Unimplemented { todo, place })
            }
            Event::TimedOut { why } => (Told::TimedOut, Verdict::TimedOut { why }),
            Event::Crashed { how, place } => (Told::Crashed, Verdict::Crashed { how, place }),
            Event::Failed { expected, observed, look, place } => {
                (Told::Failed, Verdict::Failed { expected, observed, look, place })
            }
            Event::Found(finding) => (Told::Found, Verdict::Found(finding)),
            Event::Leaked { what } => (Told::Leaked, Verdict::Leaked { what }),
            Event::Inconclusive { why } => (Told::Inconclusive, Verdict::Inconclusive { why }),
            Event::Started { .. }
            | Event::Note { .. }
            | Event::Instruction { .. }
            | Event::Stepped(_)
            | Event::Replayed { .. }
            | Event::Finished => {
                return None;
            }
        };
        (told == self).then_some(verdict)
    }
}

fn exhausted(resource: Resource) -> &'static str {
    match resource {
        Resource::Memory => "its processes took more than 2 GiB of memory together and were stopped",
        Resource::Processes => "it started more than 512 processes or 2,048 threads and was stopped",
        Resource::Disk => {
            "it put more than 512 MiB, 20,000 files or folders too deep to look into in its directory and was stopped"
        }
        Resource::Unmapped => {
            "its memory files, shared memory and deleted files took more than 768 MiB together and were stopped"
        }
    }
}

fn premature_end(execution: &Execution) -> Option<Verdict> {
    let finished = execution.events.last() == Some(&Event::Finished);
    match execution.exit {
        Exit::Code(0) if finished => None,
        Exit::Code(code) => Some(crashed(&format!("the check ended before it finished (exit code {code})"))),
        Exit::Signal(signal) => {
            Some(crashed(&format!("the check process was killed by signal {}", signal_name(signal))))
        }
    }
}

fn left_over(execution: &Execution) -> Option<Verdict> {
    let what = execution.leftovers.join(", ");
    (!what.is_empty()).then_some(Verdict::Leaked { what })
}

fn crashed(how: &str) -> Verdict {
    Verdict::Crashed { how: how.to_owned(), place: None }
}

fn signal_name(signal: i32) -> String {
    match nix::sys::signal::Signal::try_from(signal) {
        Ok(name) => format!("{signal} ({name})"),
        Err(_) => signal.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::output::Output;

    fn execution(events: &[Event]) -> Execution {
        Execution {
            events: events.to_vec(),
            malformed: 0,
            exit: Exit::Code(0),
            stopped: None,
            output: Output::default(),
            elapsed: Duration::ZERO,
            leftovers: Vec::new(),
            hang: String::new(),
            interrupted: false,
            refused_socket: false,
        }
    }

    fn ran() -> Execution {
        execution(&[Event::Started { seed: 1 }, Event::Finished])
    }

    #[track_caller]
    fn check(execution: &Execution, expected: &str) {
        let verdict = judge(execution);
        let said = format!("{}: {}", verdict.word(), verdict.why().unwrap_or_default());
        assert!(said.contains(expected), "said: {said}");
    }

    fn failed() -> Event {
        Event::Failed { expected: "1".into(), observed: "2".into(), look: "`f`".into(), place: None }
    }

    #[test]
    fn a_finished_check_passes() {
        check(&ran(), "passed");
    }

    #[test]
    fn silence_is_no_pass() {
        check(&execution(&[]), "crashed: the check ended before it finished (exit code 0)");
        check(&execution(&[Event::Started { seed: 1 }]), "crashed: the check ended before it finished");
    }

    #[test]
    fn nothing_may_follow_the_final_record() {
        check(&execution(&[Event::Finished, Event::Note { text: "n".into() }]), "crashed");
    }

    #[test]
    fn a_bad_exit_is_no_pass() {
        check(&Execution { exit: Exit::Code(7), ..ran() }, "(exit code 7)");
        check(&Execution { exit: Exit::Signal(11), ..ran() }, "11 (SIGSEGV)");
    }

    #[test]
    fn a_failure_is_told() {
        check(&execution(&[failed(), Event::Finished]), "failed: expected 1; observed 2; look at `f`");
    }

    #[test]
    fn not_started_is_not_wrong() {
        let todo = Event::Unimplemented { todo: "write it".into(), place: None };
        check(&execution(&[failed(), todo, Event::Finished]), "unimplemented: not started: write it");
    }

    #[test]
    fn a_hang_outweighs_a_crash() {
        let events = [
            Event::Crashed { how: "c".into(), place: None },
            Event::TimedOut { why: "w".into() },
            Event::Finished,
        ];
        check(&execution(&events), "timed-out");
    }

    #[test]
    fn a_broken_frame_is_no_pass() {
        check(&Execution { malformed: 1, ..ran() }, "broke the check's channel");
    }

    #[test]
    fn leftovers_are_a_leak() {
        check(
            &Execution { leftovers: vec!["process 7 (x)".into()], ..ran() },
            "leaked: left behind: process 7 (x)",
        );
    }

    #[test]
    fn a_check_that_overran_timed_out() {
        let killed = Execution { exit: Exit::Signal(9), stopped: Some(Stopped::Overran), ..execution(&[]) };
        check(&killed, "timed-out");
    }

    #[test]
    fn a_flood_of_output_is_a_crash() {
        let killed = Execution { exit: Exit::Signal(9), stopped: Some(Stopped::Flooded), ..execution(&[]) };
        check(&killed, "crashed: it wrote more than 64 MiB");
    }

    #[test]
    fn a_check_that_takes_too_much_is_a_crash() {
        for (resource, words) in [
            (Resource::Memory, "2 GiB of memory"),
            (Resource::Processes, "512 processes or 2,048 threads"),
            (Resource::Disk, "512 MiB"),
            (Resource::Unmapped, "memory files"),
        ] {
            let stopped = Some(Stopped::Exhausted(resource));
            check(&Execution { exit: Exit::Signal(9), stopped, ..execution(&[]) }, words);
        }
    }

    #[test]
    fn taking_too_much_is_the_cause_of_what_follows() {
        let stopped = Some(Stopped::Exhausted(Resource::Memory));
        check(&Execution { stopped, ..execution(&[failed(), Event::Finished]) }, "2 GiB of memory");
    }

    #[test]
    fn an_interrupted_check_is_undecided() {
        let killed =
            Execution { exit: Exit::Signal(9), stopped: Some(Stopped::Interrupted), ..execution(&[]) };
        check(&killed, "inconclusive");
    }

    #[test]
    fn what_the_sandbox_has_disturbed_is_undecided_unless_it_passed() {
        let disturbed = Execution { interrupted: true, ..ran() };
        assert_eq!(judge(&disturbed), judge(&ran()));
        let failed = Execution { exit: Exit::Code(7), ..disturbed };
        assert!(is_void(&failed));
        let refused = Execution { refused_socket: true, ..failed };
        assert!(!is_void(&refused), "it would be refused again");
        check(&refused, "inconclusive: could not be decided: it was refused a UNIX socket");
        let crowded = Execution { stopped: Some(Stopped::Crowded), ..execution(&[]) };
        assert!(is_void(&crowded));
        check(&crowded, "inconclusive: could not be decided: more than 768 MiB of shared memory");
        let flooded = Execution { stopped: Some(Stopped::Flooded), ..refused };
        assert!(matches!(judge(&flooded), Verdict::Crashed { .. }));
    }
}
