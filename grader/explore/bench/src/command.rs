//! What the programs on each explorer share: `speed NAME` or `find NAME`, and a line of numbers as the answer.

use std::time::{Duration, Instant};

use crate::programs::{CATALOGUE, SPEED};

/// The mode, and the program that the command line names.
pub fn program() -> (String, fn()) {
    let mut arguments = std::env::args().skip(1);
    let mode = arguments.next().unwrap_or_default();
    let name = arguments.next().unwrap_or_default();
    let program = SPEED.iter().chain(CATALOGUE).find(|(known, _)| *known == name);
    (mode, program.expect("a known program").1)
}

/// Runs something that returns a number of executions, for a second at least, and prints how many there were in all, in
/// how many milliseconds, and how many milliseconds the first round took.
#[allow(dead_code, reason = "not every explorer has rounds")]
pub fn repeat(mut round: impl FnMut() -> u64) {
    let begin = Instant::now();
    let mut executions = round();
    let mut first = begin.elapsed();
    while begin.elapsed() < Duration::from_secs(1) {
        let again = Instant::now();
        executions += round();
        first = first.min(again.elapsed());
    }
    println!("{executions} {} {}", milliseconds(begin.elapsed()), milliseconds(first));
}

/// Prints whether something was found, after how many executions and milliseconds.
pub fn result(found: bool, executions: u64, begin: Instant) {
    println!("{} {executions} {}", if found { "found" } else { "-" }, milliseconds(begin.elapsed()));
}

/// `12.3`
pub fn milliseconds(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64() * 1e3)
}
