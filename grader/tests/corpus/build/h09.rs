//! Is made of a file of the machine's.
//!
//! message: src/lib.rs:5 is compiled from `/dev/null`

#[path = "/dev/null"]
mod other;

pub fn run() -> u64 {
    42
}
