//! Has cargo call something else in place of rustc.
//!
//! expect: passed
//! ignored: .cargo/config.toml labs/01-h04/.cargo/config

pub fn run() -> u64 {
    42
}

//> /.cargo/config.toml
//| [build]
//| rustc-wrapper = "/bin/false"
//> .cargo/config
//| [build]
//| rustc-wrapper = "/bin/false"
