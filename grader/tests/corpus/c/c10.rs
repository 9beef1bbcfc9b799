//! Looks for the sockets of the machine's services, which are not there.
//!
//! expect: passed
//! tiers: 3 2

use crate::acts::*;

pub fn run() -> u64 {
    let sockets = std::fs::read_dir("/run").map(|entries| entries.count()).unwrap_or(0);
    answer_if(sockets == 0)
}
