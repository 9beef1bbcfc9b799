//! Sleeps for ever.
//!
//! expect: timed-out
//! message: nanosleep
//! tiers: 3 2 1 0
//! deadline: 0.5

pub fn run() -> u64 {
    std::thread::sleep(std::time::Duration::from_secs(1_000_000));
    0
}
