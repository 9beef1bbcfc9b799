//! Of right programs nothing is said, in as many executions as a test has time for. The same with more:
//! `target/tmp/explored/target/debug/correct all 100000`.

mod build;

#[test]
fn nothing_is_said_of_right_programs() {
    let text = build::run_with("correct", &["all", "10000"]);
    let alarms: Vec<&str> =
        text.lines().filter(|line| !line.contains(": no finding; all interleavings")).collect();
    assert!(alarms.is_empty() && text.lines().count() >= 20, "{}", alarms.join("\n"));
}
