//! Begins an answer and rests.
//!
//! expect: timed-out
//! message: pause
//! tiers: 3 2 1 0
//! asked: in turn
//! deadline: 0.5

use crate::acts::*;

pub fn run() -> u64 {
    write_to_sockets(&[8, 0, 0]);
    rest()
}
