//! Mounts and changes its root, which does not work.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    let none = std::ptr::null();
    let changed = unsafe {
        [
            libc::mount(c"tmpfs".as_ptr(), c"/mnt".as_ptr(), c"tmpfs".as_ptr(), 0, none),
            libc::chroot(c".".as_ptr()),
            libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) as i32,
        ]
    };
    answer_if(changed == [-1; 3])
}
