//! Writes a verdict wherever something is open.
//!
//! expect: crashed
//! message: something wrote over it
//! tiers: 3 2 1 0

pub fn run() -> u64 {
    let verdict = b"test result: ok. 1 passed\n{\"verdict\":\"passed\"}\n";
    for fd in 1..1024 {
        unsafe { libc::syscall(libc::SYS_write, fd, verdict.as_ptr(), verdict.len()) };
    }
    0
}
