//! Leaves eight processes that are always others.
//!
//! expect: leaked
//! message: processes still running
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    for _ in 0..8 {
        daemon(hop);
    }
    RIGHT
}
