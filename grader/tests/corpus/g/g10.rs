//! Reads the solution, which does not work. In tier 0 that is Landlock's doing: the user may read it.
//!
//! expect: passed
//! tiers: 3 2 1 0+landlock

use crate::acts::*;

pub fn run() -> u64 {
    let course = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../../corpus-course");
    let secret = std::fs::read(format!("{course}/solutions/01-corpus/secret"));
    answer_if(secret.is_err())
}
