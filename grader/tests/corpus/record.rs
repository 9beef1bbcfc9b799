//! The grade of record, of students' repositories in which everything but the sources has been tampered with: fetched, graded and
//! recorded by what the workflow `record.yml` runs, with the same score as the untouched repository.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::course::{Course, scratch};
use crate::turn;

/// One of two checks passes.
const SOURCES: &str =
    "pub mod one { pub fn run() -> u64 { 42 } }\npub mod two { pub fn run() -> u64 { 41 } }\n";
const FULL: &str = "pub mod one { pub fn run() -> u64 { 42 } }\npub mod two { pub fn run() -> u64 { 42 } }\n";

/// A student's repository.
struct Repository(PathBuf);

impl Repository {
    /// None where there is no git: then there is nothing to show.
    fn new(name: &str, course: &Course) -> Option<Repository> {
        if Command::new("git").arg("--version").output().is_err() {
            #[expect(clippy::print_stderr, reason = "a test that has shown nothing says so")]
            {
                eprintln!("`{name}` is skipped: there is no git on this machine");
            }
            return None;
        }
        let repository = Repository(scratch().join("corpus-repositories").join(name));
        let _ = fs::remove_dir_all(&repository.0);
        for file in
            ["Cargo.toml", "labs/01-record/Cargo.toml", "labs/01-record/lab.toml", "labs/01-record/checks.rs"]
        {
            repository.put(file, &fs::read_to_string(course.root().join(file)).unwrap());
        }
        repository.put("labs/01-record/src/lib.rs", SOURCES);
        repository.git(&["init", "--quiet", "--initial-branch=main"]);
        repository.commit();
        Some(repository)
    }

