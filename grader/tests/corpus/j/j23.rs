//! Starts 700 children and waits for them when all have ended: those that have ended are not too many processes.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    let started = (0..700).all(|_| {
        let child = fork();
        if child == 0 {
            leave();
        }
        let mut ended: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let look = libc::WEXITED | libc::WNOWAIT;
        child > 0 && unsafe { libc::waitid(libc::P_PID, child as u32, &mut ended, look) } == 0
    });
    let waited = (0..700).all(|_| unsafe { libc::wait(std::ptr::null_mut()) } > 0);
    answer_if(started && waited)
}
