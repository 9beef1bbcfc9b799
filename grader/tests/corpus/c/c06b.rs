//! Writes into the memory of all processes above it, which does not work. In tier 0 that is Landlock's doing but for the warden
//! and the grader, see c06c.
//!
//! expect: passed
//! tiers: 3 2 1 0+landlock

use crate::acts::*;

pub fn run() -> u64 {
    answer_if(!above_the_supervisor().into_iter().any(can_be_written))
}
