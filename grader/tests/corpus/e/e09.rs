//! Makes files without end.
//!
//! expect: crashed
//! message: 20,000 files
//! tiers: 3 2 1 0
//! deadline: 60

pub fn run() -> u64 {
    for number in 0..1_000_000 {
        std::fs::create_dir(number.to_string()).unwrap();
    }
    0
}
