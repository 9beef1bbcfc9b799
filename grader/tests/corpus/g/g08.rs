//! Sets the clock, which does not work.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    let past = libc::timespec { tv_sec: 1, tv_nsec: 0 };
    let refused = unsafe { libc::clock_settime(libc::CLOCK_REALTIME, &past) } == -1;
    answer_if(refused)
}
