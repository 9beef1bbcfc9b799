//! Ends at once.
//!
//! expect: crashed
//! message: exit code 0 before
//! tiers: 3 2 1 0

pub fn run() -> u64 {
    std::process::exit(0)
}
