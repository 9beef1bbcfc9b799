//! The same bound, the same count, the same schedule, twice.

mod build;

/// What must not change: not the time, and not the addresses.
fn lasting(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.split_once(" micros="))
        .map(|(lasting, _)| lasting.to_owned())
        .collect()
}

fn check(program: &str, arguments: &[&str], least: usize) {
    let [first, second] = [(); 2].map(|()| lasting(&build::run_with(program, arguments)));
    assert_eq!(first, second);
    assert!(first.len() >= least, "{first:?}");
}

#[test]
fn every_row_of_the_catalogue_is_found_with_the_same_schedule_after_as_many_executions() {
    check("catalogue", &[], 100);
}

#[test]
fn right_programs_have_as_many_executions_at_random_too() {
    check("correct", &["all", "1000"], 20);
}
