//! Checks that explore: what comes of right, wrong, unfinished and hostile locks, and `replay`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::Value;

use crate::course::{Course, stdout};

const LOCK: &str = "labs/04-locks/src/lib.rs";
const CHECK: &str = "at-most-one-holder";
const WRONG: [&str; 2] = ["--subject", "mutant:tests-then-sets"];

/// The right lock, handed in with a statement before it is taken.
fn handed_in(before: &str) -> Course {
    let take = "while self.0.swap(1, Acquire) == 1 {";
    Course::new().with_the_answer("04-locks").edit(LOCK, take, &format!("{before}\n        {take}"))
}

/// The JSON report of the exploring check.
fn report(course: &Course, arguments: &[&str]) -> Value {
    whole_report(course, arguments)["labs"][0]["checks"][0].clone()
}

fn whole_report(course: &Course, arguments: &[&str]) -> Value {
    let arguments = [&["locks", CHECK, "--format", "json"], arguments].concat();
    let run = course.command().args(arguments).args(["--seed", "1"]).output().unwrap();
    serde_json::from_slice(&run.stdout).unwrap()
}

/// A lock that does this before it is taken gets that verdict, with these words in its reason, and leaves no process.
#[track_caller]
fn check(before: &str, verdict: &str, says: &str) {
    let check = report(&handed_in(before), &[]);
    let why = check["why"].as_str().unwrap_or_default();
    assert_eq!(check["verdict"], verdict, "{why}");
    assert!(why.contains(says), "{why}");
    assert_eq!(check["earned"].as_u64(), Some(if verdict == "passed" { 60 } else { 0 }));
    assert_eq!(left_running(), Vec::<String>::new());
}

/// Check binaries of this course that still run.
fn left_running() -> Vec<String> {
    let ours = Path::new(env!("CARGO_TARGET_TMPDIR")).join("course/grader/twin");
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let programs = processes.filter_map(|process| fs::read_link(process.path().join("exe")).ok());
    programs
        .filter(|program| program.starts_with(&ours))
        .map(|program| program.display().to_string())
        .collect()
}

#[test]
fn a_right_lock_passes_and_the_report_says_what_was_covered() {
    let check = report(&handed_in(""), &[]);
    assert_eq!(check["verdict"], "passed");
    let note = check["notes"][0].as_str().unwrap();
    assert!(note.starts_with("all interleavings with at most 3 preemptions: "), "{note}");
}

#[test]
fn printing_is_no_fault() {
    check("println!(\"hello\");", "passed", "");
}

#[test]
fn a_wrong_lock_gets_the_same_finding_every_time() {
    let course = Course::new();
    let first = report(&course, &WRONG);
    assert_eq!(first["verdict"], "failed");
    assert!(!first["finding"]["timeline"].as_array().unwrap().is_empty());
    let second = report(&course, &WRONG);
    for field in ["why", "finding", "reproduce", "where"] {
        assert_eq!(first[field], second[field]);
    }
}

#[test]
fn a_stub_is_not_started() {
    let check = report(&Course::new(), &[]);
    assert_eq!(check["verdict"], "unimplemented");
    assert_eq!(check["why"], "not started: take the lock");
    assert_eq!(check["where"], "labs/04-locks/src/lib.rs:12");
}

#[test]
fn a_lock_that_does_not_compile_is_told_once() {
    check("let word: u32 = \"one\";", "did-not-compile", "mismatched types");
}

#[test]
fn a_loop_without_a_visible_operation_meets_the_deadline() {
    check(
        "loop { std::hint::black_box(0); }",
        "timed-out",
        "two threads lock and unlock did not finish within",
    );
}

#[test]
fn an_early_exit_is_no_pass() {
    check("std::process::exit(0);", "failed", "ends the process: it calls `exit`");
}

#[test]
fn an_early_exit_without_handlers_is_no_pass() {
    check("unsafe { libc::_exit(0) };", "failed", "ends the process: it calls `_exit`");
}

#[test]
fn an_early_exit_past_libc_is_no_pass() {
    let exit = "unsafe { std::arch::asm!(\"syscall\", in(\"rax\") 231, in(\"rdi\") 0) };";
    check(exit, "failed", "ends the process: it calls `exit_group`");
}

#[test]
fn a_fork_is_no_pass() {
    check("unsafe { libc::fork() };", "failed", "starts a process: it calls `fork`");
}

#[test]
fn an_operating_system_thread_is_refused() {
    check(
        "std::thread::spawn(|| ()).join().unwrap();",
        "inconclusive",
        "starting an operating system thread",
    );
}

#[test]
fn a_wait_for_input_is_refused() {
    check("unsafe { libc::read(0, [0u8; 1].as_mut_ptr().cast(), 1) };", "inconclusive", "`read`");
}

#[test]
fn a_panic_without_a_text_is_a_failure() {
    check("if self.0.load(Acquire) == 1 { std::panic::panic_any(7) }", "failed", "not text");
}

#[test]
fn an_abort_is_a_failure() {
    check("std::process::abort();", "failed", "SIGABRT");
}

#[test]
fn a_bad_pointer_is_no_pass() {
    let check = report(&handed_in("unsafe { std::ptr::read_volatile(8 as *const u8) };"), &[]);
    assert!(["failed", "crashed"].contains(&check["verdict"].as_str().unwrap()), "{check}");
}

