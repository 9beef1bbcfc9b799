//! Makes namespaces, which does not work.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    let made = unsafe {
        [
            libc::unshare(libc::CLONE_NEWUSER).into(),
            libc::unshare(libc::CLONE_NEWPID).into(),
            libc::syscall(libc::SYS_clone, libc::CLONE_NEWUSER | libc::SIGCHLD, 0, 0, 0, 0),
            libc::syscall(libc::SYS_clone3, 0, 0),
        ]
    };
    answer_if(made == [-1; 4])
}
