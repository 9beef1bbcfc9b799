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
/// how many milliseconds of a processor, and how many the shortest round took.
#[allow(dead_code, reason = "not every explorer has rounds")]
pub fn repeat(mut round: impl FnMut() -> u64) {
    let begin = cpu_time();
    let mut executions = round();
    let mut shortest = cpu_time() - begin;
    while cpu_time() - begin < Duration::from_secs(1) {
        let again = cpu_time();
        executions += round();
        shortest = shortest.min(cpu_time() - again);
    }
    println!("{executions} {} {}", milliseconds(cpu_time() - begin), milliseconds(shortest));
}

/// What this process has used of a processor: unlike the clock, it does not count who else runs.
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid place for the answer.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Prints whether something was found, after how many executions and milliseconds.
pub fn result(found: bool, executions: u64, begin: Instant) {
    println!("{} {executions} {}", if found { "found" } else { "-" }, milliseconds(begin.elapsed()));
}

/// `12.3`
pub fn milliseconds(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64() * 1e3)
}
