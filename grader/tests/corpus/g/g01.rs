//! Writes outside, which does not work. In tier 0 that is Landlock's doing: the user may write there.
//!
//! expect: passed
//! tiers: 3 2 1 0+landlock

use crate::acts::*;

pub fn run() -> u64 {
    let home = std::env::var("HOME").unwrap_or("/root".to_owned());
    let places = [home.as_str(), "/tmp", "/var/tmp", "/etc", "/usr", env!("CARGO_MANIFEST_DIR")];
    let written = places.map(|place| std::fs::write(format!("{place}/corpus-was-here"), "g01").is_ok());
    answer_if(written == [false; 6])
}
