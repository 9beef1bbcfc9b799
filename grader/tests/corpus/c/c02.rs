//! Kills its supervisor, which does not work.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    let refused = unsafe { libc::kill(libc::getppid(), libc::SIGKILL) } == -1;
    answer_if(refused)
}
