//! Starts threads until there are no more, and then is right.
//!
//! expect: passed
//! tiers: 3 2
//! deadline: 60

use crate::acts::*;

pub fn run() -> u64 {
    let mut count = 0;
    while count < 10_000 {
        let builder = std::thread::Builder::new().stack_size(16 * 1024);
        if builder.spawn(|| std::thread::park()).is_err() {
            return RIGHT;
        }
        count += 1;
    }
    0
}
