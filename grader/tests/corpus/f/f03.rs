//! Leaves message queues.
//!
//! expect: leaked
//! message: a System V message queue with id
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    (0..10).for_each(|_| unsafe {
        libc::msgget(libc::IPC_PRIVATE, NEW);
    });
    RIGHT
}
