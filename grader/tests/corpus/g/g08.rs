//! Sets the clock, which does not work, and looks for another time in its environment, which is not there.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    let past = libc::timespec { tv_sec: 1, tv_nsec: 0 };
    let refused = unsafe { libc::clock_settime(libc::CLOCK_REALTIME, &past) } == -1;
    let is_told = ["LD_PRELOAD", "FAKETIME"].iter().any(|name| std::env::var_os(name).is_some());
    answer_if(refused && !is_told)
}
