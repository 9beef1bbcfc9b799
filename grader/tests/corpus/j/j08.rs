//! Handles signals of its own.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    extern "C" fn nothing(_: i32) {}
    unsafe {
        libc::signal(libc::SIGUSR1, nothing as *const () as usize);
        libc::raise(libc::SIGUSR1);
        libc::kill(libc::getpid(), libc::SIGUSR1);
    }
    RIGHT
}
