//! Takes shared memory until there is no more, gives it back, and is right.
//!
//! expect: passed
//! tiers: 3 2

use crate::acts::*;

pub fn run() -> u64 {
    let mut ids = Vec::new();
    while ids.len() < 64 {
        let id = unsafe { libc::shmget(libc::IPC_PRIVATE, 64 << 20, libc::IPC_CREAT | 0o600) };
        if id == -1 {
            break;
        }
        ids.push(id);
    }
    ids.iter().for_each(|&id| unsafe {
        libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut());
    });
    answer_if(ids.len() < 64)
}
