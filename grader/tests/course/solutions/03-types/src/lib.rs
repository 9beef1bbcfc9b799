//! Something that must compile.

pub fn greet(name: &str) -> String {
    format!("good morning, {name}")
}

pub fn count(word: &str) -> u64 {
    word.chars().count() as u64
}
