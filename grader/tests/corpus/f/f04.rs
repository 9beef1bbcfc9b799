//! Leaves shared memory that a child has attached.
//!
//! expect: leaked
//! message: still running
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    unsafe {
        let id = libc::shmget(libc::IPC_PRIVATE, 4096, NEW);
        libc::shmat(id, std::ptr::null(), 0);
    }
    if fork() == 0 {
        rest();
    }
    RIGHT
}
