//! Opens a terminal of its own.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    let (mut master, mut slave) = (-1, -1);
    let none = std::ptr::null_mut();
    unsafe {
        let opened = libc::openpty(&mut master, &mut slave, none, std::ptr::null_mut(), std::ptr::null_mut());
        libc::close(master);
        libc::close(slave);
        answer_if(opened == 0)
    }
}
