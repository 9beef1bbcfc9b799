//! Something that does not compile.

pub fn greet(name: &str) -> String {
    "good morning, " + name
}

pub fn count(word: &str) -> u64 {
    word.len()
}
