//! Makes a message queue by name and removes it; where there can be none, none is left by the attempt either.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    let name = std::ffi::CString::new(format!("/corpus-f06b-{}", std::process::id())).unwrap();
    unsafe {
        let none: *const libc::mq_attr = std::ptr::null();
        let queue = libc::mq_open(name.as_ptr(), libc::O_CREAT | libc::O_RDWR, 0o600, none);
        libc::mq_close(queue);
        let was_there = libc::mq_unlink(name.as_ptr()) == 0;
        answer_if(was_there == (queue != -1))
    }
}
