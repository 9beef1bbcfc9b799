//! Writes into the memory of the warden and of the grader, which does not work, with or without Landlock.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    answer_if(!above_the_supervisor().into_iter().take(2).any(can_be_written))
}
