//! Aborts.
//!
//! expect: crashed
//! message: SIGABRT
//! tiers: 3 2 1 0

pub fn run() -> u64 {
    std::process::abort()
}
