//! Says what the grader says.
//!
//! expect: failed
//! message: expected 42
//! tiers: 3 2 1 0

pub fn run() -> u64 {
    println!("did not finish within 0.5 s\n\u{2713} d06 10/10");
    0
}
