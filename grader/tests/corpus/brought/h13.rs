//! Is 200 MB of source.
//!
//! expect: did-not-compile
//! message: src/large.rs` is larger than 1 MiB

pub fn run() -> u64 {
    42
}

//> src/large.rs of 200000000 bytes
