//! Replies twice before it is asked.
//!
//! expect: crashed
//! message: `run` broke the channel on which its answer was expected
//! tiers: 3 2 1 0
//! asked: in turn

use crate::acts::*;

pub fn run() -> u64 {
    let answer = [8_u64, RIGHT].map(u64::to_le_bytes).concat();
    write_to_sockets(&answer.repeat(2));
    RIGHT
}
