//! Submissions with more than sources: build scripts, settings of cargo, other compilers, links. Nothing of that is looked at.
//!
//! Below the sources of such an entry stand its other files, relative to the lab or, with a leading `/`, to the checkout:
//! `//> build.rs` and then lines that begin with `//| `; or `//> src/a.rs -> /etc/passwd`; or `//> src/a.rs of 9 bytes`.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::course::{Course, Entry, Kind, entries, scratch};
use crate::left::Left;
use crate::{compare, results, turn};

/// An empty checkout.
fn checkout(name: &str) -> PathBuf {
    let root = scratch().join("corpus-checkouts").join(name);
    let _ = fs::remove_dir_all(&root);
    root
}

/// Puts the files of an entry into a checkout.
fn check_out(entry: &Entry, root: &Path) {
    let lab = root.join("labs").join(format!("01-{}", entry.name));
    let (sources, others) = entry.text.split_once("//> ").unwrap_or((&entry.text, ""));
    put(&lab.join("src/lib.rs"), sources);
    for other in others.split("//> ").filter(|other| !other.is_empty()) {
        let (head, text) = other.split_once('\n').unwrap();
        let place = |path: &str| path.strip_prefix('/').map_or(lab.join(path), |path| root.join(path));
        if let Some((path, target)) = head.split_once(" -> ") {
            symlink(target, place(path)).unwrap();
        } else if let Some((path, size)) = head.split_once(" of ") {
            let size = size.trim_end_matches(" bytes").parse().unwrap();
            File::create(place(path)).unwrap().set_len(size).unwrap();
        } else {
            let lines = text.lines().filter_map(|line| line.strip_prefix("//|"));
            let text: String =
                lines.map(|line| line.strip_prefix(' ').unwrap_or(line).to_owned() + "\n").collect();
            put(&place(head), &text);
        }
    }
}

fn put(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn what_a_submission_brings_along_is_not_looked_at() {
    let _turn = turn();
    let entries = entries(Kind::Brought);
    let course = Course::of_checkouts(&entries);
    let before = Left::now(&course);
    for entry in &entries {
        let checkout = checkout(&entry.name);
        check_out(entry, &checkout);
        let report =
            course.grade_with(&["--tier", "open", "--subject", checkout.to_str().unwrap()], &[&entry.name]);
        compare([entry], &results(&report), "open");
        let ignored: Vec<&str> =
            report["ignored"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert_eq!(ignored, entry.ignored, "{}", entry.name);
    }
    let all = checkout("all");
    entries.iter().for_each(|entry| check_out(entry, &all));
    for tier in ["3", "2", "1", "0"].into_iter().filter(|tier| course.offers(tier)) {
        let report = course.grade_with(&["--tier", tier, "--subject", all.to_str().unwrap()], &[]);
        compare(&entries, &results(&report), tier);
    }
    before.nothing_has_changed(&course, "what was brought along");
}
