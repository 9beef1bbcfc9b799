//! What a submission brings besides its sources, and is not looked at: told, so that nobody wonders why it does nothing.

use std::fs;
use std::path::Path;

use crate::course::Course;
use crate::lab::Lab;
use crate::subject::Subject;

/// Would change how a package is built, if it were built where it stands.
const BUILD: [&str; 6] = [
    "build.rs",
    ".cargo/config.toml",
    ".cargo/config",
    "rust-toolchain.toml",
    "rust-toolchain",
    "Cargo.toml",
];
/// The course's own, of a lab.
const OF_LAB: [&str; 2] = ["lab.toml", "checks.rs"];

/// Files of the submission to these labs that are others than the course's, or that the course does not have.
pub fn ignored(course: &Course, labs: &[&Lab], subject: &Subject) -> Vec<String> {
    let text = |path: &str| match subject {
        Subject::Submission => fs::read(course.root.join(path)).ok(),
        Subject::At(folder) if folder.join("labs").is_dir() => read(&folder.join(path)),
        Subject::At(folder) => read(&folder.join(path.splitn(3, '/').nth(2)?)),
        Subject::Committed(commit) => commit.file(path),
        Subject::Reference | Subject::Mutant(_) | Subject::Variant(_) => None,
    };
    let in_labs = labs.iter().flat_map(|lab| {
        let path = |file: &&str| format!("labs/{}/{file}", lab.directory);
        BUILD.iter().chain(&OF_LAB).map(path).collect::<Vec<_>>()
    });
    let at_root = BUILD.iter().map(|file| (*file).to_owned());
    let is_other = |path: &String| {
        // A course has its tools' settings at the root only.
        let is_the_courses = |theirs: &[u8]| read(&course.root.join(path)).is_some_and(|ours| ours == theirs);
        let may_be = !path.starts_with("labs/")
            || OF_LAB.iter().chain(&["Cargo.toml"]).any(|file| path.ends_with(file));
        text(path).is_some_and(|theirs| !(may_be && is_the_courses(&theirs)))
    };
    at_root.chain(in_labs).filter(is_other).collect()
}

/// A file of ordinary size.
fn read(path: &Path) -> Option<Vec<u8>> {
    let metadata = fs::symlink_metadata(path).ok()?;
    (metadata.is_file() && metadata.len() <= crate::subject::LARGEST_FILE).then(|| fs::read(path).ok())?
}
