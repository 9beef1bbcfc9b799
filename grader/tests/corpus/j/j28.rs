//! Uses a socket with a name where the check says nothing of such: a sandbox that cannot keep it inside says so.
//!
//! expect: passed
//! expect in 1 0: inconclusive
//! message in 1 0: it was refused a UNIX socket with a name
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    drop(std::os::unix::net::UnixListener::bind("socket").unwrap());
    std::fs::remove_file("socket").unwrap();
    RIGHT
}
