//! How much memory the grader itself takes, whatever it is told.

use std::fs;
use std::process::Child;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::course::{Course, Entry};

/// In bytes; of the grader's own process, without cargo and the checks.
const MOST: u64 = 64 << 20;

/// Prints what becomes longer when it is made visible, and fails with a long story.
const LOUD: &str = "//! expect: crashed\n\npub fn run() -> u64 {\n    use std::io::Write;\n    \
    let loud = \"\\u{1b}\\n\".repeat(1 << 16);\n    std::io::stdout().write_all(loud.as_bytes()).unwrap();\n    \
    std::io::stderr().write_all(&[0xff; 1 << 16]).unwrap();\n    panic!(\"{}\", loud)\n}\n";

/// The most memory that a grader has had when it hands its report to us; none when it has ended without waiting for a reader.
pub fn peak(grader: &mut Child) -> Option<u64> {
    let report = grader.stdout.as_ref()?;
    poll(&mut [PollFd::new(std::os::fd::AsFd::as_fd(report), PollFlags::POLLIN)], PollTimeout::NONE).unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", grader.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let peak: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    Some(peak * 1024)
}

/// A grader has taken so much and no more.
#[track_caller]
pub fn check(peak: Option<u64>) {
    if let Some(peak) = peak {
        assert!(peak < MOST, "the grader took {} KiB", peak >> 10);
    }
}

#[test]
fn every_check_of_a_course_may_be_loud() {
    let _turn = crate::turn();
    // As many as the course has.
    let names = (0..280).map(|number| format!("loud{number}"));
    let entries: Vec<Entry> = names.map(|name| Entry::parse(&name, LOUD.to_owned())).collect();
    let report = Course::of_one_loud_lab(&entries).grade_in_the_best_tier();
    let checks = report["labs"][0]["checks"].as_array().unwrap();
    assert!(checks.iter().all(|check| check["verdict"] == "crashed"), "{}", checks[0]);
    assert!(report.to_string().len() > 4 << 20, "the report has {} bytes", report.to_string().len());
}
