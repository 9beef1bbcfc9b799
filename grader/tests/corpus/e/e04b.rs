//! Fills the folder of shared memory until it is full, empties it, and is right.
//!
//! expect: passed
//! expect in 1 0: crashed
//! message in 1 0: its memory files, shared memory and deleted files took more than 768 MiB
//! tiers: 3 2 1 0
//! deadline: 60

use crate::acts::*;

pub fn run() -> u64 {
    let much = vec![b'x'; 1 << 20];
    let names = (0..6).map(|number| format!("/corpus-e04b-{}-{number}", std::process::id()));
    let names: Vec<_> = names.map(|name| std::ffi::CString::new(name).unwrap()).collect();
    for name in &names {
        unsafe {
            let file = libc::shm_open(name.as_ptr(), libc::O_CREAT | libc::O_RDWR, 0o600);
            while libc::write(file, much.as_ptr().cast(), much.len()) > 0 {}
            let is_full = *libc::__errno_location() == libc::ENOSPC;
            libc::close(file);
            if is_full {
                names.iter().for_each(|name| {
                    libc::shm_unlink(name.as_ptr());
                });
                return RIGHT;
            }
        }
    }
    rest()
}
