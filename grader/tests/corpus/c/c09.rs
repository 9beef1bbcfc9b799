//! Runs a program with more rights, which has none.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let has = |line: &str| status.lines().any(|there| there == line);
    answer_if(has("NoNewPrivs:\t1") && has("CapEff:\t0000000000000000"))
}
