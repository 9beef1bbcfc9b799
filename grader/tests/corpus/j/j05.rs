//! Uses threads inside.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    let threads: Vec<_> = (0..32).map(|number| std::thread::spawn(move || number)).collect();
    let sum: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    answer_if(sum == 496)
}
