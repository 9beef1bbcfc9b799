//! Makes files until it may not, and is right.
//!
//! expect: passed
//! tiers: 3 2
//! deadline: 60

use crate::acts::*;

pub fn run() -> u64 {
    for number in 0..1_000_000 {
        if std::fs::File::create(number.to_string()).is_err() {
            return RIGHT;
        }
    }
    0
}