#[test]
fn a_compiler_without_the_passes_decides_nothing() {
    let course = handed_in("// for another compiler");
    let folder = tempfile::tempdir().unwrap();
    let rustc = folder.path().join("rustc");
    let real = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let real = Path::new(env!("CARGO")).with_file_name(real);
    let text = format!(
        "#!/bin/sh\ncase \"$*\" in *tsan*) echo \"error: unknown pass name 'tsan'\" >&2; exit 1;; esac\nexec {} \"$@\"\n",
        real.display()
    );
    fs::write(&rustc, text).unwrap();
    fs::set_permissions(&rustc, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let run = course.command().env("PATH", path).args(["locks", "--seed", "1"]).output().unwrap();
    let text = String::from_utf8(run.stdout).unwrap();
    assert!(text.contains("✓ is-free-at-first"), "{text}");
    assert!(text.contains("? at-most-one-holder   0/60  not decided"), "{text}");
    assert!(text.contains("the explored build failed: unknown pass name 'tsan'"), "{text}");
}

#[test]
fn a_grader_whose_file_is_gone_or_another_explores_all_the_same() {
    let course = handed_in("// for a grader without a file");
    let folder = tempfile::tempdir().unwrap();
    let grader = folder.path().join("grader");
    fs::copy(env!("CARGO_BIN_EXE_grader"), &grader).unwrap();
    let mut results = Vec::new();
    for replacement in [None, Some("#!/bin/sh\necho another grader\nexit 1\n")] {
        let turn = course.scratch();
        let mut command = course.started(&grader);
        let running = command.args(["locks", CHECK, "--seed", "1", "--format", "json"]).spawn().unwrap();
        // It runs, and waits for the scratch workspace.
        fs::rename(&grader, folder.path().join("kept")).unwrap();
        if let Some(text) = replacement {
            fs::write(&grader, text).unwrap();
        }
        fs::remove_file(folder.path().join("kept")).unwrap();
        drop(turn);
        let output = running.wait_with_output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        results.push((report["labs"][0]["checks"][0]["verdict"].clone(), report["tier"].clone()));
        fs::copy(env!("CARGO_BIN_EXE_grader"), folder.path().join("kept")).unwrap();
        fs::rename(folder.path().join("kept"), &grader).unwrap();
    }
    let tier = whole_report(&course, &[])["tier"].clone();
    assert_eq!(results, vec![(Value::from("passed"), tier); 2]);
}

/// The schedule of the wrong lock's failing execution.
fn schedule(course: &Course) -> String {
    report(course, &WRONG)["finding"]["schedule"].as_str().unwrap().to_owned()
}

#[test]
fn a_failing_execution_is_run_again() {
    let course = Course::new();
    let schedule = schedule(&course);
    let shown = stdout(&course.run(&["replay", "locks", CHECK, &schedule, WRONG[0], WRONG[1]]).code(1));
    let check = report(&course, &WRONG);
    let lines = check["finding"]["timeline"].as_array().unwrap();
    for line in lines.iter().map(|line| line.as_str().unwrap()) {
        assert!(shown.contains(line), "`{line}` is not in:\n{shown}");
    }
    assert!(shown.starts_with(check["finding"]["headline"].as_str().unwrap()), "{shown}");
}

#[test]
fn steps_are_shown_one_at_a_time() {
    let course = Course::new();
    let schedule = schedule(&course);
    let lines = |input: &str| {
        let mut command = course.command();
        command.args(["replay", "locks", CHECK, &schedule, WRONG[0], WRONG[1], "--step"]).write_stdin(input);
        stdout(&command.assert().code(1)).lines().count()
    };
    // The headline, an empty line, and one step for each line of input and one more.
    assert_eq!((lines("q\n"), lines("\nq\n"), lines("\n\nq\n")), (3, 4, 5));
    assert!(lines("") > 8, "the end of the input shows the rest");
}

#[test]
fn an_execution_that_does_not_fail_any_more_is_told() {
    let course = Course::new();
    let run = course.run(&["replay", "locks", CHECK, "1:0", "--subject", "reference"]).code(0);
    run.stdout(contains("it does not fail any more"));
    let run = course.run(&["replay", "locks", CHECK, "1:4000t2", "--subject", "reference"]).code(0);
    run.stdout(contains("there is no such execution any more"));
}

#[test]
fn what_cannot_be_replayed_is_told() {
    let course = Course::new();
    let refused = |check: &str, schedule: &str, says: &str| {
        course.run(&["replay", "locks", check, schedule]).code(2).stderr(contains(says.to_owned()));
    };
    refused(CHECK, "17t2", "is not a schedule; copy it from the report");
    refused(CHECK, "1:17", "is not a schedule; copy it from the report");
    refused(CHECK, "0:17t2", "is not a schedule; copy it from the report");
    refused("at-most-one-holde", "1:0", "did you mean `at-most-one-holder`?");
    refused("is-free-at-first", "1:0", "its evidence is `answers`");
    let run = course.run(&["replay", "locks", CHECK, "2:0", "--subject", "reference"]).code(2);
    run.stderr(contains("`at-most-one-holder` has no exploration number 2"));
}

#[test]
fn a_replayed_stub_is_not_started() {
    let run = Course::new().run(&["replay", "locks", CHECK, "1:0"]).code(1);
    run.stdout(contains("unimplemented").and(contains("not started: take the lock")));
}

#[test]
fn a_replayed_compile_error_is_shown() {
    let run = handed_in("let word: u32 = \"one\";").run(&["replay", "locks", CHECK, "1:0"]).code(1);
    run.stdout(contains("did-not-compile").and(contains("labs/04-locks/src/lib.rs:13:")));
}
