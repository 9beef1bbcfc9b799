//! Builds the explored programs of `tests/subjects` in a scratch workspace, as the grader does for a submission, and runs one.

#![allow(dead_code, reason = "each test uses some of it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Runs scenario `name` of program `subject` and returns what it printed.
pub fn run(subject: &str, name: &str) -> String {
    run_with(subject, &[name])
}

/// As [`run`], by a program that takes its sources to be in a folder that is not there.
pub fn run_without_sources(subject: &str, name: &str) -> String {
    let (folder, nowhere) =
        (format!("tests/subjects/{subject}"), format!("tests/subjects/{}", "-".repeat(subject.len())));
    let mut bytes = fs::read(built().join(subject)).expect("the explored program");
    let mut at = 0;
    while let Some(found) = bytes[at..].windows(folder.len()).position(|part| part == folder.as_bytes()) {
        at += found;
        bytes[at..at + folder.len()].copy_from_slice(nowhere.as_bytes());
    }
    let program = built().join(format!("{subject}-without-sources"));
    // A program that runs cannot be written, so another one takes its place.
    let part = program.with_extension(std::process::id().to_string());
    fs::copy(built().join(subject), &part).expect("a program of the same mode");
    fs::write(&part, bytes).expect("the program");
    fs::rename(&part, &program).expect("the program in its place");
    output_of(&program, &[name])
}

/// Runs program `subject` with some arguments and returns what it printed.
pub fn run_with(subject: &str, arguments: &[&str]) -> String {
    output_of(&built().join(subject), arguments)
}

fn output_of(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect("the explored program runs");
    let text = String::from_utf8(output.stdout).expect("it prints text");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{} {arguments:?}: {:?}\n{text}{errors}",
        program.display(),
        output.status
    );
    text
}

/// The folder of the built programs.
fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(build)
}

/// As in the grader's workspace of twins.
const OPTIMISED: [&str; 5] = ["explore", "corosensei", "addr2line", "gimli", "object"];

fn build() -> PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("explored");
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::create_dir_all(&root).expect("a folder for the scratch workspace");
    let lock = fs::File::create(root.join("lock")).expect("a lock file");
    lock.lock().expect("the lock");
    let subjects = fs::read_dir(package.join("tests/subjects")).expect("the subjects");
    let mut names: Vec<String> = subjects
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned()))
        .filter(|name| name != "scenario")
        .collect();
    names.sort();
    let binaries: String = names
        .iter()
        .map(|name| {
            let file = package.join(format!("tests/subjects/{name}.rs"));
            let path =
                if file.exists() { file } else { package.join(format!("tests/subjects/{name}/main.rs")) };
            format!("\n[[bin]]\nname = {name:?}\npath = {path:?}\n")
        })
        .collect();
    let manifest = format!(
        "[package]\nname = \"subjects\"\nedition = \"2024\"\nversion = \"0.0.0\"\n{binaries}\n\
         [dependencies]\nexplore = {{ path = {package:?} }}\nlibc = \"0.2\"\n\n[workspace]\n\n\
         [profile.dev]\nopt-level = 1\ndebug = \"line-tables-only\"\n\n\
         [profile.dev.package.\"*\"]\ndebug = 0\n{}",
        OPTIMISED.map(|name| format!("\n[profile.dev.package.{name}]\nopt-level = 3\n")).concat()
    );
    write(&root.join("Cargo.toml"), &manifest);
    let lock_file = package.join("../../Cargo.lock");
    if !root.join("Cargo.lock").exists() {
        fs::copy(lock_file, root.join("Cargo.lock")).expect("the lock file");
    }
    let build = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--offline", "--bins"])
        .current_dir(&root)
        .env("CARGO_TARGET_DIR", root.join("target"))
        .env("RUSTC_WORKSPACE_WRAPPER", env!("CARGO_BIN_EXE_explore-rustc"))
        .env_remove("RUSTFLAGS")
        .output()
        .expect("cargo runs");
    assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));
    root.join("target/debug")
}

fn write(path: &Path, text: &str) {
    if fs::read_to_string(path).ok().as_deref() != Some(text) {
        fs::write(path, text).expect("a scratch file");
    }
}
