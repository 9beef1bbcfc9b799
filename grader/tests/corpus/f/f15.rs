//! Leaves a file in `/dev/shm` that it has made behind a link and given other names since.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;
use std::fs;

pub fn run() -> u64 {
    let name = |word: &str| format!("/dev/shm/corpus-{word}-{}", std::process::id());
    std::os::unix::fs::symlink(name("one"), "link").unwrap();
    fs::write("link", "text").unwrap();
    fs::remove_file("link").unwrap();
    fs::rename(name("one"), name("two")).unwrap();
    fs::hard_link(name("two"), name("three")).unwrap();
    answer_if(fs::read_to_string(name("three")).unwrap() == "text")
}
