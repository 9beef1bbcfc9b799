//! Uses 256 MiB.
//!
//! expect: passed
//! tiers: 3 2 1 0
//! deadline: 20

use crate::acts::*;

pub fn run() -> u64 {
    let used = std::hint::black_box(vec![1_u8; 256 << 20]);
    answer_if(used.len() == 256 << 20)
}
