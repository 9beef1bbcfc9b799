//! Takes memory that is a file and nobody's.
//!
//! expect: crashed
//! message: its memory files, shared memory and deleted files took more than 768 MiB
//! tiers: 3 2 1 0
//! deadline: 60

use crate::acts::*;

pub fn run() -> u64 {
    let much = vec![b'x'; 1 << 20];
    for _ in 0..8 {
        unsafe {
            let file = libc::memfd_create(c"much".as_ptr(), 0);
            while libc::write(file, much.as_ptr().cast(), much.len()) > 0 {}
        }
    }
    rest()
}
