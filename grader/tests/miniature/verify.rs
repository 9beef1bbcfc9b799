//! What `verify` says about the miniature course as it is, and after one small change each.

use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

use crate::course::Course;

const STUBS: &str = "labs/01-sums/src/lib.rs";
const RUBRIC: &str = "labs/01-sums/lab.toml";
const CHECKS: &str = "labs/01-sums/checks.rs";
const REFERENCE: &str = "solutions/01-sums/src/lib.rs";
const MUTANTS: &str = "solutions/01-sums/mutants.toml";

/// `verify` of the lab about sums finds one thing wrong: what begins with this sentence.
#[track_caller]
fn check(course: Course, sentence: &str) {
    let only = format!("\n\n1 thing wrong:\n  ✗ {sentence}");
    course.run(&["verify", "sums"]).code(3).stdout(contains(only));
}

#[test]
fn a_consistent_course_is_consistent() {
    let run = Course::new().run(&["verify"]).code(0);
    run.stdout(
        contains("waits for explore")
            .and(contains("variant adds-one-by-one"))
            .and(contains("\n\nthe course is consistent\n")),
    );
}

#[test]
fn every_run_counts() {
    let run = Course::new().run(&["verify", "types", "--runs", "3"]).code(0);
    run.stdout(contains("counts-bytes").and(contains("3/3")).and(contains("6/6")));
}

#[test]
fn a_stub_earns_nothing() {
    check(
        Course::new().edit(STUBS, "todo!(\"divide by two\")", "a / 2"),
        "sums: `halves` on the stubs must be reported as not started, but was passed\n",
    );
}

#[test]
fn a_stub_is_not_merely_wrong() {
    check(
        Course::new().edit(STUBS, "todo!(\"divide by two\")", "a"),
        "sums: `halves` on the stubs must be reported as not started, \
         but was failed (expected 3; observed 7; look at `halve`)\n",
    );
}

#[test]
fn the_stubs_compile() {
    check(
        Course::new().edit(STUBS, "todo!(\"divide by two\")", "\"two\""),
        "sums: the stubs do not compile:\n    error[E0308]: mismatched types\n      --> labs/01-sums/src/lib.rs:13:",
    );
}

#[test]
fn the_reference_loses_nothing() {
    check(
        Course::new().edit(REFERENCE, "a / 2", "a.div_ceil(2)").edit(
            MUTANTS,
            "find = \"a / 2\"",
            "find = \"(2)\"",
        ),
        "sums: `halves` on the reference must pass, but was failed (expected 3; observed 4; look at `halve`)\n",
    );
}

const VARIANT: &str = "solutions/01-sums/variants/adds-one-by-one/lib.rs";

#[test]
fn a_variant_loses_nothing() {
    check(
        Course::new().edit(VARIANT, "half + 1", "half + 3"),
        "sums: `halves` on the variant adds-one-by-one must pass like the reference, \
         but was failed (expected 3; observed 2; look at `halve`)\n",
    );
}

#[test]
fn a_variant_says_in_what_it_differs() {
    check(
        Course::new().edit(VARIANT, "//! Adds one by one", "// Adds one by one"),
        "solutions/01-sums/variants: variant `adds-one-by-one` does not say in the first line of its `lib.rs` \
         (`//! …`) in what it differs\n",
    );
}

#[test]
fn a_variant_can_be_graded_by_name() {
    let course = Course::new();
    course.run(&["sums", "--subject", "variant:adds-one-by-one"]).code(0);
    let run = course.run(&["sums", "--subject", "variant:adds-one"]).code(2);
    run.stderr(contains("`sums` has no variant named `adds-one`; there are `adds-one-by-one`"));
}

#[test]
fn the_reference_is_there() {
    check(
        Course::new().without(REFERENCE).without(MUTANTS),
        "`sums` has no solution: solutions/01-sums/src/lib.rs\n",
    );
}

#[test]
fn no_mutant_survives() {
    check(
        Course::new().edit(MUTANTS, "replace = \"a * b\"", "replace = \"b + a\"").edit(
            MUTANTS,
            "\"adds\", \"doubles\"",
            "\"adds\"",
        ),
        "sums: `adds` on the mutant multiplies must be caught, but was passed\n",
    );
}

#[test]
fn a_mutant_is_caught_by_each_check_it_names() {
    check(
        Course::new().edit(MUTANTS, "\"adds\", \"doubles\"", "\"adds\", \"doubles\", \"picks-the-last\""),
        "sums: `picks-the-last` on the mutant multiplies must be caught, but was passed\n",
    );
}

#[test]
fn a_mutant_names_checks_that_there_are() {
    check(
        Course::new().edit(MUTANTS, "\"adds\", \"doubles\"", "\"adds\", \"double\""),
        "solutions/01-sums/mutants.toml: mutant `multiplies` is caught by `double`, which is no check; \
         did you mean `doubles`?\n",
    );
}

