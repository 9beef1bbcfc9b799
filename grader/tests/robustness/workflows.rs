//! The workflow files: pinned actions, no more rights than needed, bounded time. What the grade of record runs is tested in the
//! corpus (`record.rs`).

use std::fs;
use std::path::Path;
use std::process::Command;

use yaml_rust2::{Yaml, YamlLoader};

fn read(name: &str) -> (String, Yaml) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.github/workflows").join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut documents = YamlLoader::load_from_str(&text).unwrap();
    assert_eq!(documents.len(), 1, "{name}");
    (text, documents.remove(0))
}

#[track_caller]
fn check(name: &str) {
    let (text, workflow) = read(name);
    let permissions = workflow["permissions"].as_hash().expect("permissions are stated");
    let permissions: Vec<_> =
        permissions.iter().map(|(what, right)| (what.as_str(), right.as_str())).collect();
    assert_eq!(permissions, [(Some("contents"), Some("read"))], "{name}");
    assert!(workflow["concurrency"]["group"].as_str().is_some(), "{name} has no concurrency group");
    assert!(!text.contains("pull_request_target"), "{name} runs strangers' code with the owner's rights");
    let jobs = workflow["jobs"].as_hash().unwrap();
    assert!(!jobs.is_empty(), "{name}");
    for (id, job) in jobs {
        let id = id.as_str().unwrap();
        let rights = &job["permissions"];
        let has_fewer = rights.as_hash().is_some_and(|rights| rights.is_empty());
        assert!(rights.is_badvalue() || has_fewer, "{name}: {id} takes rights of its own");
        let minutes = job["timeout-minutes"].as_i64();
        assert!(minutes.is_some_and(|minutes| (1..=60).contains(&minutes)), "{name}: {id} may run for ever");
        let image = job["runs-on"].as_str().unwrap();
        assert!(!image.ends_with("latest"), "{name}: {id} runs on {image}");
        let steps = job["steps"].as_vec().unwrap();
        let actions: Vec<&str> = steps.iter().filter_map(|step| step["uses"].as_str()).collect();
        assert!(!actions.is_empty(), "{name}: {id} does not even check out the course");
        // What a stranger may choose comes to a shell in a variable only, never as a piece of its program.
        let has_pieces = |step: &Yaml| step["run"].as_str().is_some_and(|run| run.contains("${{"));
        assert!(!steps.iter().any(has_pieces), "{name}: {id} puts an expression into a shell's program");
        for action in actions {
            let (_, commit) = action.split_once('@').expect(action);
            let is_commit = commit.len() == 40 && commit.chars().all(|c| c.is_ascii_hexdigit());
            assert!(is_commit, "{name}: {action} is not pinned");
        }
        let checkouts = steps.iter().filter(|step| {
            step["uses"].as_str().is_some_and(|action| action.starts_with("actions/checkout@"))
        });
        for checkout in checkouts {
            assert_eq!(checkout["with"]["persist-credentials"].as_bool(), Some(false), "{name}: {id}");
        }
    }
}

#[test]
fn the_gate_is_pinned_and_bounded() {
    check("ci.yml");
}

#[test]
fn grading_is_pinned_and_bounded() {
    check("grade.yml");
}

#[test]
fn grading_is_short_and_keeps_its_report() {
    let (text, workflow) = read("grade.yml");
    assert!(text.lines().count() < 40, "{} lines", text.lines().count());
    let steps = workflow["jobs"]["grade"]["steps"].as_vec().unwrap();
    let run =
        steps.iter().filter_map(|step| step["run"].as_str()).find(|run| run.contains("--format")).unwrap();
    assert!(run.contains("--subject \"$GITHUB_WORKSPACE@$GITHUB_SHA\""), "{run}");
    assert!(
        run.contains("--format github") && run.contains("--output \"$GITHUB_WORKSPACE/report.json\""),
        "{run}"
    );
    let upload = steps.iter().find(|step| step["with"]["path"].as_str() == Some("report.json")).unwrap();
    assert_eq!(upload["if"].as_str(), Some("always()"), "the report is kept when points were lost");
}

