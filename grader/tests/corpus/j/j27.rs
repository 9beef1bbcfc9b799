//! Leaves a file where one is looked for.
//!
//! expect: passed
//! tiers: 3 2 1 0
//! asked: for a file

use crate::acts::*;

pub fn run() -> u64 {
    std::fs::write("out.txt", "42").unwrap();
    RIGHT
}
