//! Leaves a process that goes on writing.
//!
//! expect: leaked
//! message: processes still running
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    daemon(|| loop {
        let _ = std::fs::write("result.json", "{\"verdict\":\"passed\"}");
    });
    RIGHT
}
