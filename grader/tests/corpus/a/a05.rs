//! Ignores every signal and waits.
//!
//! expect: timed-out
//! message: pause
//! tiers: 3 2 1 0
//! deadline: 0.5

use crate::acts::*;

pub fn run() -> u64 {
    for signal in 1..65 {
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    rest()
}
