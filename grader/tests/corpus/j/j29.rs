//! Takes its time, while the check beside it takes all of the machine's shared memory.
//!
//! expect: passed
//! tiers: 3 2 1 0
//! deadline: 60

use crate::acts::*;

pub fn run() -> u64 {
    std::thread::sleep(std::time::Duration::from_secs(2));
    RIGHT
}
