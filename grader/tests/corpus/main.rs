//! The corpus: submissions that are hostile, and some that are honest and unlucky, each with what must come of it.
//!
//! Every file below `corpus/` but this one and `acts.rs` is an entry: a header of `//! key: value` lines, and `pub fn run`. All
//! are compiled as modules of one submission, and each is the subject of one check, which asks it for the number 42.
//!
//! Entries in `build` are submissions of their own, which do not come as far as being run (`bounded`: their compiler is stopped);
//! those in `brought` are checkouts with other files than sources (`ignored`: which the report names).
//!
//! `CORPUS='e04 e09' cargo test -p grader --test corpus` runs some entries only.
//!
//! `expect`, the verdict; `message`, what its reason contains; both also for some tiers alone (`expect in 1 0`); `tiers`, where
//! it is run (`side-by-side`: two at a time, in tiers that share the machine's objects); `deadline`, in seconds; `asked`, how. After
//! each run: points only for `passed`; no process, file, mount or object of the kernel's left; the course as it was; another program's objects still there.

mod asked;
mod brought;
mod course;
mod interrupts;
mod left;
mod memory;
mod record;
mod removed;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;

use course::{Course, End, Entry, Kind, Service};
use left::{Done, Left, Neighbour};
use nix::fcntl::{Flock, FlockArg};
use serde_json::Value;

/// Grades all entries that run in a tier, and compares each with its header.
#[track_caller]
fn check(tier: &str) {
    let _turn = turn();
    let entries: Vec<Entry> = course::entries(Kind::Run);
    let course = Course::of_one_lab(&entries);
    if !course.offers(tier) {
        // A machine without this tier: `grader doctor` says why.
        return;
    }
    let mut chosen: Vec<&Entry> = entries.iter().filter(|entry| entry.runs_in(tier)).collect();
    assert!(chosen.len() > 80, "only {} entries for tier {tier}", chosen.len());
    if let Ok(only) = std::env::var("CORPUS") {
        chosen.retain(|entry| only.split(' ').any(|name| name == entry.name));
    }
    let before = Left::now(&course);
    let words: Vec<&str> = ["corpus"].into_iter().chain(names(&chosen)).collect();
    let service = Service::new();
    let neighbour = Neighbour::new();
    let report = std::thread::scope(|scope| {
        neighbour.begin(scope);
        let _done = Done(&neighbour);
        course.grade(tier, &words)
    });
    drop(service);
    before.nothing_has_changed(&course, &format!("tier {tier}"));
    compare(chosen, &results(&report), tier);
}

/// Each entry must have come to what its header says.
#[track_caller]
fn compare<'e>(entries: impl IntoIterator<Item = &'e Entry>, results: &BTreeMap<String, Value>, tier: &str) {
    let mut wrong = String::new();
    for entry in entries {
        let result = &results[&entry.name];
        let End { verdict: expect, message, .. } = entry.end_in(tier);
        let verdict = result["verdict"].as_str().unwrap();
        let why = result["why"].as_str().unwrap_or_default();
        let earned = result["earned"].as_u64().unwrap();
        let points = if expect == "passed" { course::POINTS } else { 0 };
        if verdict != expect || !why.contains(message) || earned != points {
            let name = &entry.name;
            let _ = writeln!(
                wrong,
                "{name}: expected {expect}, `{message}`; got {verdict}, {earned} points: {why}"
            );
        }
    }
    assert!(wrong.is_empty(), "in tier {tier}:\n{wrong}");
}

fn results(report: &Value) -> BTreeMap<String, Value> {
    let labs = report["labs"].as_array().unwrap();
    let checks = labs.iter().flat_map(|lab| lab["checks"].as_array().unwrap());
    checks.map(|check| (check["name"].as_str().unwrap().to_owned(), check.clone())).collect()
}

fn names<'e>(entries: &[&'e Entry]) -> Vec<&'e str> {
    entries.iter().map(|entry| entry.name.as_str()).collect()
}

/// One grader at a time: they share a target directory.
fn turn() -> Flock<File> {
    let turn = File::create(course::scratch().join("corpus.lock")).unwrap();
    Flock::lock(turn, FlockArg::LockExclusive).map_err(|(_, error)| error).unwrap()
}

#[test]
fn as_a_user_of_its_own_in_namespaces() {
    check("3");
}

#[test]
fn in_namespaces() {
    check("2");
}

#[test]
fn in_a_landlock_domain() {
    check("1");
}

#[test]
fn behind_a_fork_gate() {
    check("0");
}

#[test]
fn a_check_that_needs_more_than_the_tier_gives_is_undecided() {
    let _turn = turn();
    let course = Course::of_one_lab(&course::entries(Kind::Run));
    let report = course.grade("open", &["corpus", "f12"]);
    let result = &results(&report)["f12"];
    assert_eq!(result["verdict"], "inconclusive");
    assert!(result["why"].as_str().unwrap().contains("needs a table of IPC objects of its own"), "{result}");
}

/// Also those of another grader: they know nothing of each other.
#[test]
fn what_another_check_has_made_meanwhile_is_left_alone() {
    let _turn = turn();
    let entries: Vec<Entry> = course::entries(Kind::Run);
    let course = Course::of_one_lab(&entries);
    let pair = || entries.iter().filter(|entry| entry.runs_in("side-by-side"));
    for tier in ["1", "0"].into_iter().filter(|tier| course.offers(tier)) {
        let before = Left::now(&course);
        let words: Vec<&str> = ["corpus"].into_iter().chain(names(&pair().collect::<Vec<_>>())).collect();
        let report = course.grade_with(&["--tier", tier, "--jobs", "2"], &words);
        before.nothing_has_changed(&course, &format!("tier {tier}"));
        compare(pair(), &results(&report), tier);
    }
}

#[test]
fn what_another_check_takes_meanwhile_is_not_held_against_it() {
    let _turn = turn();
    let entries: Vec<Entry> = course::entries(Kind::Run);
    let course = Course::of_one_lab(&entries);
    let pair = || entries.iter().filter(|entry| ["e04b", "j29"].contains(&entry.name.as_str()));
    for tier in ["1", "0"].into_iter().filter(|tier| course.offers(tier)) {
        let report = course.grade_with(&["--tier", tier, "--jobs", "2"], &["corpus", "e04b", "j29"]);
        compare(pair(), &results(&report), tier);
    }
}

#[test]
fn less_than_the_required_tier_is_an_error() {
    let _turn = turn();
    let course = Course::of_one_lab(&course::entries(Kind::Run));
    let mut command = course.grader();
    let output = command.args(["corpus", "j01", "--tier", "open", "--require-tier", "2"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("tier 2 is required, and this is tier open"), "{said}");
}

#[test]
fn what_is_not_to_be_built_or_not_to_be_run() {
    let _turn = turn();
    let entries: Vec<Entry> = course::entries(Kind::Build);
    let course = Course::of_a_lab_each(&entries);
    let (bounded, others): (Vec<&Entry>, Vec<&Entry>) = entries.iter().partition(|entry| entry.is_bounded);
    compare(others.clone(), &results(&course.grade("open", &names(&others))), "open");
    // Everything they need is built by now: less is enough for all but them, and they are stopped sooner.
    let report = course.grade_bounded(&names(&bounded));
    let results = results(&report);
    let says =
        |result: &Value| result["why"].as_str().unwrap().contains("within 10 s of processor time and 2 GiB");
    assert!(results.values().all(says), "{report}");
    compare(bounded, &results, "open");
}
