//! Has a build script that would make every answer right.
//!
//! expect: failed
//! message: 41
//! ignored: labs/01-h01/build.rs labs/01-h01/checks.rs

pub fn run() -> u64 {
    41
}

//> build.rs
//| fn main() {
//|     std::fs::write("/tmp/corpus-was-here", "").unwrap();
//|     std::fs::write("checks.rs", "fn main() {}").unwrap();
//| }
//> checks.rs
//| fn main() {}
