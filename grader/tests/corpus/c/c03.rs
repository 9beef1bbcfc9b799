//! Kills every number there is but its own, where no number is a stranger's.
//!
//! expect: passed
//! tiers: 3 2

use crate::acts::*;

pub fn run() -> u64 {
    let us = std::process::id() as i32;
    if us > 1000 {
        return 0;
    }
    for pid in (2..65_536).filter(|&pid| pid != us) {
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
    RIGHT
}
