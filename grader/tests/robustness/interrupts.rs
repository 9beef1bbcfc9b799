//! The grader is told to stop, or killed.

use std::process::Command;

use super::course::*;

#[track_caller]
fn check_interrupted_check(signal: i32, code: i32) {
    let mut running = Running::start(&mut grader(&["ends", "leaves-daemons", "floods"]));
    let daemons = running.until_file("ready");
    let daemons = running.outside(&daemons);
    let ended = running.signal(signal);
    ended.code(code).says("✓ ends").says("10/30").says("the run was interrupted").left_nothing();
    assert_eq!(daemons.len(), 3);
    assert!(!daemons.iter().any(|&pid| is_alive(pid)), "{daemons:?}");
}

#[test]
fn sigint_during_a_check_gives_a_partial_report() {
    check_interrupted_check(libc::SIGINT, 130);
}

#[test]
fn sigterm_during_a_check_gives_a_partial_report() {
    check_interrupted_check(libc::SIGTERM, 143);
}

/// The stand-in for cargo starts another process and waits for ever.
#[track_caller]
fn check_interrupted_build(signal: i32, code: i32) {
    let started = tempfile::tempdir().unwrap();
    let file = started.path().join("started");
    let mut command = grader(&["ends"]);
    let stand_in = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/robustness/endless-cargo");
    command.env("CARGO", stand_in).env("REAL_CARGO", env!("CARGO")).env("STARTED", &file);
    let running = Running::start(&mut command);
    wait_until("the build has begun", || file.exists());
    let builders = pids(&std::fs::read_to_string(&file).unwrap());
    let ended = running.signal(signal);
    ended.code(code).says("? ends").says("interrupted before this check began").left_nothing();
    assert_eq!(builders.len(), 2);
    assert!(!builders.iter().any(|&pid| is_alive(pid)), "{builders:?}");
}

#[test]
fn sigint_during_a_build_gives_a_partial_report() {
    check_interrupted_build(libc::SIGINT, 130);
}

#[test]
fn sigterm_during_a_build_gives_a_partial_report() {
    check_interrupted_build(libc::SIGTERM, 143);
}

#[test]
fn a_killed_grader_takes_its_check_and_the_daemons_with_it() {
    let mut running = Running::start(&mut grader(&["leaves-daemons"]));
    let daemons = running.until_file("ready");
    let daemons = running.outside(&daemons);
    let ended = running.signal(libc::SIGKILL);
    let ended = ended.killed_by(libc::SIGKILL);
    let is_gone = || processes_of(ended.pid).is_empty() && !daemons.iter().any(|&pid| is_alive(pid));
    wait_until("everything has gone", is_gone);
    run(&mut grader(&["ends"])).code(0);
    ended.left_nothing();
}

#[test]
fn a_grader_that_waits_for_another_can_be_interrupted() {
    let mut first = Running::start(&mut grader(&["waits"]));
    first.until_file("ready");
    let second = Running::start(&mut grader(&["ends"]));
    // It has the lock's file open once it waits for the lock.
    let lock = target().join("grader/lock");
    let fds = format!("/proc/{}/fd", second.pid());
    wait_until("the second waits for the first", || {
        let entries = std::fs::read_dir(&fds).into_iter().flatten().flatten();
        entries.filter_map(|entry| std::fs::read_link(entry.path()).ok()).any(|path| path == lock)
    });
    second.signal(libc::SIGINT).code(130);
    let ended = first.signal(libc::SIGTERM);
    ended.code(143).left_nothing();
}

#[test]
fn two_graders_at_once_both_finish() {
    let mut first = Running::start(&mut grader(&["ends", "waits"]));
    first.until_file("ready");
    let second = Running::start(&mut grader(&["ends"]));
    let ended = first.signal(libc::SIGINT);
    ended.code(130);
    second.end().code(0).complains("running 1 check");
}

#[test]
fn two_checks_run_at_a_time() {
    let mut command: Command = grader(&["waits", "leaves-daemons", "ends"]);
    let mut running = Running::start(command.args(["--jobs", "2"]));
    running.until_file("ready");
    let pid = running.pid();
    wait_until("both checks run", || {
        directories_of(pid).iter().filter(|path| path.join("ready").exists()).count() == 2
    });
    let ended = running.signal(libc::SIGINT);
    ended.code(130).says("10/30").left_nothing();
}

fn pids(text: &str) -> Vec<i32> {
    text.split_whitespace().map(|word| word.parse().unwrap()).collect()
}
