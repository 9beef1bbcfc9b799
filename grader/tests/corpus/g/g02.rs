//! Puts a link to a file with the answer where a file is looked for.
//!
//! expect: failed
//! message: observed out.txt is no regular file
//! tiers: 3 2 1 0
//! asked: for a file

use crate::acts::*;

pub fn run() -> u64 {
    std::fs::write("elsewhere.txt", "42").unwrap();
    std::os::unix::fs::symlink("elsewhere.txt", "out.txt").unwrap();
    RIGHT
}
