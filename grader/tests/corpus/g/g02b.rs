//! Puts a FIFO where a file is looked for.
//!
//! expect: failed
//! message: observed out.txt is no regular file
//! tiers: 3 2 1 0
//! asked: for a file

use crate::acts::*;

pub fn run() -> u64 {
    unsafe { libc::mkfifo(c"out.txt".as_ptr(), 0o600) };
    RIGHT
}