#[test]
fn a_mutant_names_a_check() {
    check(
        Course::new().edit(
            MUTANTS,
            ".unwrap()\"\ncaught-by = [\"picks-the-last\"]",
            ".unwrap()\"\ncaught-by = []",
        ),
        "solutions/01-sums/mutants.toml: mutant `looks-where-nothing-is` is caught by no check\n",
    );
}

#[test]
fn a_mutant_edits_text_that_is_there() {
    check(
        Course::new().edit(MUTANTS, "find = \"a + b\"", "find = \"a - b\""),
        "solutions/01-sums/mutants.toml: mutant `multiplies`: \
         its `find` text occurs 0 times in `lib.rs`, not once\n",
    );
}

#[test]
fn a_mutant_edits_one_place() {
    check(
        Course::new().edit(MUTANTS, "find = \"a + b\"", "find = \"a: u32\""),
        "solutions/01-sums/mutants.toml: mutant `multiplies`: \
         its `find` text occurs 3 times in `lib.rs`, not once\n",
    );
}

#[test]
fn a_mutant_that_waits_edits_one_place_all_the_same() {
    check(
        Course::new().edit(MUTANTS, "find = \"a / 2\"", "find = \"a / 3\""),
        "solutions/01-sums/mutants.toml: mutant `halves-zero-only`: \
         its `find` text occurs 0 times in `lib.rs`, not once\n",
    );
}

#[test]
fn a_mutant_waits_for_evidence_of_a_known_kind() {
    check(
        Course::new().edit(MUTANTS, "\"explore\"", "\"explorer\""),
        "solutions/01-sums/mutants.toml: mutant `halves-zero-only` waits for `explorer`, \
         which is no kind of evidence; did you mean `explore`?\n",
    );
}

#[test]
fn a_mutant_compiles() {
    check(
        Course::new().edit(MUTANTS, "replace = \"a * b\"", "replace = \"a * c\""),
        "sums: the mutant multiplies does not compile:\n    error[E0425]: cannot find value `c`",
    );
}

#[test]
fn mutants_have_names_of_their_own() {
    check(
        Course::new().edit(MUTANTS, "\"looks-where-nothing-is\"", "\"multiplies\""),
        "solutions/01-sums/mutants.toml: two mutants are named `multiplies`\n",
    );
}

#[test]
fn there_are_as_many_mutants_as_the_course_wants() {
    check(
        Course::new().edit("Cargo.toml", "mutants = 1", "mutants = 7"),
        "solutions/01-sums/mutants.toml: 6 mutants to be caught, not 7 or more\n",
    );
}

#[test]
fn a_check_has_a_mutant_that_it_catches() {
    check(
        Course::new().edit(
            MUTANTS,
            "caught-by = [\"halves\"]\n\n",
            "caught-by = [\"halves\"]\nwaits-for = \"explore\"\n\n",
        ),
        "solutions/01-sums/mutants.toml: no mutant is caught by `halves`\n",
    );
}

#[test]
fn a_course_may_want_no_mutants() {
    let course = Course::new().edit("Cargo.toml", "mutants = 1", "").without(MUTANTS);
    course.run(&["verify", "sums"]).code(0);
}

#[test]
fn a_check_of_the_rubric_is_among_the_checks() {
    check(
        Course::new().edit(CHECKS, "    \"halves\" => halves,\n", ""),
        "labs/01-sums/checks.rs has no check `halves`, which lab.toml names\n",
    );
}

#[test]
fn a_check_is_in_the_rubric() {
    check(
        Course::new().edit(
            CHECKS,
            "    \"halves\" => halves,\n",
            "    \"halves\" => halves, \"thirds\" => halves,\n",
        ),
        "labs/01-sums/lab.toml does not name `thirds`, a check of checks.rs\n",
    );
}

#[test]
fn a_part_has_hints() {
    let hints = "hints = [\"which operator?\", \"the one that divides\", \"`a / 2`\"]";
    check(
        Course::new().edit(RUBRIC, hints, "hints = []"),
        "labs/01-sums/lab.toml: part `halve` has 0 hints; give it three\n",
    );
    let course = Course::new().edit(RUBRIC, hints, "");
    let run = course.run(&["verify", "sums"]).code(3);
    run.stderr(contains("labs/01-sums/lab.toml:").and(contains(": missing field `hints`")));
}

#[test]
fn the_points_of_a_lab_add_up_to_100() {
    check(
        Course::new().edit(RUBRIC, "name = \"doubles\"\npoints = 20", "name = \"doubles\"\npoints = 25"),
        "labs/01-sums/lab.toml: the points of the checks add up to 105, not 100\n",
    );
}
