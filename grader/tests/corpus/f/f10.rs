//! Leaves descriptors open.
//!
//! expect: leaked
//! message: descriptors still open
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    for _ in 0..1000 {
        std::mem::forget(std::fs::File::open("/dev/null").unwrap());
    }
    RIGHT
}
