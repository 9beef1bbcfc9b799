//! Floods its output.
//!
//! expect: crashed
//! message: more than 64 MiB of output
//! tiers: 3 2 1 0
//! deadline: 60

use crate::acts::*;

pub fn run() -> u64 {
    flood(1)
}
