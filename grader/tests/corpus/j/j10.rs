//! Runs other programs.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    let said = std::process::Command::new("sh").args(["-c", "echo yes | cat"]).output().unwrap();
    answer_if(said.stdout == b"yes\n")
}
