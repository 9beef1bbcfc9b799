//! Takes a signal of its own when a socket is ready.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    extern "C" fn nothing(_: i32) {}
    let (one, other) = pair();
    unsafe {
        libc::signal(libc::SIGIO, nothing as *const () as usize);
        let owned = libc::fcntl(one, libc::F_SETOWN, libc::getpid());
        libc::fcntl(one, libc::F_SETFL, libc::O_ASYNC);
        libc::write(other, c"x".as_ptr().cast(), 1);
        libc::close(one);
        libc::close(other);
        answer_if(owned == 0)
    }
}
