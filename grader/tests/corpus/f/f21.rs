//! Leaves semaphores by hand when another check has seen them.
//!
//! expect: passed
//! tiers: side-by-side
//! deadline: 60

use crate::acts::*;

pub fn run() -> u64 {
    let made = unsafe { libc::syscall(libc::SYS_semget, crate::f20::OTHERS, 1, NEW) };
    while made >= 0 && unsafe { libc::semctl(made as i32, 0, libc::GETVAL) } == 0 {
        std::thread::yield_now();
    }
    answer_if(made >= 0)
}
