//! Objects of the kernel that outlive their processes.

use std::fs;

use serial_test::file_serial;

use super::course::*;

#[test]
#[file_serial(ipc)]
fn ipc_objects_are_reported_and_removed() {
    let mut command = grader(&["leaves-ipc", "ends"]);
    let ended = run(command.args(["--format", "json"])).code(1).says("\"verdict\": \"leaked\"");
    let ended = ended.says("\"verdict\": \"passed\"").left_nothing();
    let report: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    let checks = report["labs"][0]["checks"].as_array().unwrap();
    let why = checks.iter().find_map(|check| check["why"].as_str()).unwrap();
    let kinds = [
        ("System V shared memory with id ", "shm"),
        ("System V semaphores with id ", "sem"),
        ("a System V message queue with id ", "msg"),
    ];
    for (words, table) in kinds {
        let id = why.split(words).nth(1).unwrap_or_else(|| panic!("no {words} in {why}"));
        let id: String = id.chars().take_while(char::is_ascii_digit).collect();
        let table = fs::read_to_string(format!("/proc/sysvipc/{table}")).unwrap();
        let is_left = table.lines().any(|line| line.split_whitespace().nth(1) == Some(&id));
        assert!(!is_left, "{words}{id} is still there:\n{table}");
    }
    assert!(why.contains("the message queue /yard-"), "{why}");
    let names: Vec<&str> = why.split('`').filter(|part| part.starts_with("/dev/shm/")).collect();
    assert_eq!(names.len(), 2, "{why}");
    assert!(!names.iter().any(|name| fs::exists(name).unwrap()), "{names:?}");
}
