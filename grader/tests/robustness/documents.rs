//! What the documents say in figures is so.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

#[test]
fn teachers_read_how_many_points_each_kind_of_evidence_is_worth() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut points = BTreeMap::<String, i64>::new();
    for lab in fs::read_dir(root.join("labs")).unwrap() {
        let rubric: toml::Table =
            fs::read_to_string(lab.unwrap().path().join("lab.toml")).unwrap().parse().unwrap();
        let parts = rubric["parts"].as_array().unwrap();
        for check in parts.iter().flat_map(|part| part["checks"].as_array().unwrap()) {
            *points.entry(check["evidence"].as_str().unwrap().to_owned()).or_default() +=
                check["points"].as_integer().unwrap();
        }
    }
    let text = fs::read_to_string(root.join("docs/teachers.md")).unwrap();
    for (evidence, points) in points {
        let line = format!("| `{evidence}` | {points} |");
        assert!(text.contains(&line), "docs/teachers.md does not say {line}");
    }
}
