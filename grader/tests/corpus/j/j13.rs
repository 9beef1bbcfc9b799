//! Asks for much memory and uses little of it.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    let (much, both) = (16 << 30, libc::PROT_READ | libc::PROT_WRITE);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    unsafe {
        let start = libc::mmap(std::ptr::null_mut(), much, both, flags, -1, 0);
        *start.cast::<u8>() = 1;
        libc::munmap(start, much);
    }
    RIGHT
}
