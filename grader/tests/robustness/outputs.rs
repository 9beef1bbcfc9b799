//! Where reports go, and what is graded when only a folder is named.

use std::fs;

use super::course::*;

#[test]
fn each_output_file_has_the_form_its_name_says() {
    let folder = tempfile::tempdir().unwrap();
    let (json, markdown) = (folder.path().join("report.json"), folder.path().join("report.md"));
    let mut command = grader(&["ends"]);
    run(command.arg("--output").arg(&json).arg("--output").arg(&markdown)).code(0).says("✓ ends");
    let json = fs::read_to_string(json).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["score"]["earned"], 10);
    assert!(fs::read_to_string(markdown).unwrap().starts_with("## 10/10 points\n"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "no temporary file is left");
}

#[test]
fn an_output_file_of_unknown_form_is_refused() {
    run(grader(&["ends"]).args(["--output", "report.txt"])).code(2).complains("must end in .json or .md");
}

#[test]
fn an_output_file_that_cannot_be_written_is_an_error() {
    let mut command = grader(&["ends"]);
    run(command.args(["--output", "/proc/none/report.json"])).code(70).complains("cannot write `/proc/none");
}

#[test]
fn workflow_commands_come_with_a_step_summary() {
    let folder = tempfile::tempdir().unwrap();
    let summary = folder.path().join("summary");
    fs::write(&summary, "before\n").unwrap();
    let mut command = grader(&["ends"]);
    command.args(["--format", "github"]).env("GITHUB_STEP_SUMMARY", &summary);
    run(&mut command).code(0).says("::notice title=Points::10/10");
    assert!(fs::read_to_string(summary).unwrap().starts_with("before\n## 10/10 points\n"));
}

#[test]
fn the_folder_of_one_lab_says_which_lab_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let lab = folder.path().join("01-yard");
    fs::create_dir_all(lab.join("src")).unwrap();
    fs::copy(course().join("labs/01-yard/src/lib.rs"), lab.join("src/lib.rs")).unwrap();
    let mut command = grader_in(course());
    run(command.arg("--subject").arg(&lab).args(["yard", "ends"])).code(0).says("10/10");
    let (mut named, mut unnamed) = (grader_in(course()), grader_in(course()));
    let ended = run(named.arg("--subject").arg(folder.path()).args(["--exit-policy", "ran"]));
    ended.code(2).complains("it is not clear what");
    fs::write(lab.join("src/lib.rs"), "compile_error!(\"seen\");").unwrap();
    run(unnamed.arg("--subject").arg(&lab)).code(1).says("01-yard Yard").says("seen");
}
