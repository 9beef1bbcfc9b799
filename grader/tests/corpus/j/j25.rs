//! Answers whenever it is asked.
//!
//! expect: passed
//! tiers: 3 2 1 0
//! asked: in turn

use crate::acts::*;

pub fn run() -> u64 {
    RIGHT
}
