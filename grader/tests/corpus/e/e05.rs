//! Recurs without end.
//!
//! expect: crashed
//! message: killed by SIGABRT (abort: a stack overflow
//! tiers: 3 2 1 0

#![allow(unconditional_recursion)]

pub fn run() -> u64 {
    deeper(1)
}

fn deeper(number: u64) -> u64 {
    let here = std::hint::black_box([number; 64]);
    deeper(number.wrapping_add(here[7])).wrapping_add(here[3])
}
