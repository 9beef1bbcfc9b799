//! Has a child that outlives its own parent, and waits for both.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
    if fork() == 0 {
        if fork() == 0 {
            leave();
        }
        leave();
    }
    while unsafe { libc::wait(std::ptr::null_mut()) } > 0 {}
    RIGHT
}
