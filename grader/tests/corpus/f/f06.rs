//! Leaves a message queue by name.
//!
//! expect: leaked
//! message: the message queue /corpus-
//! tiers: 3 2

use crate::acts::*;

pub fn run() -> u64 {
    let name = std::ffi::CString::new(format!("/corpus-{}", std::process::id())).unwrap();
    unsafe {
        let none: *const libc::mq_attr = std::ptr::null();
        let queue = libc::mq_open(name.as_ptr(), libc::O_CREAT | libc::O_RDWR, 0o600, none);
        libc::mq_close(queue);
    }
    RIGHT
}
