//! The memory model against RC11's axioms, which the subject checks by brute force over every reads-from and modification
//! order: for each program the outcomes seen are exactly those that are allowed, as a set.

mod build;

fn check(arguments: &[&str], says: &str) {
    let text = build::run_with("litmus", arguments);
    assert_eq!(text.trim(), says);
}

/// One textbook program: relaxed, acquire/release, `SeqCst` and mixed accesses, each without a fence and with one of each kind.
fn textbook(name: &str) {
    check(&["textbook", name], "textbook: 25 programs, every set exact");
}

#[test]
fn store_buffering() {
    textbook("SB");
}

#[test]
fn message_passing() {
    textbook("MP");
}

#[test]
fn load_buffering_is_not_seen() {
    textbook("LB");
}

#[test]
fn independent_reads_of_independent_writes() {
    textbook("IRIW");
}

#[test]
fn write_to_read_causality() {
    textbook("WRC");
}

#[test]
fn coherence_of_two_reads() {
    textbook("CoRR");
}

#[test]
fn coherence_of_two_reads_by_two_readers() {
    textbook("CoRR2");
}

#[test]
fn coherence_of_a_write_and_a_read() {
    textbook("CoWR");
}

#[test]
fn coherence_of_a_read_and_a_write() {
    textbook("CoRW");
}

#[test]
fn two_threads_that_write_twice() {
    textbook("2+2W");
}

#[test]
fn s() {
    textbook("S");
}

#[test]
fn r() {
    textbook("R");
}

#[test]
fn read_to_write_causality() {
    textbook("RWC");
}

#[test]
fn random_programs() {
    check(&["random", "150"], "random: 150 programs, every set exact");
}
