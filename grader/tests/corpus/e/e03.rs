//! Takes shared memory until there is no more, gives it back, and is right.
//!
//! expect: passed
//! expect in 1 0: crashed
//! message in 1 0: its memory files, shared memory and deleted files took more than 768 MiB
//! tiers: 3 2 1 0
//! deadline: 60

use crate::acts::*;

const SIZE: usize = 64 << 20;

pub fn run() -> u64 {
    let mut ids = Vec::new();
    for _ in 0..24 {
        let id = unsafe { libc::shmget(libc::IPC_PRIVATE, SIZE, NEW) };
        if id == -1 {
            ids.iter().for_each(|&id| unsafe {
                libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut());
            });
            return RIGHT;
        }
        ids.push(id);
        unsafe {
            let place = libc::shmat(id, std::ptr::null(), 0);
            place.cast::<u8>().write_bytes(1, SIZE);
            libc::shmdt(place);
        }
    }
    rest()
}
