//! Starts processes whose first thread ends, so that they look as if they had ended, without end.
//!
//! expect: crashed
//! message: more than 512 processes
//! tiers: 3 2 1 0
//! deadline: 60

use crate::acts::*;

pub fn run() -> u64 {
    loop {
        if fork() == 0 {
            std::thread::spawn(|| rest());
            // Not the process, as `_exit` does.
            unsafe { libc::syscall(libc::SYS_exit, 0) };
        }
    }
}
