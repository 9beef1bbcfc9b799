//! A student's half-finished checkout (`tests/sample`), graded on the real labs: the verdict and the
//! points of every check.
//!
//! `INSTA_UPDATE=always cargo test -p grader --test sample` writes the table anew; read what changed.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

const LABS: [&str; 3] = ["fork", "pipes", "spinlock"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn report() -> Value {
    let mut command = assert_cmd::cargo::cargo_bin_cmd!("grader");
    command
        .current_dir(root())
        .env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("course"));
    command.args(LABS).args(["--subject", "grader/tests/sample", "--format", "json", "--seed", "1"]);
    let run = command.assert().code(1);
    serde_json::from_slice(&run.get_output().stdout).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// A line for each check.
fn table(report: &Value) -> String {
    let mut table = String::new();
    for lab in list(&report["labs"]) {
        let (directory, score) = (text(&lab["directory"]), &lab["score"]);
        writeln!(table, "{directory} {}/{}", score["earned"], score["possible"]).unwrap();
        for check in list(&lab["checks"]) {
            let (verdict, name) = (text(&check["verdict"]), text(&check["name"]));
            writeln!(table, "  {verdict:16}{}/{} {name}", check["earned"], check["points"]).unwrap();
        }
    }
    table
}

#[test]
fn a_half_finished_checkout_gets_what_it_has_earned() {
    insta::assert_snapshot!(table(&report()));
}
