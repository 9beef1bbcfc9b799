//! Opens files until it may not, closes them, and is right.
//!
//! expect: passed
//! tiers: 3 2 1 0
//! deadline: 60

use crate::acts::*;

pub fn run() -> u64 {
    let mut files = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        files.push(file);
        if files.len() > 1_100_000 {
            return 0;
        }
    }
    RIGHT
}
