//! What a student reads, for one failure of each kind. The golden files are in `tests/snapshots`.

mod build;

fn check(name: &str) {
    // As in the grader's report, whose details are indented by six.
    insta::assert_snapshot!(name, build::run_with("stories", &[name, "94"]));
}

#[test]
fn a_wake_up_before_the_sleep() {
    check("wake-before-sleep");
}

#[test]
fn a_waiter_that_nobody_calls() {
    check("nobody-calls");
}

#[test]
fn a_waiter_that_is_called_and_sleeps_again() {
    check("half-unlocked");
}

#[test]
fn a_lock_that_checks_then_acts() {
    check("check-then-act");
}

#[test]
fn a_data_race_by_a_relaxed_unlock() {
    check("relaxed-unlock");
}

#[test]
fn an_assertion_on_an_old_value() {
    check("old-value");
}

#[test]
fn two_locks_in_different_orders() {
    check("two-locks");
}

#[test]
fn a_spin_on_a_lock_that_is_never_given_back() {
    check("forgotten-unlock");
}

#[test]
fn memory_freed_while_in_use() {
    check("use-after-free");
}

#[test]
fn drepper_s_second_mutex() {
    check("drepper-two");
}

#[test]
fn a_semaphore_that_loses_a_post() {
    check("lost-post");
}

#[test]
fn a_counter_without_a_lock() {
    check("no-lock");
}

#[test]
fn a_panic_in_the_student_s_code() {
    check("empty-queue");
}

#[test]
fn a_loop_without_an_end() {
    check("endless-loop");
}

#[test]
fn a_call_that_cannot_be_explored() {
    check("real-sleep");
}

#[test]
fn an_exit_in_the_middle() {
    check("exit-inside");
}

#[test]
fn a_null_pointer() {
    check("null-pointer");
}

#[test]
fn a_recursion_without_an_end() {
    check("endless-recursion");
}

/// No line of the timeline and of the cause is longer than the terminal.
#[test]
fn eighty_columns_are_enough() {
    for name in ["wake-before-sleep", "nobody-calls", "drepper-two", "old-value", "two-locks"] {
        let text = build::run_with("stories", &[name, "80"]);
        let longest = text.lines().max_by_key(|line| line.chars().count()).unwrap_or_default();
        assert!(longest.chars().count() <= 80, "{longest}");
    }
    insta::assert_snapshot!("wake-before-sleep-80", build::run_with("stories", &["wake-before-sleep", "80"]));
}

#[test]
fn step_by_step() {
    insta::assert_snapshot!("check-then-act-steps", build::run_with("stories", &["check-then-act"]));
}
