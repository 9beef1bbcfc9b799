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
        Subject::Submission => read(&course.root.join(path)),
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
        let is_the_courses = |theirs: &[u8]| {
            let ours = read(&course.root.join(path));
            ours.is_some_and(|ours| ours == theirs || (path == "Cargo.toml" && are_alike(&ours, theirs)))
        };
        let may_be = !path.starts_with("labs/")
            || OF_LAB.iter().chain(&["Cargo.toml"]).any(|file| path.ends_with(file));
        text(path).is_some_and(|theirs| !(may_be && is_the_courses(&theirs)))
    };
    at_root.chain(in_labs).filter(is_other).collect()
}

/// Whether two manifests of a workspace differ in its members only: what students get has no answers among them.
fn are_alike(one: &[u8], other: &[u8]) -> bool {
    let rest = |text: &[u8]| {
        let mut manifest: toml::Table = std::str::from_utf8(text).ok()?.parse().ok()?;
        let workspace = manifest.get_mut("workspace")?.as_table_mut()?;
        workspace.retain(|key, _| key != "members" && key != "exclude");
        Some(manifest)
    };
    rest(one).is_some_and(|one| rest(other) == Some(one))
}

/// A file of ordinary size.
fn read(path: &Path) -> Option<Vec<u8>> {
    let metadata = fs::symlink_metadata(path).ok()?;
    (metadata.is_file() && metadata.len() <= crate::subject::LARGEST_FILE).then(|| fs::read(path).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(one: &str, other: &str, expected: bool) {
        assert_eq!(are_alike(one.as_bytes(), other.as_bytes()), expected);
    }

    #[test]
    fn a_manifest_without_the_answers_is_the_same() {
        check("[workspace]\nmembers = ['a', 'solutions/*']\n", "[workspace]\nmembers = ['a']\n", true);
    }

    #[test]
    fn a_manifest_that_replaces_a_package_is_another() {
        check("[workspace]\nmembers = ['a']\n", "[workspace]\nmembers = ['a']\n[patch.crates-io]\n", false);
        check("[workspace]\nmembers = ['a']\n", "members = [", false);
        check("a = 1", "a = 1", false);
    }
}
