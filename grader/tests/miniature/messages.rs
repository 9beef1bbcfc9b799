//! What `verify --messages` says about the golden files of the miniature course.

use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

use crate::course::Course;

const MUTANTS: &str = "solutions/01-sums/mutants.toml";
const SUMS: &str = "solutions/01-sums/messages.md";

/// The course with the golden file of a lab, as it is written.
fn written(lab: &str) -> Course {
    let course = Course::new();
    course.run(&["verify", lab, "--messages=write"]).code(0);
    course
}

/// `verify --messages` of the lab about sums, after an edit of its golden file, finds one thing wrong.
#[track_caller]
fn check(find: &str, replace: &str, sentence: &str) {
    let course = written("sums").edit(SUMS, find, replace);
    let only = format!("\n\n1 thing wrong:\n  ✗ solutions/01-sums/messages.md: {sentence}");
    course.run(&["verify", "sums", "--messages"]).code(3).stdout(contains(only));
}

#[test]
fn what_is_written_is_read_again() {
    written("sums").run(&["verify", "sums", "--messages"]).code(0);
}

#[test]
fn an_interleaving_is_the_same_again() {
    written("locks").run(&["verify", "locks", "--messages"]).code(0);
}

#[test]
fn without_a_file_every_message_is_missing() {
    let run = Course::new().run(&["verify", "sums", "--messages"]).code(3);
    run.stdout(
        contains("7 things wrong").and(contains("mutant `multiplies` is caught by `doubles` with a message")),
    );
}

#[test]
fn nobody_asks_for_a_file_otherwise() {
    Course::new().run(&["verify", "sums"]).code(0);
}

#[test]
fn another_message_is_shown() {
    check(
        "✗ halves",
        "✗ thirds",
        "mutant `halves-the-next` is caught by `halves` with a message that is not there;",
    );
}

#[test]
fn another_bug_is_told() {
    check(
        "\nAddition is multiplication.",
        "\nAddition is division.",
        "the bug of mutant `multiplies` is another one than in mutants.toml",
    );
}

#[test]
fn a_mutant_that_is_no_more_is_told() {
    let find = "name = \"looks-where-nothing-is\"";
    let course = written("sums").edit(MUTANTS, find, "name = \"looks-at-nothing\"");
    course.run(&["verify", "sums", "--messages"]).code(3).stdout(
        contains("there is no mutant `looks-where-nothing-is`")
            .and(contains("mutant `looks-at-nothing` is caught by `picks-the-last` with a message")),
    );
}
