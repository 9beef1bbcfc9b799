//! The reduced search and the plain one, on random programs with fixed seeds: at every bound the same outcomes, and a finding
//! in the one if and only if there is one in the other. (A thread that yields must let another one go on, whatever that one
//! does next: there the searches may differ, so yields are tested where they belong, in loops.)

mod build;

fn check(family: &str, programs: &str) {
    let text = build::run_with("random", &[family, programs]);
    assert!(text.contains(&format!("{programs} programs, 0 differ")), "{text}");
}

#[test]
fn loads_stores_updates_and_fences() {
    check("atomics", "120");
}

#[test]
fn futex_waits_wakes_and_time_outs() {
    check("futex", "120");
}

#[test]
fn yields_and_loops_that_look() {
    check("loops", "120");
}
