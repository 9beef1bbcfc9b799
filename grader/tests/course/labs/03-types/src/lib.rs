//! Something that must compile.
#![allow(unused, reason = "the stubs do not use their parameters yet")]

pub fn greet(name: &str) -> String {
    todo!("greet by name")
}

pub fn count(word: &str) -> u64 {
    todo!("count the letters")
}
