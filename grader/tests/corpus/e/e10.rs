//! Makes a file of 64 GiB, which does not work.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    let file = std::fs::File::create("large").unwrap();
    answer_if(file.set_len(64 << 30).is_err())
}
