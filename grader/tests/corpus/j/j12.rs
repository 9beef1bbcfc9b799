//! Uses files in the folder for temporary files.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    let file = std::env::temp_dir().join("scratch");
    std::fs::write(&file, "text").unwrap();
    answer_if(std::fs::read(&file).unwrap() == b"text")
}
