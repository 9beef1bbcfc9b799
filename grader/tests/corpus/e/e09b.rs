//! Makes a folder in a folder in a folder, deeper than a path can be long.
//!
//! expect: crashed
//! message: folders too deep to look into
//! tiers: 3 2 1 0
//! deadline: 2

use crate::acts::*;

pub fn run() -> u64 {
    let name = std::ffi::CString::new("f".repeat(100)).unwrap();
    for _ in 0..4096 {
        unsafe {
            libc::mkdir(name.as_ptr(), 0o700);
            libc::chdir(name.as_ptr());
        }
    }
    rest()
}
