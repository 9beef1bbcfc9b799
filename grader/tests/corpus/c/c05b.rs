//! Has itself traced by its supervisor, which nobody has asked, and stops.
//!
//! expect: timed-out
//! message: stopped
//! tiers: 3 2 1 0
//! deadline: 0.5

pub fn run() -> u64 {
    unsafe {
        libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0);
        libc::raise(libc::SIGUSR1);
    }
    0
}
