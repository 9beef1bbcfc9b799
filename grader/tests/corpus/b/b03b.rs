//! Leaves a daemon whose first thread has ended, so that it looks as if it had ended itself.
//!
//! expect: leaked
//! message: processes still running
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    daemon(|| {
        std::thread::spawn(|| rest());
        // Not the process, as `_exit` does.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    });
    RIGHT
}
