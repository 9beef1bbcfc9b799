//! Kills everybody, which does not work.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    let refused = unsafe { libc::kill(-1, libc::SIGKILL) } == -1;
    answer_if(refused)
}
