//! Locks a mutex twice.
//!
//! expect: timed-out
//! message: futex
//! tiers: 3 2 1 0
//! deadline: 0.5

pub fn run() -> u64 {
    let mutex = std::sync::Mutex::new(0);
    let _first = mutex.lock();
    let _second = mutex.lock();
    0
}
