//! Takes an alarm ten thousand times a second, and is right.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    extern "C" fn nothing(_: i32) {}
    let often = libc::timeval { tv_sec: 0, tv_usec: 100 };
    let timer = libc::itimerval { it_interval: often, it_value: often };
    unsafe {
        libc::signal(libc::SIGALRM, nothing as *const () as usize);
        libc::syscall(libc::SYS_setitimer, 0, &timer, 0);
    }
    let sum = (0..2_000_000_u64).fold(0, |sum, number| std::hint::black_box(sum ^ number));
    answer_if(sum < u64::MAX)
}
