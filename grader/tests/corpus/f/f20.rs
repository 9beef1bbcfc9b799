//! Makes semaphores, a queue and a name by hand, and waits until another check, which runs beside this one, has left and lost
//! some of its own: these are still there.
//!
//! expect: passed
//! tiers: side-by-side
//! deadline: 60

use crate::acts::*;

/// The key of the other check's semaphores.
pub const OTHERS: i32 = 0x4711_f021;

pub fn run() -> u64 {
    let name = format!("/dev/shm/corpus-waits-{}", std::process::id());
    std::fs::write(&name, "").unwrap();
    let (semaphores, queue) = unsafe {
        (
            libc::syscall(libc::SYS_semget, libc::IPC_PRIVATE, 1, NEW),
            libc::syscall(libc::SYS_msgget, libc::IPC_PRIVATE, NEW),
        )
    };
    let others = || unsafe { libc::syscall(libc::SYS_semget, OTHERS, 0, 0) as i32 };
    while others() < 0 {
        std::thread::yield_now();
    }
    // So the other one sees that it has been seen.
    unsafe { libc::semctl(others(), 0, libc::SETVAL, 1) };
    while others() >= 0 {
        std::thread::yield_now();
    }
    let are_there = unsafe {
        libc::semctl(semaphores as i32, 0, libc::GETPID) >= 0
            && libc::msgctl(queue as i32, libc::IPC_STAT, std::mem::zeroed::<[libc::msqid_ds; 1]>().as_mut_ptr()) == 0
    };
    answer_if(are_there && std::fs::exists(name).unwrap())
}
