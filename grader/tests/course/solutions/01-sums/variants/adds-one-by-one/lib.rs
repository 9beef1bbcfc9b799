//! Adds one by one, and halves by taking away.

pub fn add(a: u32, b: u32) -> u32 {
    (0..b).fold(a, |sum, _| sum + 1)
}

pub fn double(a: u32) -> u32 {
    add(a, a)
}

pub fn halve(a: u32) -> u32 {
    (0..).find(|half| a - half <= half + 1 && a - half >= *half).unwrap_or(0)
}

pub fn last(numbers: &[u32]) -> u32 {
    numbers.last().copied().unwrap_or(0)
}
