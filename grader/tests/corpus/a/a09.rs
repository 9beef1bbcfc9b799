//! Returns the right answer and leaves a child that spins.
//!
//! expect: leaked
//! message: still running
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    if fork() == 0 {
        loop {
            std::hint::spin_loop();
        }
    }
    RIGHT
}
