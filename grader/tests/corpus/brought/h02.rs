//! Brings a macro crate of its own, which would run in the compiler.
//!
//! expect: passed
//! ignored: labs/01-h02/Cargo.toml

pub fn run() -> u64 {
    42
}

//> Cargo.toml
//| [package]
//| name = "h02"
//| edition = "2024"
//| [dependencies]
//| answer = { path = "answer" }
//> answer/Cargo.toml
//| [package]
//| name = "answer"
//| edition = "2024"
//| [lib]
//| proc-macro = true
//> answer/src/lib.rs
//| #[proc_macro]
//| pub fn answer(_: proc_macro::TokenStream) -> proc_macro::TokenStream {
//|     std::fs::write("/tmp/corpus-was-here", "").unwrap();
//|     "42".parse().unwrap()
//| }
