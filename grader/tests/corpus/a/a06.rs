//! Stops itself.
//!
//! expect: timed-out
//! message: is stopped
//! tiers: 3 2 1 0
//! deadline: 0.5

pub fn run() -> u64 {
    unsafe { libc::raise(libc::SIGSTOP) };
    0
}
