//! Leaves semaphores and a queue with a key, which it has found again in every way.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    let key = std::process::id() as i32 | 0x4711_0000;
    let get = |flags: i32| unsafe {
        (libc::syscall(libc::SYS_semget, key, 1, flags), libc::syscall(libc::SYS_msgget, key, flags))
    };
    let made = get(NEW);
    let found = get(0) == made && get(libc::IPC_CREAT | 0o600) == made;
    // The mode of the entries' objects does not give their owner everything.
    let refused = get(NEW) == (-1, -1) && get(NEW | libc::IPC_EXCL) == (-1, -1);
    let gone = unsafe { libc::syscall(libc::SYS_semget, libc::IPC_PRIVATE, 1, NEW) as i32 };
    let removed = unsafe { libc::semctl(gone, 0, libc::IPC_RMID) } == 0;
    answer_if(made.0 >= 0 && made.1 >= 0 && found && refused && removed)
}
