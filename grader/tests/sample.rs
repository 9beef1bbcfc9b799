//! A student's half-finished checkout (`tests/sample`), graded on the real labs: the verdict and the
//! points of every check.
//!
//! `INSTA_UPDATE=always cargo test -p grader --test sample` writes the table anew; read what changed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

const LABS: [&str; 3] = ["fork", "pipes", "spinlock"];

/// What the harness lets a check take at the most, in deadlines.
const LONGEST: f64 = 3.0;
/// What starting and ending its processes may add, in seconds, on a machine with other work.
const AROUND: f64 = 5.0;

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

/// The deadline of every check of a lab, in seconds, as its rubric states it.
fn deadlines(directory: &str) -> BTreeMap<String, f64> {
    let rubric = fs::read_to_string(root().join("labs").join(directory).join("lab.toml")).unwrap();
    let rubric: toml::Table = rubric.parse().unwrap();
    let checks =
        rubric["parts"].as_array().unwrap().iter().flat_map(|part| part["checks"].as_array().unwrap());
    checks
        .map(|check| (check["name"].as_str().unwrap().to_owned(), check["deadline"].as_float().unwrap()))
        .collect()
}

#[test]
fn a_half_finished_checkout_gets_what_it_has_earned() {
    let report = report();
    insta::assert_snapshot!(table(&report));
    let slowness = report["slowness"].as_f64().unwrap();
    for lab in list(&report["labs"]) {
        let deadlines = deadlines(text(&lab["directory"]));
        for check in list(&lab["checks"]) {
            let (name, seconds) = (text(&check["name"]), check["seconds"].as_f64().unwrap());
            let longest = deadlines[name] * slowness * LONGEST + AROUND;
            assert!(seconds <= longest, "`{name}` took {seconds} s, and may take {longest} s");
        }
    }
}
