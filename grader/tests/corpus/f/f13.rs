//! Leaves one of each kind, made by hand.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    let name = std::ffi::CString::new(format!("/dev/shm/corpus-{}", std::process::id())).unwrap();
    let calls = unsafe {
        [
            libc::syscall(libc::SYS_shmget, libc::IPC_PRIVATE, 4096, NEW),
            libc::syscall(libc::SYS_semget, libc::IPC_PRIVATE, 1, NEW),
            libc::syscall(libc::SYS_msgget, libc::IPC_PRIVATE, NEW),
            libc::syscall(libc::SYS_openat, libc::AT_FDCWD, name.as_ptr(), libc::O_CREAT | libc::O_RDWR, 0o600),
        ]
    };
    unsafe { libc::close(calls[3] as i32) };
    answer_if(calls.iter().all(|&made| made >= 0))
}
