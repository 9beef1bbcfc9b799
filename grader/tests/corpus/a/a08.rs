//! Spins in 64 threads.
//!
//! expect: timed-out
//! message: is running (busy)
//! tiers: 3 2 1 0
//! deadline: 0.5

use crate::acts::*;

pub fn run() -> u64 {
    for _ in 0..64 {
        std::thread::spawn(|| loop {
            std::hint::spin_loop();
        });
    }
    rest()
}
