//! Leaves a queue in a folder of the kernel's, made by hand.
//!
//! expect: passed
//! tiers: 3 2 1+queues 0+queues

use crate::acts::*;

pub fn run() -> u64 {
    let name = std::ffi::CString::new(format!("corpus-{}", std::process::id())).unwrap();
    let none: *const libc::mq_attr = std::ptr::null();
    let queue = unsafe { libc::syscall(libc::SYS_mq_open, name.as_ptr(), libc::O_CREAT | libc::O_RDWR, 0o600, none) };
    unsafe { libc::close(queue as i32) };
    answer_if(queue >= 0)
}
