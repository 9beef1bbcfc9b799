//! Leaves a FIFO.
//!
//! expect: leaked
//! message: left behind: ./fifo
//! tiers: 3 2 1 0
//! asked: to tidy up

use crate::acts::*;

pub fn run() -> u64 {
    unsafe { libc::mkfifo(c"fifo".as_ptr(), 0o600) };
    RIGHT
}