#[test]
fn recording_is_pinned_and_bounded() {
    check("record.yml");
}

/// All text of a part of a workflow.
fn text(part: &Yaml) -> String {
    let mut text = String::new();
    yaml_rust2::YamlEmitter::new(&mut text).dump(part).unwrap();
    text
}

#[test]
fn a_grade_of_record_is_made_without_rights_and_recorded_without_the_submission() {
    let (_, workflow) = read("record.yml");
    let jobs = &workflow["jobs"];
    let [fetch, grade, record] = ["fetch", "grade", "record"].map(|job| text(&jobs[job]));
    assert!(jobs["grade"]["permissions"].as_hash().is_some_and(|rights| rights.is_empty()));
    for dangerous in ["secrets.", "checkout@", "cache", "github.token", "GITHUB_TOKEN"] {
        assert!(!grade.contains(dangerous), "the job that runs a submission has {dangerous}");
    }
    assert!(grade.contains("submission.git@$COMMIT") && grade.contains("--require-tier 2"), "{grade}");
    for job in [&fetch, &record] {
        assert!(!job.contains("--subject"), "a job with rights runs a submission");
    }
    assert!(record.contains("-- record untrusted/report.json") && !record.contains("secrets."), "{record}");
    assert_eq!(jobs["record"]["needs"].as_str(), Some("grade"));
}

#[test]
fn the_seed_of_a_grade_of_record_is_nobodys_choice() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.github/scripts/seed");
    let seed = |variables: &[(&str, &str)]| {
        let mut command = Command::new("bash");
        command.arg(&script).env_remove("SEED").env_remove("KEY").envs(variables.iter().copied());
        let output = command.output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    };
    let keyed = |submission| seed(&[("KEY", "secret"), ("SUBMISSION", submission)]).unwrap();
    assert_eq!(keyed("anna/labs 01"), keyed("anna/labs 01"));
    assert_ne!(keyed("anna/labs 01"), keyed("anna/labs 02"));
    let number = keyed("anna/labs 01");
    let number: u64 = number.strip_prefix("seed=").unwrap().trim().parse().unwrap();
    assert!(number < 1 << 48);
    assert_eq!(seed(&[("SUBMISSION", "anna/labs 01")]).as_deref(), Some("seed=\n"));
    assert_eq!(seed(&[("SEED", "7"), ("KEY", "secret"), ("SUBMISSION", "x")]).as_deref(), Some("seed=7\n"));
    assert_eq!(seed(&[("SEED", "7\nother=1")]), None);
}

#[test]
fn what_students_get_has_no_answers_and_is_a_course() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut git = Command::new("git");
    let looked = git.arg("-C").arg(&root).args(["rev-parse", "--verify", "HEAD"]).output();
    if !looked.is_ok_and(|output| output.status.success()) {
        #[expect(clippy::print_stderr, reason = "a test that has shown nothing says so")]
        {
            eprintln!("skipped: there is no git here, or this is no checkout");
        }
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy");
    let script = root.join(".github/scripts/students-copy");
    let output = Command::new("bash").arg(script).arg(&copy).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for kept in ["labs/05-spinlock/src/lib.rs", "grader/src/main.rs", ".github/workflows/grade.yml"] {
        assert!(copy.join(kept).is_file(), "{kept} is missing");
    }
    for gone in ["solutions", ".git", ".github/workflows/record.yml", ".github/workflows/ci.yml"] {
        assert!(!copy.join(gone).exists(), "{gone} is there");
    }
    let mut tree = Command::new(env!("CARGO"));
    let output = tree
        .args(["tree", "--locked", "--offline", "--package", "grader"])
        .current_dir(&copy)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
