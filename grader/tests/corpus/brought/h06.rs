//! Brings a compiler of its own.
//!
//! expect: passed
//! ignored: rust-toolchain.toml labs/01-h06/rust-toolchain.toml

pub fn run() -> u64 {
    42
}

//> /rust-toolchain.toml
//| [toolchain]
//| path = "toolchain"
//> rust-toolchain.toml
//| [toolchain]
//| path = "toolchain"
