//! Leaves shared memory.
//!
//! expect: leaked
//! message: System V shared memory with id
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    (0..10).for_each(|_| unsafe {
        libc::shmget(libc::IPC_PRIVATE, 4096, NEW);
    });
    RIGHT
}
