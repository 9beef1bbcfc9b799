//! Leaves a lock file.
//!
//! expect: leaked
//! message: left behind: ./lock
//! tiers: 3 2 1 0
//! asked: to tidy up

use crate::acts::*;

pub fn run() -> u64 {
    std::fs::File::create("lock").unwrap().lock().unwrap();
    RIGHT
}
