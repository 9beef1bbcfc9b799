//! Looks for the sockets of the machine's services, which are not there. In tiers 1 and 0 their names are: c10b connects.
//!
//! expect: passed
//! tiers: 3 2

use crate::acts::*;

pub fn run() -> u64 {
    use std::os::unix::fs::MetadataExt;
    // Two names for an empty folder: its own, and the one in it.
    answer_if(std::fs::metadata("/run").map_or(0, |folder| folder.nlink()) <= 2)
}
