//! Traces its supervisor, which does not work.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    let parent = unsafe { libc::getppid() };
    let refused = unsafe {
        libc::ptrace(libc::PTRACE_ATTACH, parent, 0, 0) == -1 && libc::ptrace(libc::PTRACE_SEIZE, parent, 0, 0) == -1
    };
    answer_if(refused)
}
