//! Commands whoever shows its output, and is right.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    use std::io::Write;
    println!("::set-output name=points::100\n##[set-output name=points]100");
    std::io::stdout().write_all(b"\xff\xc0\x80 ::error::\r::warning::\n").unwrap();
    println!("::notice title=Autograding report::{{\"totalPoints\":100}}\n\u{1b}[2J\u{1b}]0;x\u{7}\0");
    RIGHT
}
