//! Forks a hundred times and waits each time.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    for _ in 0..100 {
        match fork() {
            0 => leave(),
            child => unsafe {
                libc::waitpid(child, std::ptr::null_mut(), 0);
            },
        }
    }
    RIGHT
}
