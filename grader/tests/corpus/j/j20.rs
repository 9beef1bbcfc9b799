//! Starts a session of its own in a child.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    match fork() {
        0 => unsafe { libc::_exit(i32::from(libc::setsid() == -1)) },
        child => unsafe {
            let mut status = 0;
            libc::waitpid(child, &mut status, 0);
            answer_if(status == 0)
        },
    }
}