    fn git(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("git");
        command.arg("-C").arg(&self.0).args([
            "-c",
            "user.name=anna",
            "-c",
            "user.email=anna@example.invalid",
        ]);
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn remove(&self, path: &str) {
        fs::remove_file(self.0.join(path)).unwrap();
    }

    /// Everything, as a commit; its number.
    fn commit(&self) -> String {
        self.git(&["add", "--all", "--force"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message=work"]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// What `record.yml` fetches.
    fn fetch(&self, commit: &str) -> Result<PathBuf, String> {
        let folder = self.0.with_extension("fetched");
        let _ = fs::remove_dir_all(&folder);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.github/scripts/fetch");
        let url = format!("file://{}", self.0.display());
        let output = Command::new("bash").arg(script).args([&url, commit]).arg(&folder).output().unwrap();
        if output.status.success() { Ok(folder) } else { Err(String::from_utf8(output.stderr).unwrap()) }
    }
}

fn course() -> Course {
    Course::of_two_checks("record", SOURCES)
}

/// The report on a commit, and the grade that comes of it.
fn graded(course: &Course, repository: &Repository, commit: &str) -> (Value, Value) {
    let fetched = repository.fetch(commit).unwrap();
    let subject = format!("{}@{commit}", fetched.display());
    let report = course.grade_with(&["--tier", "open", "--subject", &subject], &[]);
    let (file, record) = (fetched.join("report.json"), fetched.join("record.json"));
    fs::write(&file, report.to_string()).unwrap();
    let mut command = course.grader();
    command.arg("record").arg(&file).args(["--commit", commit, "--require-tier", "open"]);
    let output = command.arg("--output").arg(&record).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    (report, serde_json::from_str(&fs::read_to_string(record).unwrap()).unwrap())
}

/// The tampered repository is worth what the untouched one is, in which one check of two passes.
#[track_caller]
fn check(name: &str, tamper: impl FnOnce(&Repository), ignored: &[&str]) {
    let _turn = turn();
    let course = course();
    let Some(repository) = Repository::new(name, &course) else { return };
    tamper(&repository);
    let commit = repository.commit();
    let (report, record) = graded(&course, &repository, &commit);
    assert_eq!(record["score"].to_string(), r#"{"earned":10,"possible":20}"#, "{report:#}");
    assert_eq!(record["commit"], commit.as_str());
    let told: Vec<&str> = report["ignored"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(told, ignored);
}

#[test]
fn i01_checks_that_were_edited() {
    let tamper = |repository: &Repository| {
        repository.put("labs/01-record/checks.rs", "fn main() {}\n");
        repository.put("labs/01-record/lab.toml", "title = 'Points for nothing'\n");
    };
    check("i01", tamper, &["labs/01-record/lab.toml", "labs/01-record/checks.rs"]);
}

#[test]
fn i02_checks_that_were_deleted() {
    let tamper = |repository: &Repository| {
        repository.remove("labs/01-record/checks.rs");
        repository.remove("labs/01-record/lab.toml");
    };
    check("i02", tamper, &[]);
}

#[test]
fn i03_a_workflow_that_was_edited() {
    let tamper = |repository: &Repository| {
        repository.put(".github/workflows/record.yml", "on: push\n");
        repository.put(".github/scripts/fetch", "#!/bin/sh\ntouch /tmp/corpus-was-here\n");
    };
    check("i03", tamper, &[]);
}

#[test]
fn i04_a_report_and_a_release_that_were_forged() {
    let tamper = |repository: &Repository| {
        let honest = repository.git(&["rev-parse", "HEAD"]);
        repository.put("report.json", r#"{"schema":1,"score":{"earned":20,"possible":20}}"#);
        repository.put("labs/01-record/src/lib.rs", FULL);
        let forged = repository.commit();
        repository.git(&["tag", "--message=20/20 points", "grade-20-of-20"]);
        repository.git(&["replace", &honest, &forged]);
        repository.put("labs/01-record/src/lib.rs", SOURCES);
    };
    check("i04", tamper, &[]);
}

#[test]
fn i05_a_crate_that_was_renamed() {
    let manifest = "[package]\nname = 'harness'\nedition = '2024'\n";
    let tamper = |repository: &Repository| repository.put("labs/01-record/Cargo.toml", manifest);
    check("i05", tamper, &["labs/01-record/Cargo.toml"]);
}

#[test]
fn i06_filters_hooks_and_a_submodule() {
    let tamper = |repository: &Repository| {
        repository.git(&["config", "filter.touch.smudge", "touch /tmp/corpus-was-here; cat"]);
        repository.put(".gitattributes", "*.rs filter=touch export-ignore ident\n");
        repository
            .put(".gitmodules", "[submodule \"m\"]\n\tpath = m\n\turl = ext::touch /tmp/corpus-was-here\n");
        let hook = repository.0.join(".git/hooks/post-checkout");
        repository.put(".git/hooks/post-checkout", "#!/bin/sh\ntouch /tmp/corpus-was-here\n");
        fs::set_permissions(hook, fs::Permissions::from_mode(0o755)).unwrap();
        let commit = repository.git(&["rev-parse", "HEAD"]);
        repository.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{commit},m")]);
        fs::create_dir(repository.0.join("m")).unwrap();
    };
    check("i06", tamper, &[]);
    assert!(!Path::new("/tmp/corpus-was-here").exists());
}

#[test]
fn i07_a_branch_that_moves_after_the_commit_was_named() {
    let tamper = |repository: &Repository| {
        let named = repository.git(&["rev-parse", "HEAD"]);
        repository.put("labs/01-record/src/lib.rs", FULL);
        repository.git(&["add", "--all"]);
        repository.git(&["commit", "--quiet", "--amend", "--message=better"]);
        let course = course();
        let (_, record) = graded(&course, repository, &named);
        assert_eq!(record["score"]["earned"], 10);
        let moved = repository.git(&["rev-parse", "HEAD"]);
        let (_, record) = graded(&course, repository, &moved);
        assert_eq!(record["score"]["earned"], 20);
        assert!(repository.fetch("main").unwrap_err().contains("all 40 digits"));
        repository.put("labs/01-record/src/lib.rs", SOURCES);
    };
    check("i07", tamper, &[]);
}

#[test]
fn i08_a_target_directory_that_was_prepared() {
    let tamper = |repository: &Repository| {
        for file in
            ["subjects/record-elsewhere/src/lib.rs", "build/debug/record-elsewhere-checks", "Cargo.toml"]
        {
            repository.put(&format!("target/grader/{file}"), FULL);
        }
        repository.put("target/.rustc_info.json", "{}");
    };
    check("i08", tamper, &[]);
}

#[test]
fn a_report_of_another_commit_is_not_recorded() {
    let _turn = turn();
    let course = course();
    let Some(repository) = Repository::new("another", &course) else { return };
    let commit = repository.git(&["rev-parse", "HEAD"]);
    let (report, _) = graded(&course, &repository, &commit);
    let file = scratch().join("corpus-forged.json");
    let refused = |text: &str, commit: &str, tier: &str, why: &str| {
        fs::write(&file, text).unwrap();
        let mut command = course.grader();
        let output =
            command.arg("record").arg(&file).args(["--commit", commit, "--require-tier", tier]).output();
        let output = output.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(5), "{said}");
        assert!(said.contains(why) && output.stdout.is_empty(), "{said}");
    };
    let text = report.to_string();
    refused(&text, &"0".repeat(40), "open", "not about the commit");
    refused(&text, &commit, "2", "less than tier 2");
    refused(
        &text.replacen(r#""earned":0"#, r#""earned":10"#, 1),
        &commit,
        "open",
        "not what the course says",
    );
    refused(&text[..text.len() / 2], &commit, "open", "it is not a report");
}

#[test]
fn links_and_other_repositories_among_the_sources_are_refused() {
    let _turn = turn();
    let course = course();
    let Some(repository) = Repository::new("links", &course) else { return };
    let why = |commit: &str| {
        let (report, record) = graded(&course, &repository, commit);
        assert_eq!(record["score"]["earned"], 0);
        report["labs"][0]["checks"][0]["why"].as_str().unwrap().to_owned()
    };
    let link = repository.0.join("labs/01-record/src/other.rs");
    symlink("/etc/passwd", &link).unwrap();
    let said = why(&repository.commit());
    assert!(said.contains("src/other.rs` is a symbolic link"), "{said}");
    fs::remove_file(link).unwrap();
    let commit = repository.commit();
    let entry = format!("160000,{commit},labs/01-record/src/other");
    repository.git(&["update-index", "--add", "--cacheinfo", &entry]);
    repository.git(&["commit", "--quiet", "--message=other"]);
    let said = why(&repository.git(&["rev-parse", "HEAD"]));
    assert!(said.contains("src/other` is another repository"), "{said}");
}
