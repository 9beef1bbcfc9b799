//! Looks for the files that a workflow reads, which are not there.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    let names = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GITHUB"));
    answer_if(names.count() == 0)
}
