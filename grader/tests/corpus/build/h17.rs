//! Has an error message that turns a terminal's colours over.
//!
//! message: error: \u{9b}31mred

compile_error!("\u{9b}31mred\u{202e}\n::error::mine");

pub fn run() -> u64 {
    42
}
