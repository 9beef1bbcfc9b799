//! Makes a child of its parent, which does not work.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    let flags = libc::CLONE_PARENT | libc::SIGCHLD;
    match unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) } {
        -1 => RIGHT,
        0 => rest(),
        _ => 0,
    }
}
