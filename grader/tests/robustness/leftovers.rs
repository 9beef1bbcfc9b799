//! Objects of the kernel that outlive their processes.

use std::fs;

use serial_test::file_serial;

use super::course::*;

#[test]
#[file_serial(ipc)]
fn ipc_objects_are_reported_and_removed() {
    let mut command = open_grader(&["leaves-ipc", "ends"]);
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

/// In a table of its own nothing is left that could be told of; elsewhere it is told, and removed.
#[test]
#[file_serial(ipc)]
fn no_ipc_object_is_left_in_any_tier() {
    let before = objects();
    let ended = run(grader(&["leaves-ipc", "ends"]).args(["--format", "json"])).left_nothing();
    let new: Vec<String> = objects().into_iter().filter(|object| !before.contains(object)).collect();
    assert_eq!(new, Vec::<String>::new(), "{ended}");
}

/// Every object of the kernel's that outlives its process: System V tables' lines, less what changes by itself, and names.
fn objects() -> Vec<String> {
    let tables = ["shm", "sem", "msg"].into_iter().flat_map(|table| {
        let text = fs::read_to_string(format!("/proc/sysvipc/{table}")).unwrap_or_default();
        let ids = text.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1));
        ids.map(|id| format!("{table} {id}")).collect::<Vec<_>>()
    });
    let folders =
        ["/dev/shm", "/dev/mqueue"].into_iter().flat_map(|folder| fs::read_dir(folder).into_iter().flatten());
    let names = folders.map(|entry| entry.unwrap().path().display().to_string());
    tables.chain(names.filter(|name| name.contains("yard-"))).collect()
}
