//! Has a script for a linker.
//!
//! expect: passed
//! ignored: labs/01-h05/.cargo/config.toml

pub fn run() -> u64 {
    42
}

//> .cargo/config.toml
//| [target.'cfg(all())']
//| linker = "./linker"
//> linker
//| #!/bin/sh
//| touch /tmp/corpus-was-here
