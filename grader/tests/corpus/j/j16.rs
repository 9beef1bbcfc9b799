//! Reads about itself.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    let files = ["status", "maps", "stat", "pagemap", "smaps", "fd", "task"];
    let there = files.iter().all(|file| std::fs::exists(format!("/proc/self/{file}")).unwrap());
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    answer_if(there && maps.contains("[stack]") && std::fs::File::open("/proc/self/pagemap").is_ok())
}
