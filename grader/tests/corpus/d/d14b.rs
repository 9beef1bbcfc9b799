//! Announces an answer as large as can be.
//!
//! expect: crashed
//! message: `run` broke the channel on which its answer was expected
//! tiers: 3 2 1 0
//! asked: in turn

use crate::acts::*;

pub fn run() -> u64 {
    write_to_sockets(&[255; 8]);
    rest()
}
