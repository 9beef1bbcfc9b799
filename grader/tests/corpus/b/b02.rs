//! Everybody forks without end.
//!
//! expect: crashed
//! message: more than 512 processes
//! tiers: 3 2 1 0
//! deadline: 60

use crate::acts::*;

pub fn run() -> u64 {
    loop {
        fork();
    }
}
