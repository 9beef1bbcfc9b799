//! Has cargo run something else in place of the checks.
//!
//! expect: passed
//! ignored: .cargo/config.toml labs/01-h03/.cargo/config.toml

pub fn run() -> u64 {
    42
}

//> /.cargo/config.toml
//| [target.'cfg(all())']
//| runner = "/bin/true"
//> .cargo/config.toml
//| [target.'cfg(all())']
//| runner = "/bin/true"
