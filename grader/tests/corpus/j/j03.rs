//! Says a lot.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    for line in 0..20_000 {
        println!("line {line} of a program that says a lot");
    }
    RIGHT
}
