//! What explored code may do that an exploration cannot, or not for long, go along with: each is named, and none brings the
//! exploring process down.

mod build;

fn check(name: &str, says: &[&str]) {
    let text = build::run("bad", name);
    says.iter().for_each(|says| assert!(text.contains(says), "`{says}` in {text}"));
}

#[test]
fn waiting_in_a_lock_of_std_is_refused() {
    check("std-mutex", &["std-mutex: refused ", "the standard library's own locks"]);
}

#[test]
fn locking_a_mutex_of_pthreads_is_refused() {
    check("pthread-mutex", &["pthread-mutex: refused ", "`pthread_mutex_lock`"]);
}

#[test]
fn a_once_lock_whose_making_nobody_saw_is_no_race() {
    check("once-lock", &["once-lock: no finding"]);
}

#[test]
fn a_recursion_without_end_is_a_stack_overflow() {
    check("deep-recursion", &["deep-recursion: stack-overflow ", "StackOverflow { thread: 1 }"]);
}

#[test]
fn a_recursion_through_atomics_is_one_too() {
    check("deep-with-atomics", &["deep-with-atomics: stack-overflow ", "StackOverflow { thread: 1 }"]);
}

#[test]
fn bad_pointers_are_crashes() {
    check("bad-pointer", &["bad-pointer: crash ", "SIGSEGV", "address: 20015998304256"]);
    check("wild-plain-pointer", &["wild-plain-pointer: crash ", "SIGSEGV", "address: 20015998304256"]);
    check("null-pointer", &["null-pointer: panic ", "null pointer dereference occurred", "bad.rs:"]);
}

#[test]
fn an_illegal_instruction_is_a_crash() {
    check("illegal-instruction", &["illegal-instruction: crash ", "SIGILL"]);
}

#[test]
fn abort_is_a_crash() {
    check("aborts", &["aborts: crash ", "SIGABRT"]);
}

#[test]
fn of_two_panics_at_once_the_first_is_told() {
    check(
        "double-panic",
        &["double-panic: panic ", "the first (and a destructor panicked while that unwound)"],
    );
}

#[test]
fn a_panic_that_is_caught_is_none() {
    check("catches-its-panic", &["catches-its-panic: no finding; all interleavings"]);
}

#[test]
fn a_program_that_goes_by_the_processors_clock_diverges() {
    check("by-the-clock", &["by-the-clock: diverged "]);
}

#[test]
fn a_loop_whose_end_is_too_far_is_endless() {
    check("counts-for-ever", &["counts-for-ever: endless ", "Endless { steps: 15001 }"]);
}

#[test]
fn a_right_lock_that_looks_often_is_explored_less_far() {
    check("looks-often", &["looks-often: no finding; all interleavings with", " more beyond"]);
}

#[test]
fn waiting_for_what_nobody_does_is_a_livelock() {
    check("waits-for-nobody", &["waits-for-nobody: livelock ", "Spinning { thread: 1"]);
}

#[test]
fn operating_system_threads_and_blocking_calls_are_refused() {
    check("os-thread", &["os-thread: refused ", "use `explore::spawn`"]);
    check("system-call", &["system-call: refused ", "`pause`"]);
}

#[test]
fn ending_or_copying_the_process_is_a_failure_of_the_explored_code() {
    check("exits", &["exits: leaves ", "call: \"exit\""]);
    check("forks", &["forks: leaves ", "call: \"fork\""]);
    check("exits-by-number", &["exits-by-number: leaves ", "call: \"exit_group\""]);
}

#[test]
fn sleeping_by_number_takes_no_time() {
    check("sleeps-by-number", &["sleeps-by-number: no finding; all interleavings"]);
}
