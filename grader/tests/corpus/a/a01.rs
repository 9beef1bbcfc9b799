//! Spins for ever.
//!
//! expect: timed-out
//! message: is running (busy)
//! tiers: 3 2 1 0
//! deadline: 0.5

pub fn run() -> u64 {
    loop {
        std::hint::spin_loop();
    }
}
