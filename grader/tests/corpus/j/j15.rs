//! Writes into shared memory by every way there is.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    let name = std::ffi::CString::new(format!("/corpus-j15-{}", std::process::id())).unwrap();
    unsafe {
        let fd = libc::shm_open(name.as_ptr(), libc::O_CREAT | libc::O_RDWR, 0o600);
        libc::ftruncate(fd, 1 << 20);
        let both = libc::PROT_READ | libc::PROT_WRITE;
        let place = libc::mmap(std::ptr::null_mut(), 1 << 20, both, libc::MAP_SHARED, fd, 0);
        *place.cast::<u8>() = 1;
        libc::munmap(place, 1 << 20);
        libc::close(fd);
        libc::shm_unlink(name.as_ptr());
        let memory = libc::memfd_create(c"own".as_ptr(), 0);
        libc::close(memory);
    }
    RIGHT
}
