//! A first look: right mutexes pass, wrong ones do not.

mod build;

fn check(name: &str, says: &str) {
    let text = build::run("mutex", name);
    assert!(text.contains(says), "{text}");
}

#[test]
fn a_right_mutex_passes() {
    check("good-2", "no finding");
}

/// The schedule of an execution that was found while others were left out must lead a replay the same way.
#[test]
fn a_failure_among_three_threads_is_replayed() {
    check("wake-before-release-3", "LostWakeUp");
}
