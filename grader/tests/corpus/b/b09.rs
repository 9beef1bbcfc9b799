//! Waits for a child that does not end.
//!
//! expect: timed-out
//! message: wait
//! tiers: 3 2 1 0
//! deadline: 0.5

use crate::acts::*;

pub fn run() -> u64 {
    match fork() {
        0 => rest(),
        _ => unsafe {
            libc::wait(std::ptr::null_mut());
            0
        },
    }
}
