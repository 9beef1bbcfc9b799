//! Inline assembly: x86-TSO by litmus tests, and locks with a wrong twin of each.

mod build;

/// What the default exploration says of a scenario; twice the same, but for addresses.
fn says(name: &str) -> String {
    let text = build::run("asm", name);
    let again = build::run("asm", name);
    let counts = |text: &str| text.split(" micros=").next().map(str::to_owned);
    assert_eq!(counts(&text), counts(&again), "{name}");
    text
}

fn passes(name: &str) {
    let text = says(name);
    assert!(text.contains(": no finding; all interleavings"), "{text}");
}

/// `cause` begins the finding, which needs so many preemptions and so many delayed stores.
fn fails(name: &str, cause: &str, preemptions: u32, oddities: u32) {
    let text = says(name);
    let begin = format!("{name}: {cause} preemptions={preemptions} oddities={oddities} ");
    assert!(text.starts_with(&begin), "{text}");
}

#[test]
fn litmus_tests_have_exactly_the_outcomes_of_x86_tso() {
    build::run("asm", "litmus");
}

#[test]
fn random_programs_have_exactly_the_outcomes_of_x86_tso() {
    build::run("asm", "random");
}

#[test]
fn right_locks_pass() {
    for name in ["swap", "swap-twice", "swap-3", "ttas", "ttas-twice", "cmpxchg", "cmpxchg-twice"] {
        passes(name);
    }
    for name in ["ticket", "ticket-twice", "peterson", "peterson-twice"] {
        passes(name);
    }
}

#[test]
fn assembly_meets_atomics_volatile_accesses_and_futexes() {
    for name in [
        "swap-atomic-unlock",
        "swap-volatile-unlock",
        "volatile-peterson",
        "message",
        "counter",
        "futex-syscall",
    ] {
        passes(name);
    }
}

#[test]
fn operands_of_all_shapes_work() {
    passes("private-words");
    passes("bits");
}

#[test]
fn a_missing_lock_prefix_is_found() {
    fails("no-lock-prefix", "race", 1, 0);
    fails("ticket-no-lock-prefix", "livelock", 1, 0);
    fails("counter-no-lock-prefix", "panic", 1, 0);
}

#[test]
fn a_missing_fence_is_found() {
    fails("peterson-no-fence", "race", 1, 1);
    fails("volatile-peterson-no-fence", "race", 1, 1);
}

#[test]
fn wrong_locks_are_found() {
    fails("check-then-act", "race", 1, 0);
    fails("ticket-in-two-steps", "livelock", 1, 0);
    fails("stale-expected", "race", 1, 0);
    fails("unlock-by-stale-value", "livelock", 1, 0);
    fails("swap-ignored", "race", 1, 0);
    fails("unlock-forgotten", "livelock", 0, 0);
}

#[test]
fn a_system_call_that_could_block_is_refused() {
    fails("strange-syscall", "refused", 0, 0);
    assert!(says("strange-syscall").contains("`pause`"));
}

#[test]
fn a_source_that_cannot_be_read_leaves_it_open() {
    // What decides is looked for in the source at the places of the instructions; without it even a right lock seems to race.
    let text = build::run_without_sources("asm", "swap");
    assert!(text.starts_with("swap: unseen "), "{text}");
    assert!(text.contains("/---/") && text.contains("cannot be read"), "{text}");
}
