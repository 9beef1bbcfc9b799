//! Leaves fifty zombies.
//!
//! expect: leaked
//! message: never waited for
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    for _ in 0..50 {
        if fork() == 0 {
            leave();
        }
    }
    std::thread::sleep(std::time::Duration::from_millis(300));
    RIGHT
}
