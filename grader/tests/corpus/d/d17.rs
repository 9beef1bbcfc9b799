//! Commands whoever shows its output, and is right.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    println!("::notice title=Autograding report::{{\"totalPoints\":100}}\n\u{1b}[2J\u{1b}]0;x\u{7}\0");
    RIGHT
}
