//! Stops its supervisor, which does not work, and says so.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    let refused = unsafe { libc::kill(libc::getppid(), libc::SIGSTOP) } == -1;
    answer_if(refused)
}
