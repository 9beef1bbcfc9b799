//! Submissions that work against the grader.

use super::course::*;

#[test]
fn a_flood_of_output_is_stopped_and_takes_no_memory() {
    let mut running = Running::start(&mut grader(&["floods", "waits"]));
    running.until_file("ready");
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 60 * 1024, "the grader took {peak} KiB");
    let ended = running.signal(libc::SIGINT);
    ended.code(130).says("it wrote more than 64 MiB of output").says("bytes left out").left_nothing();
}

/// In every format: no control character, and no line that is a command to whoever reads it.
#[track_caller]
fn check_harmless(format: &str) -> String {
    let mut command = grader(&["speaks"]);
    let ended = run(command.args(["--format", format])).code(1).left_nothing();
    let text = ended.stdout.clone();
    let is_harmful = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!text.contains(is_harmful), "{format}: {text:?}");
    assert!(!text.lines().any(|line| line.starts_with("::error::mine")), "{format}: {text}");
    text
}

#[test]
fn output_is_harmless_in_a_terminal() {
    let text = check_harmless("terminal");
    assert!(text.contains(r"\u{1b}[31mred\u{7}\u{0} "), "{text}");
    assert!(text.contains("no newline\n"), "{text}");
}

#[test]
fn output_is_harmless_in_json() {
    check_harmless("json");
}

#[test]
fn output_is_harmless_in_markdown() {
    let text = check_harmless("markdown");
    // The submission's own fence is inside a longer one.
    assert!(text.contains("````text"), "{text}");
}

#[test]
fn output_is_harmless_in_workflow_commands() {
    let text = check_harmless("github");
    let (first, rest) = text.split_once('\n').unwrap();
    let token = first.strip_prefix("::stop-commands::").unwrap();
    assert!(token.len() == 32 && token.bytes().all(|byte| byte.is_ascii_hexdigit()), "{token}");
    let (shown, commands) = rest.split_once(&format!("::{token}::\n")).unwrap();
    assert!(shown.contains("red") && shown.lines().all(|line| line.starts_with('|')), "{text}");
    assert!(commands.lines().all(|line| line.starts_with("::")), "{text}");
    assert_eq!(text.matches(token).count(), 2, "{text}");
    assert_eq!(text.matches("\n::error").count() + usize::from(text.starts_with("::error")), 1, "{text}");
}

/// A sandbox keeps signals from the supervisor: what tries is only late, or a leak.
#[test]
fn a_supervisor_that_is_not_reached_says_what_was_tried() {
    for check in ["stops-its-supervisor", "kills-its-supervisor"] {
        let ended = run(grader(&[check, "ends"]).args(["--format", "json"])).code(1).left_nothing();
        let report: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
        let verdicts: Vec<&str> = report["labs"][0]["checks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|check| check["verdict"].as_str().unwrap())
            .collect();
        assert!(verdicts.contains(&"passed"), "{ended}");
        assert!(verdicts.contains(&"timed-out") || verdicts.contains(&"crashed"), "{ended}");
    }
}

#[test]
fn a_stopped_supervisor_is_killed_and_the_hang_explained() {
    let mut command = open_grader(&["stops-its-supervisor", "ends"]);
    run(command.args(["--format", "json"]))
        .code(1)
        .says("the check itself had to be killed long after its deadline")
        .says("is stopped: it got a stop signal")
        .says("\"verdict\": \"timed-out\"")
        .says("\"verdict\": \"passed\"")
        .left_nothing();
}

#[test]
fn a_killed_supervisor_leaves_no_orphans() {
    let ended = run(&mut open_grader(&["kills-its-supervisor", "ends"]));
    let ended = ended.code(1).says("killed by signal 9 (SIGKILL)").says("✓ ends").left_nothing();
    let killers = std::fs::read_to_string(target().join("grader/killers")).unwrap();
    let killers: Vec<i32> = killers.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    assert!(killers.len() >= 3, "{killers:?}");
    assert!(!killers.iter().any(|&pid| is_alive(pid)), "{killers:?}\n{ended}");
}

#[test]
fn a_crowd_of_orphans_is_ended() {
    run(&mut grader(&["leaves-a-crowd", "ends"]))
        .code(1)
        .says("✗ leaves-a-crowd")
        .says("✓ ends")
        .left_nothing();
}
