//! Makes one of each by hand, and rests.
//!
//! expect: timed-out
//! tiers: 3 2 1 0
//! deadline: 0.5

use crate::acts::*;

pub fn run() -> u64 {
    unsafe {
        libc::syscall(libc::SYS_shmget, libc::IPC_PRIVATE, 4096, NEW);
        libc::syscall(libc::SYS_semget, libc::IPC_PRIVATE, 1, NEW);
        libc::syscall(libc::SYS_msgget, libc::IPC_PRIVATE, NEW);
    }
    std::fs::write(format!("/dev/shm/corpus-rests-{}", std::process::id()), "").unwrap();
    rest()
}
