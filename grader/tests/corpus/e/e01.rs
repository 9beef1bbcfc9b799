//! Takes all memory.
//!
//! expect: crashed
//! message: more than 2 GiB of memory
//! tiers: 3 2 1 0
//! deadline: 60

pub fn run() -> u64 {
    let mut held = Vec::new();
    loop {
        held.push(vec![1_u8; 16 << 20]);
    }
}
