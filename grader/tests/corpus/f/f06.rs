//! Leaves a message queue by name. In tiers 1 and 0 only where the folder of queues is mounted: without it there can be none,
//! see f06b.
//!
//! expect: leaked
//! message: the message queue /corpus-
//! tiers: 3 2 1+queues 0+queues

use crate::acts::*;

pub fn run() -> u64 {
    let name = std::ffi::CString::new(format!("/corpus-f06-{}", std::process::id())).unwrap();
    unsafe {
        let none: *const libc::mq_attr = std::ptr::null();
        let queue = libc::mq_open(name.as_ptr(), libc::O_CREAT | libc::O_RDWR, 0o600, none);
        libc::mq_close(queue);
    }
    RIGHT
}
