//! Has a file that is another one of the machine's.
//!
//! expect: did-not-compile
//! message: src/other.rs` is a symbolic link; put the file itself there

mod other;

pub fn run() -> u64 {
    42
}

//> src/other.rs -> /etc/passwd
