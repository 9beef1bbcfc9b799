//! Waits for a semaphore that nobody posts.
//!
//! expect: timed-out
//! message: semop
//! tiers: 3 2 1 0
//! deadline: 0.5

use crate::acts::*;

pub fn run() -> u64 {
    let mut down = libc::sembuf { sem_num: 0, sem_op: -1, sem_flg: 0 };
    unsafe {
        let id = libc::semget(libc::IPC_PRIVATE, 1, NEW);
        libc::semop(id, &mut down, 1);
    }
    0
}
