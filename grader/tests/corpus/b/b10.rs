//! Starts threads until there are no more, which wait.
//!
//! expect: crashed
//! message: or 2,048 threads
//! tiers: 3 2 1 0
//! deadline: 60

use crate::acts::*;

pub fn run() -> u64 {
    for _ in 0..10_000 {
        let builder = std::thread::Builder::new().stack_size(16 * 1024);
        if builder.spawn(std::thread::park).is_err() {
            break;
        }
    }
    rest()
}
