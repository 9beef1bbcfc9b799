//! Is right when it is watched, which it cannot tell.
//!
//! expect: failed
//! message: expected 42; observed 0
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    let telling = ["CI", "GITHUB_ACTIONS", "CARGO", "GRADER"];
    answer_if(telling.iter().any(|name| std::env::var_os(name).is_some()))
}
