//! Kills its own child.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    match fork() {
        0 => rest(),
        child => unsafe {
            libc::kill(child, libc::SIGTERM);
            libc::waitpid(child, std::ptr::null_mut(), 0);
            RIGHT
        },
    }
}
