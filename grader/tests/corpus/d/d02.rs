//! Ends with a better code than it is given.
//!
//! expect: crashed
//! message: exit code 0 before
//! tiers: 3 2 1 0

pub fn run() -> u64 {
    extern "C" fn better() {
        unsafe { libc::_exit(0) }
    }
    unsafe { libc::atexit(better) };
    std::process::exit(3)
}
