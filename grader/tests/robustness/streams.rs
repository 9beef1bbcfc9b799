//! Standard output and standard error that nobody reads, that are closed, or that are full.

use std::fs::OpenOptions;
use std::process::{Command, Stdio};

use super::course::*;

/// A grader started by a shell, which redirects its streams.
fn redirected(redirection: &str, checks: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("exec \"$0\" \"$@\" {redirection}"), env!("CARGO_BIN_EXE_grader"), "yard"]);
    command.args(checks).current_dir(course()).env("CARGO_TARGET_DIR", target());
    command
}

#[track_caller]
fn check_unread(checks: &[&str], format: &str, code: i32) {
    let mut command = grader(checks);
    command.args(["--format", format]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    let pid = child.id().cast_signed();
    let status = child.wait().unwrap();
    let ended = Ended { pid, status, stdout: String::new(), stderr: String::new() };
    ended.code(code).left_nothing();
}

#[test]
fn readers_that_have_gone_change_nothing() {
    check_unread(&["ends"], "terminal", 0);
    check_unread(&["speaks"], "terminal", 1);
    check_unread(&["speaks"], "json", 1);
}

#[test]
fn closed_streams_change_nothing() {
    run(&mut redirected(">&-", &["ends"])).code(0).left_nothing();
    run(&mut redirected("2>&-", &["ends"])).code(0).says("10/10").left_nothing();
    run(&mut redirected("<&- >&- 2>&-", &["speaks"])).code(1).left_nothing();
}

#[test]
fn a_full_standard_output_is_an_error() {
    for format in ["terminal", "json", "markdown", "github"] {
        let mut command = grader(&["ends"]);
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        command.args(["--format", format]).stdout(full).stderr(Stdio::piped());
        let output = command.spawn().unwrap().wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(70), "{format}: {stderr}");
        assert!(stderr.contains("cannot write to standard output: No space left on device"), "{stderr}");
    }
}

#[test]
fn a_full_standard_error_changes_nothing() {
    run(&mut redirected("2>/dev/full", &["ends"])).code(0).says("10/10");
}
