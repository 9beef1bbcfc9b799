//! Has the kernel signal its supervisor in its stead, which does not work.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

const F_SETSIG: i32 = 10;
const F_SETOWN_EX: i32 = 15;
const FIOSETOWN: u64 = 0x8901;
const SIOCSPGRP: u64 = 0x8902;

pub fn run() -> u64 {
    let parent = unsafe { libc::getppid() };
    let (one, other) = pair();
    let (process, group) = ([1, parent], -parent);
    let owned = unsafe {
        libc::fcntl(one, F_SETSIG, libc::SIGKILL);
        libc::fcntl(one, libc::F_SETFL, libc::O_ASYNC);
        [
            libc::fcntl(one, libc::F_SETOWN, parent),
            libc::fcntl(one, libc::F_SETOWN, group),
            libc::fcntl(one, F_SETOWN_EX, &process),
            libc::ioctl(one, FIOSETOWN, &parent),
            libc::ioctl(one, SIOCSPGRP, &group),
            // No character gets into a terminal either.
            libc::ioctl(0, libc::TIOCSTI, &3_u8),
        ]
    };
    unsafe {
        libc::write(other, c"x".as_ptr().cast(), 1);
        libc::close(one);
        libc::close(other);
    }
    answer_if(owned == [-1; 6])
}
