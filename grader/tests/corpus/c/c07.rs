//! Takes a descriptor of its supervisor, which does not work.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    let parent = unsafe { libc::getppid() };
    let taken = unsafe {
        let pidfd = libc::syscall(libc::SYS_pidfd_open, parent, 0);
        let taken = libc::syscall(libc::SYS_pidfd_getfd, pidfd, 1, 0);
        libc::close(pidfd as i32);
        taken
    };
    answer_if(taken == -1)
}
