//! Whole reports, word for word, on a submission that meets every verdict.
//!
//! `INSTA_UPDATE=always cargo test -p grader --test miniature` writes them anew; read what changed.

use std::collections::BTreeMap;
use std::sync::Mutex;

use predicates::str::contains;
use serde_json::Value;

use crate::course::{Course, stdout};

/// The report in a format, without what differs from run to run. Made once for each format.
fn report(format: &str) -> String {
    static REPORTS: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());
    let mut reports = REPORTS.lock().unwrap();
    let make = || redacted(&stdout(&Course::handed_in().run(&["--format", format]).code(1)));
    reports.entry(format.to_owned()).or_insert_with(make).clone()
}

/// Process numbers and times, replaced by words.
fn redacted(text: &str) -> String {
    let words = [("process ", "PID"), ("thread 'main' (", "PID"), ("within ", "N")];
    let text =
        words.into_iter().fold(text.to_owned(), |text, (before, word)| number_after(&text, before, word));
    let text = text.replace("\"tier\": null", "\"tier\": 0");
    let keys = ["\"slowness\": ", "\"tier\": ", "\"seconds\": "];
    keys.into_iter().fold(text, |text, key| number_after(&text, key, "\"N\""))
}

/// Each number that follows `before`, replaced by `word`.
fn number_after(text: &str, before: &str, word: &str) -> String {
    let mut pieces = text.split(before);
    let mut redacted = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let rest = piece.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        redacted.push_str(before);
        redacted.push_str(if rest.len() < piece.len() { word } else { "" });
        redacted.push_str(rest);
    }
    redacted
}

#[test]
fn the_report_for_a_terminal() {
    insta::assert_snapshot!(report("terminal"));
}

#[test]
fn the_report_for_programs() {
    insta::assert_snapshot!(report("json"));
}

#[test]
fn the_report_for_a_summary_page() {
    insta::assert_snapshot!(report("markdown"));
}

#[test]
fn the_report_for_a_workflow_run() {
    let report = report("github");
    let token = report.lines().next().unwrap().strip_prefix("::stop-commands::").unwrap();
    // What people read is above, and the same in all formats.
    insta::assert_snapshot!(report.split_once(&format!("\n::{token}::\n")).unwrap().1);
}

/// The verdict of every check, from the JSON report.
fn verdicts(report: &Value) -> BTreeMap<String, String> {
    let labs = report["labs"].as_array().unwrap();
    let checks = labs.iter().flat_map(|lab| lab["checks"].as_array().unwrap());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    checks.map(|check| (text(&check["name"]), text(&check["verdict"]))).collect()
}

#[test]
fn every_verdict_occurs() {
    let json: Value = serde_json::from_str(&report("json")).unwrap();
    let mut seen: Vec<String> = verdicts(&json).into_values().collect();
    seen.sort();
    seen.dedup();
    let all = "crashed did-not-compile failed inconclusive leaked passed timed-out unimplemented";
    assert_eq!(seen.join(" "), all);
}

#[test]
fn all_formats_agree_on_the_points() {
    let json: Value = serde_json::from_str(&report("json")).unwrap();
    let score = |value: &Value| format!("{}/{}", value["score"]["earned"], value["score"]["possible"]);
    let total = score(&json);
    let checks = json["labs"].as_array().unwrap().iter().flat_map(|lab| lab["checks"].as_array().unwrap());
    let earned: u64 = checks.map(|check| check["earned"].as_u64().unwrap()).sum();
    assert_eq!(json["score"]["earned"], earned);
    let (terminal, markdown, github) = (report("terminal"), report("markdown"), report("github"));
    assert!(terminal.contains(&format!("\n{total} points")), "{terminal}");
    assert!(markdown.starts_with(&format!("## {total} points\n")), "{markdown}");
    assert!(github.contains(&format!("::notice title=Points::{total}")), "{github}");
    for lab in json["labs"].as_array().unwrap() {
        let (directory, score) = (lab["directory"].as_str().unwrap(), score(lab));
        for text in [&terminal, &markdown] {
            let told = text.lines().any(|line| line.contains(directory) && line.contains(&score));
            assert!(told, "{directory} {score} is not in:\n{text}");
        }
    }
}

/// What comes of the endless loop in `come_to_an_end`, with this body of it in the reference.
fn judged_beside(reference: &str) -> String {
    let course = Course::handed_in().edit(
        "solutions/02-processes/src/lib.rs",
        "pub fn come_to_an_end() {}",
        &format!("pub fn come_to_an_end() {{ {reference} }}"),
    );
    let run = course.run(&["processes", "comes-to-an-end", "--format", "json"]).code(1);
    let json: Value = serde_json::from_str(&stdout(&run)).unwrap();
    verdicts(&json)["comes-to-an-end"].clone()
}

#[test]
fn too_slow_is_too_slow_when_the_reference_is_in_time() {
    assert_eq!(judged_beside(""), "timed-out");
}

#[test]
fn too_slow_is_not_decided_when_the_reference_is_too_slow_as_well() {
    assert_eq!(judged_beside("loop { std::thread::park() }"), "inconclusive");
}

#[test]
fn exit_code_0_is_for_every_point() {
    Course::new().run(&["--subject", "reference"]).code(0);
}

#[test]
fn exit_code_0_is_for_having_run_when_that_is_wanted() {
    Course::new().run(&["types", "--exit-policy", "ran"]).code(0);
}

#[test]
fn exit_code_1_is_for_lost_points() {
    Course::new().run(&["types"]).code(1);
}

#[test]
fn exit_code_2_is_for_a_word_that_names_nothing() {
    let course = Course::new();
    course.run(&["typse"]).code(2).stderr(contains("no lab named `typse`; did you mean `types`?"));
    course.run(&["types", "greet"]).code(2).stderr(contains("did you mean `greets`?"));
    course.run(&["--no-such-option"]).code(2);
}

#[test]
fn exit_code_3_is_for_a_course_that_cannot_be_read() {
    let course = Course::new().edit("labs/03-types/lab.toml", "points = 60", "points = many");
    course.run(&[]).code(3).stderr(contains("labs/03-types/lab.toml:11:10: "));
}
