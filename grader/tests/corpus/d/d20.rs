//! Writes into the check binary, which does not work.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    let opened = std::fs::OpenOptions::new().write(true).open("/proc/self/exe");
    answer_if(opened.is_err())
}
