//! Leaves more semaphores and queues than are kept count of, made by hand, and is gone before anybody looks.
//!
//! expect: crashed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    for _ in 0..2000 {
        unsafe {
            libc::syscall(libc::SYS_semget, libc::IPC_PRIVATE, 1, NEW);
            libc::syscall(libc::SYS_msgget, libc::IPC_PRIVATE, NEW);
        }
    }
    unsafe { libc::kill(std::process::id() as i32, libc::SIGKILL) };
    0
}
