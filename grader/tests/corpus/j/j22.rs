//! Forks in a storm of signals, whose handler does not restart calls: no fork fails for it.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

extern "C" fn nothing(_: i32) {}

pub fn run() -> u64 {
    let often = libc::timeval { tv_sec: 0, tv_usec: 300 };
    let timer = libc::itimerval { it_interval: often, it_value: often };
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as *const () as usize;
        libc::sigaction(libc::SIGALRM, &action, std::ptr::null_mut());
        libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut());
    }
    answer_if((0..300).all(|_| {
        let child = fork();
        if child == 0 {
            leave();
        }
        while child > 0 && unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) } == -1 {}
        child > 0
    }))
}
