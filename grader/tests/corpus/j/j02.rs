//! Is slow, but not too slow.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    std::thread::sleep(std::time::Duration::from_millis(300));
    RIGHT
}
