//! Catches a panic.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    let caught = std::panic::catch_unwind(|| panic!("never mind"));
    answer_if(caught.is_err())
}
