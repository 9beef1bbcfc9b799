//! Puts a device without end where a file is looked for.
//!
//! expect: failed
//! message: observed out.txt is no regular file
//! tiers: 3 2 1 0
//! asked: for a file

use crate::acts::*;

pub fn run() -> u64 {
    std::os::unix::fs::symlink("/dev/zero", "out.txt").unwrap();
    RIGHT
}
