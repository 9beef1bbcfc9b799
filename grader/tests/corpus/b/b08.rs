//! Leaves fifty zombies.
//!
//! expect: leaked
//! message: 50 zombies left behind by `run`: ended, but never waited for
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    for _ in 0..50 {
        let child = fork();
        if child == 0 {
            leave();
        }
        // Waits for its end, and does not reap it.
        unsafe { libc::waitid(libc::P_PID, child as u32, &mut std::mem::zeroed(), libc::WEXITED | libc::WNOWAIT) };
    }
    RIGHT
}
