//! The workflow files: pinned actions, no more rights than needed, bounded time.

use std::fs;
use std::path::Path;

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
        assert!(job["permissions"].is_badvalue(), "{name}: {id} takes rights of its own");
        let minutes = job["timeout-minutes"].as_i64();
        assert!(minutes.is_some_and(|minutes| (1..=60).contains(&minutes)), "{name}: {id} may run for ever");
        let image = job["runs-on"].as_str().unwrap();
        assert!(!image.ends_with("latest"), "{name}: {id} runs on {image}");
        let steps = job["steps"].as_vec().unwrap();
        let actions: Vec<&str> = steps.iter().filter_map(|step| step["uses"].as_str()).collect();
        assert!(!actions.is_empty(), "{name}: {id} does not even check out the course");
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
        steps.iter().filter_map(|step| step["run"].as_str()).find(|run| run.contains("cargo run")).unwrap();
    assert!(run.contains("--format github") && run.contains("--output report.json"), "{run}");
    let upload = steps.iter().find(|step| step["with"]["path"].as_str() == Some("report.json")).unwrap();
    assert_eq!(upload["if"].as_str(), Some("always()"), "the report is kept when points were lost");
}
