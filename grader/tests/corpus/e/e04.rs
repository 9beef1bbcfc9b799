//! Fills its directory, and is right.
//!
//! expect: passed
//! tiers: 3 2
//! deadline: 60

use crate::acts::*;

pub fn run() -> u64 {
    use std::io::Write;
    let much = vec![b'x'; 1 << 20];
    for number in 0..8 {
        let mut file = std::fs::File::create(number.to_string()).unwrap();
        while file.write_all(&much).is_ok() {}
    }
    let size = |number: i32| std::fs::metadata(number.to_string()).unwrap().len();
    answer_if((0..8).map(size).sum::<u64>() <= 512 << 20)
}
