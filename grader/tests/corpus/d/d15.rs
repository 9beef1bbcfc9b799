//! Knows one answer.
//!
//! expect: failed
//! message: observed 41
//! tiers: 3 2 1 0

pub fn run() -> u64 {
    41
}
