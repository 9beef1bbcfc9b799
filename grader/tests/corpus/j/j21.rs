//! Asks whether its parent is there, in each way.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    let parent = unsafe { libc::getppid() };
    let there = unsafe { libc::kill(parent, 0) } == 0;
    let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, parent, 0) } as i32;
    let mut polled = libc::pollfd { fd: pidfd, events: libc::POLLIN, revents: 0 };
    let ended = unsafe { libc::poll(&mut polled, 1, 0) } != 0;
    unsafe { libc::close(pidfd) };
    answer_if(there && pidfd >= 0 && !ended)
}
