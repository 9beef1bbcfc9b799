//! The grader is killed, or told to stop, while a check with daemons runs: nothing of it is left, in any tier.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::course::{Course, Kind, entries};
use crate::left::{Left, processes_of};
use crate::{results, turn};

/// Longer than anything here takes, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(240);

#[track_caller]
fn check(signal: i32) {
    let _turn = turn();
    let course = Course::of_one_lab(&entries(Kind::Run));
    for tier in ["3", "2", "1", "0", "open"].into_iter().filter(|tier| course.offers(tier)) {
        let mut command = course.grader();
        command.args(["corpus", "b12", "--tier", tier]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut grader = command.spawn().unwrap();
        let pid = grader.id();
        // The supervisor, its worker, the worker's child, and two daemons; the wardens come on top.
        wait_until(PATIENCE, &mut grader, || processes_of(pid).len() >= 6);
        // SAFETY: our own child, not waited for yet.
        unsafe { libc::kill(pid.cast_signed(), signal) };
        let start = Instant::now();
        grader.wait().unwrap();
        while !processes_of(pid).is_empty() {
            assert!(start.elapsed() < PATIENCE, "in tier {tier} {:?} are left", processes_of(pid));
            std::thread::yield_now();
        }
    }
}

/// What a check has made by hand is removed by its warden.
#[track_caller]
fn check_objects(signal: i32) {
    let _turn = turn();
    let course = Course::of_one_lab(&entries(Kind::Run));
    for tier in ["1", "0"].into_iter().filter(|tier| course.offers(tier)) {
        let before = Left::now(&course);
        let mut command = course.grader();
        command.args(["corpus", "f19", "--time-budget", "100", "--tier", tier]);
        let mut grader = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let has_made_all = || before.added(&course).iter().any(|thing| thing.contains("corpus-rests-"));
        wait_until(PATIENCE, &mut grader, has_made_all);
        // SAFETY: our own child, not waited for yet.
        unsafe { libc::kill(grader.id().cast_signed(), signal) };
        grader.wait().unwrap();
        let mut what = format!("a grader that got signal {signal}, in tier {tier},");
        if signal == libc::SIGKILL {
            // The check's directory goes at the start of the next run.
            course.grade(tier, &["corpus", "j01"]);
            what += " and the next one";
        }
        before.nothing_has_changed(&course, &what);
    }
}

fn wait_until(patience: Duration, grader: &mut Child, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < patience, "waited in vain");
        assert!(grader.try_wait().unwrap().is_none(), "the grader has ended");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

#[test]
fn a_killed_grader_leaves_nothing() {
    check(libc::SIGKILL);
}

#[test]
fn an_interrupted_grader_leaves_nothing() {
    check(libc::SIGINT);
}

#[test]
fn a_terminated_grader_leaves_nothing() {
    check(libc::SIGTERM);
}

#[test]
fn a_killed_grader_leaves_no_object() {
    check_objects(libc::SIGKILL);
}

#[test]
fn an_interrupted_grader_leaves_no_object() {
    check_objects(libc::SIGINT);
}

/// As Ctrl-Z does: the check goes on meanwhile, and ends.
#[test]
fn a_grader_that_is_stopped_for_a_while_decides_the_same() {
    let _turn = turn();
    let course = Course::of_one_lab(&entries(Kind::Run));
    for tier in ["3", "2", "1", "0", "open"].into_iter().filter(|tier| course.offers(tier)) {
        let mut command = course.grader();
        command.args(["corpus", "j02", "--tier", tier, "--format", "json"]);
        let mut grader = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let pid = grader.id();
        let mut has_ended = || grader.try_wait().unwrap().is_some();
        while processes_of(pid).is_empty() && !has_ended() {
            std::thread::park_timeout(Duration::from_millis(2));
        }
        if !has_ended() {
            // SAFETY: our own child, not waited for yet.
            let signal = |signal| unsafe { libc::kill(pid.cast_signed(), signal) };
            signal(libc::SIGSTOP);
            let start = Instant::now();
            while !processes_of(pid).is_empty() {
                assert!(
                    start.elapsed() < PATIENCE,
                    "in tier {tier} the check does not end without the grader"
                );
                std::thread::park_timeout(Duration::from_millis(2));
            }
            signal(libc::SIGCONT);
        }
        let output = grader.wait_with_output().unwrap();
        let report = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(results(&report)["j02"]["verdict"], "passed", "in tier {tier}");
    }
}

/// As a laptop that is closed, or a virtual machine that its host leaves alone for a while: the clock goes on, and nobody is
/// able to do anything.
#[test]
fn a_machine_that_stands_still_for_a_while_decides_the_same() {
    // A second is what the check has, and four and six more what the grader gives it.
    const BUDGET: &str = "0.1";
    const STILL: Duration = Duration::from_secs(13);
    let _turn = turn();
    let course = Course::of_one_lab(&entries(Kind::Run));
    for tier in ["3", "open"].into_iter().filter(|tier| course.offers(tier)) {
        let mut command = course.grader();
        command.args(["corpus", "j02", "--tier", tier, "--time-budget", BUDGET, "--format", "json"]);
        let mut grader = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let pid = grader.id();
        // The supervisor and its worker; the wardens come on top.
        wait_until(PATIENCE, &mut grader, || processes_of(pid).len() >= 3);
        let all = || std::iter::once(pid).chain(processes_of(pid)).map(u32::cast_signed);
        let is_stopped = |pid| harness::observe::state_of(pid).is_none_or(|state| "TZ".contains(state));
        // SAFETY: our own child, not waited for yet, and what is below it.
        let signal = |signal| all().for_each(|pid| _ = unsafe { libc::kill(pid, signal) });
        while !all().all(is_stopped) {
            signal(libc::SIGSTOP);
        }
        std::thread::sleep(STILL);
        signal(libc::SIGCONT);
        let output = grader.wait_with_output().unwrap();
        let report = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(results(&report)["j02"]["verdict"], "passed", "in tier {tier}");
    }
}
