//! Writes into the memory of all processes above it, which does not work.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    let parent_of = |pid: i32| -> Option<i32> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split(' ').nth(2)?.parse().ok()
    };
    // Its supervisor is in the same sandbox, but for the lowest tier.
    let supervisor = unsafe { libc::getppid() };
    let above = std::iter::successors(parent_of(supervisor), |&pid| parent_of(pid));
    let opened = above.take_while(|&pid| pid > 1).any(|pid| {
        std::fs::OpenOptions::new().write(true).open(format!("/proc/{pid}/mem")).is_ok()
    });
    answer_if(!opened)
}
