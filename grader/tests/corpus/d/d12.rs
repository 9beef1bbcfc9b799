//! Puts something else where everything was.
//!
//! expect: leaked
//! message: descriptors still open when `run` returned: 3 (/dev/null)
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    unsafe {
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
        (0..1024).filter(|&fd| fd != null).for_each(|fd| {
            libc::syscall(libc::SYS_dup2, null, fd);
        });
    }
    RIGHT
}
