//! Writes a gigabyte wherever something is open.
//!
//! expect: crashed
//! message: the answer of `run` did not arrive whole: something wrote over it
//! tiers: 3 2 1 0
//! deadline: 60

pub fn run() -> u64 {
    let much = vec![b'x'; 1 << 20];
    for fd in 3..1024 {
        let mut room = 1 << 10;
        while room > 0 && unsafe { libc::syscall(libc::SYS_write, fd, much.as_ptr(), much.len()) } > 0 {
            room -= 1;
        }
    }
    0
}
