//! A course of three tiny labs (`tests/course`), copied to where a test may change it.
//!
//! All tests use one copy, one at a time: a file that does not change keeps its age, so that cargo
//! builds again only what a test has touched.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use nix::fcntl::{Flock, FlockArg};

const HARNESS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/harness");

/// The copy, in its original state when made, and nobody else's until dropped.
pub struct Course {
    root: PathBuf,
    _turn: Flock<File>,
}

impl Course {
    /// The course with its stubs, as a student gets it.
    pub fn new() -> Course {
        let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let turn = File::create(scratch.join("miniature.lock")).unwrap();
        let turn = Flock::lock(turn, FlockArg::LockExclusive).map_err(|(_, error)| error).unwrap();
        let course = Course { root: scratch.join("miniature"), _turn: turn };
        let original = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/course");
        let mut wanted = BTreeSet::new();
        for path in files(&original) {
            let text = fs::read_to_string(original.join(&path)).unwrap();
            wanted.insert(path.clone());
            course.write(&path, &text.replace("../../harness", HARNESS));
        }
        let lock = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock")).unwrap();
        course.write("Cargo.lock", &lock);
        wanted.insert("Cargo.lock".to_owned());
        files(&course.root).difference(&wanted).for_each(|path| course.remove(path));
        course
    }

    /// The course with what a student handed in, which meets every verdict.
    pub fn handed_in() -> Course {
        let course = Course::new();
        for lab in ["01-sums", "02-processes", "03-types", "04-locks"] {
            let text = fs::read_to_string(course.root.join(format!("handed-in/{lab}/lib.rs"))).unwrap();
            course.write(&format!("labs/{lab}/src/lib.rs"), &text);
        }
        course
    }

    /// Replaces the one occurrence of a text in a file.
    pub fn edit(self, path: &str, find: &str, replace: &str) -> Course {
        let text = fs::read_to_string(self.root.join(path)).unwrap();
        assert_eq!(text.matches(find).count(), 1, "`{find}` must occur once in {path}");
        self.write(path, &text.replace(find, replace));
        self
    }

    /// Removes a file.
    pub fn without(self, path: &str) -> Course {
        self.remove(path);
        self
    }

    /// Hands the answer to a lab in as the submission.
    pub fn with_the_answer(self, lab: &str) -> Course {
        let answer = fs::read_to_string(self.root.join(format!("solutions/{lab}/src/lib.rs"))).unwrap();
        self.write(&format!("labs/{lab}/src/lib.rs"), &answer);
        self
    }

    /// Runs the grader in the course, its output a plain file's, its seed fixed.
    pub fn run(&self, arguments: &[&str]) -> Assert {
        self.command().args(arguments).args(["--seed", "1"]).assert()
    }

    /// The grader, to be run in the course.
    pub fn command(&self) -> Command {
        let mut command = assert_cmd::cargo::cargo_bin_cmd!("grader");
        command.current_dir(&self.root).env("CARGO_TARGET_DIR", target());
        command.env_remove("GITHUB_STEP_SUMMARY");
        command
    }

    /// Another copy of the grader, to be started in the course.
    pub fn started(&self, grader: &Path) -> std::process::Command {
        let mut command = std::process::Command::new(grader);
        command.current_dir(&self.root).env("CARGO_TARGET_DIR", target()).env_remove("GITHUB_STEP_SUMMARY");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// The scratch workspace of its graders, nobody else's until dropped.
    pub fn scratch(&self) -> Flock<File> {
        fs::create_dir_all(target().join("grader")).unwrap();
        let lock = File::create(target().join("grader/lock")).unwrap();
        Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error).unwrap()
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root.join(path);
        if fs::read_to_string(&path).is_ok_and(|old| old == text) {
            return;
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn remove(&self, path: &str) {
        fs::remove_file(self.root.join(path)).unwrap();
    }
}

/// The target directory of all tests of the grader: the harness is built once.
fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("course")
}

/// What the grader wrote to its standard output.
pub fn stdout(assert: &Assert) -> String {
    String::from_utf8(assert.get_output().stdout.clone()).unwrap()
}

/// Paths of all files below a folder, relative to it.
fn files(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder)).into_iter().flatten() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else {
                found.insert(path.to_str().unwrap().to_owned());
            }
        }
    }
    found
}
