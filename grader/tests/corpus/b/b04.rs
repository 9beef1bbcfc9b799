//! Leaves a process that is always another one.
//!
//! expect: leaked
//! message: processes still running
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    daemon(hop);
    RIGHT
}
