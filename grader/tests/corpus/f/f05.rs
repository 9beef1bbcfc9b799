//! Leaves shared memory and a semaphore by name.
//!
//! expect: leaked
//! message: /dev/shm/sem.corpus-
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    let name = std::ffi::CString::new(format!("/corpus-f05-{}", std::process::id())).unwrap();
    unsafe {
        libc::close(libc::shm_open(name.as_ptr(), libc::O_CREAT | libc::O_RDWR, 0o600));
        libc::sem_close(libc::sem_open(name.as_ptr(), libc::O_CREAT, 0o600, 1));
    }
    RIGHT
}
