//! Each protection by its removal: without it, an entry of the corpus that it holds up comes to something else.

use crate::course::{Course, Kind, Service, entries};
use crate::left::Left;
use crate::{results, turn};

/// `entry` comes to what it should with all protections, and to something else without `protection`.
#[track_caller]
fn check(protection: &str, tier: &str, entry: &str) {
    let _turn = turn();
    let entries = entries(Kind::Run);
    let course = Course::of_one_lab(&entries);
    let known = entries.iter().find(|known| known.name == entry).unwrap();
    if !course.offers(tier) || !known.runs_in(tier) {
        return;
    }
    let expect = &known.end_in(tier).verdict;
    let _service = Service::new();
    let verdict = |options: &[&str]| {
        let report = course.grade_with(options, &["corpus", entry]);
        results(&report)[entry]["verdict"].as_str().unwrap().to_owned()
    };
    assert_eq!(verdict(&["--tier", tier]), *expect, "with all protections");
    assert_ne!(verdict(&["--tier", tier, "--without", protection]), *expect, "without {protection}");
}

/// The verdict is the same without, and so is every message: what a check makes by hand is its own affair, but it stays.
#[test]
fn the_sweep() {
    let _turn = turn();
    let course = Course::of_one_lab(&entries(Kind::Run));
    for tier in ["1", "0"].into_iter().filter(|tier| course.offers(tier)) {
        let before = Left::now(&course);
        course.grade_with(&["--tier", tier, "--without", "sweep"], &["corpus", "f16"]);
        let left = before.added(&course);
        let left: Vec<&String> = left.iter().filter(|thing| thing.contains("corpus-shell-")).collect();
        assert!(!left.is_empty(), "in tier {tier} nothing is left without a sweep");
        left.iter().for_each(|name| std::fs::remove_file(name).unwrap());
        before.nothing_has_changed(&course, "a run");
    }
}

#[test]
fn the_landlock_domain() {
    check("landlock", "1", "c06");
    // In tier 1 the warden has a domain of its own.
    check("landlock", "0", "g04");
    check("landlock", "1", "g10");
}

/// What Landlock does not keep from a check here, the grader keeps from everybody.
#[test]
fn the_landlock_domain_is_not_all_that_the_grader_relies_on() {
    let _turn = turn();
    let course = Course::of_one_lab(&entries(Kind::Run));
    if course.offers("0") {
        let report = course.grade_with(&["--tier", "0", "--without", "landlock"], &["corpus", "c06c"]);
        assert_eq!(results(&report)["c06c"]["verdict"], "passed");
    }
}

#[test]
fn the_system_call_filter() {
    check("filter", "2", "g03");
    check("filter", "1", "g07");
    check("filter", "1", "c08");
    check("filter", "1", "c10b");
}

#[test]
fn the_limits() {
    check("limits", "2", "e10");
}

#[test]
fn the_look_at_what_is_taken() {
    check("look", "2", "e09b");
}

#[test]
fn the_loss_of_privileges() {
    check("privileges", "2", "c09");
}

#[test]
fn the_supervisors_cover() {
    check("supervisor", "2", "c02");
    check("supervisor", "2", "c08");
}

#[test]
fn the_covered_folders() {
    check("hidden", "3", "c10");
}
