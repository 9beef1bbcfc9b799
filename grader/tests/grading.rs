//! The grader as a user runs it, on a miniature course with one lab.

use std::fs;
use std::path::Path;

use assert_cmd::assert::Assert;
use predicates::str::contains;

const LAB: &str = r#"
title = "Sums"
summary = "Adds."
[[parts]]
name = "add"
title = "Addition"
hints = ["a", "b", "c"]
[[parts.checks]]
name = "adds"
points = 60
deadline = 2.0
says = "`add` adds."
evidence = "answers"
[[parts.checks]]
name = "ends"
points = 40
deadline = 2.0
says = "`add` returns."
evidence = "answers"
"#;

const CHECKS: &str = r#"//! Checks.
use harness::{Check, Outcome, ensure};
harness::checks! { "adds" => adds, "ends" => ends }
fn adds(check: &mut Check) -> Outcome {
    let sum = check.ask("`add(2, 3)`", || sums::add(2, 3))?;
    ensure!(sum == 5, expected: "5", observed: "{sum}", look: "`add`");
    Ok(())
}
fn ends(check: &mut Check) -> Outcome {
    check.ask("`add(0, 0)`", || sums::add(0, 0))?;
    Ok(())
}
"#;

/// A course in a folder of its own, whose student has written `body` into `add`.
fn grade(body: &str) -> Assert {
    let folder = tempfile::tempdir().unwrap();
    let harness = Path::new(env!("CARGO_MANIFEST_DIR")).join("harness");
    let root = format!(
        "[workspace]\nmembers = ['labs/*']\n[workspace.dependencies]\nharness = {{ path = '{}' }}\n\
         libc = '0.2'\nnix = '0.31'\n",
        harness.display()
    );
    let lab = folder.path().join("labs/01-sums");
    fs::create_dir_all(lab.join("src")).unwrap();
    fs::write(folder.path().join("Cargo.toml"), root).unwrap();
    fs::write(lab.join("Cargo.toml"), "[package]\nname = 'sums'\nedition = '2024'\n").unwrap();
    fs::write(lab.join("lab.toml"), LAB).unwrap();
    fs::write(lab.join("checks.rs"), CHECKS).unwrap();
    let text = format!("pub fn add(a: u64, b: u64) -> u64 {{ {body} }}\n");
    fs::write(lab.join("src/lib.rs"), text).unwrap();
    // One target directory for all tests: the harness is built once.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("course");
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock");
    fs::copy(lock, folder.path().join("Cargo.lock")).unwrap();
    let mut command = assert_cmd::cargo::cargo_bin_cmd!("grader");
    command.current_dir(folder.path()).env("CARGO_TARGET_DIR", target);
    command.args(["--seed", "1"]).assert()
}

#[test]
fn a_right_answer_earns_every_point() {
    grade("a + b").code(0).stdout(contains("100/100 points"));
}

#[test]
fn a_wrong_answer_is_told_with_what_was_seen() {
    grade("a * b").code(1).stdout(contains("observed  6")).stdout(contains("40/100 points"));
}

#[test]
fn a_stub_is_not_started() {
    grade("todo!(\"add {a} {b}\")").code(1).stdout(contains("not started")).stdout(contains("0/100"));
}

#[test]
fn an_early_exit_is_no_pass() {
    grade("let _ = a + b; std::process::exit(0)").code(1).stdout(contains("0/100 points"));
}

#[test]
fn a_compile_error_is_shown_in_the_students_own_path() {
    grade("a +").code(1).stdout(contains("labs/01-sums/src/lib.rs:1:"));
}
