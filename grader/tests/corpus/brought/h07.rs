//! Replaces the harness by its own.
//!
//! expect: passed
//! ignored: Cargo.toml labs/01-h07/Cargo.toml

pub fn run() -> u64 {
    42
}

//> /Cargo.toml
//| [workspace]
//| members = ["labs/*"]
//| [patch.crates-io]
//| libc = { git = "https://example.invalid/libc" }
//> Cargo.toml
//| [package]
//| name = "h07"
//| edition = "2024"
//| [dependencies]
//| harness = { git = "https://example.invalid/harness" }
