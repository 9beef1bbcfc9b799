//! Becomes a subreaper, and is right.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
    RIGHT
}
