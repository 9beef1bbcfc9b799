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
