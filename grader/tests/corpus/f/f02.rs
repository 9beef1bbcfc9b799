//! Leaves semaphores.
//!
//! expect: leaked
//! message: System V semaphores with id
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    (0..10).for_each(|_| unsafe {
        libc::semget(libc::IPC_PRIVATE, 1, NEW);
    });
    RIGHT
}
