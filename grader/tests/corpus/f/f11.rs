//! Makes one of each and removes it.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    let name = std::ffi::CString::new(format!("/corpus-f11-{}", std::process::id())).unwrap();
    unsafe {
        let id = libc::shmget(libc::IPC_PRIVATE, 4096, NEW);
        libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut());
        let id = libc::msgget(libc::IPC_PRIVATE, NEW);
        libc::msgctl(id, libc::IPC_RMID, std::ptr::null_mut());
        libc::close(libc::shm_open(name.as_ptr(), libc::O_CREAT | libc::O_RDWR, 0o600));
        libc::shm_unlink(name.as_ptr());
        let id = libc::semget(libc::IPC_PRIVATE, 1, NEW);
        libc::semctl(id, 0, libc::IPC_RMID);
        libc::sem_close(libc::sem_open(name.as_ptr(), libc::O_CREAT, 0o600, 1));
        libc::sem_unlink(name.as_ptr());
    }
    RIGHT
}
