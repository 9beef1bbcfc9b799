//! Leaves a daemon that looks like a kernel thread.
//!
//! expect: leaked
//! message: kworker/0:1
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    unsafe { libc::prctl(libc::PR_SET_NAME, c"kworker/0:1".as_ptr()) };
    daemon(|| unsafe {
        libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0);
        rest();
    });
    RIGHT
}
