//! Fills its directory.
//!
//! expect: crashed
//! message: more than 512 MiB
//! tiers: 3 2 1 0
//! deadline: 60

use crate::acts::*;

pub fn run() -> u64 {
    use std::io::Write;
    let much = vec![b'x'; 1 << 20];
    for number in 0..8 {
        let mut file = std::fs::File::create(number.to_string()).unwrap();
        while file.write_all(&much).is_ok() {}
    }
    rest()
}
