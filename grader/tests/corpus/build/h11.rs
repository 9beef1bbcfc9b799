//! Doubles itself while it is compiled.
//!
//! message: the compiler did not come to an end
//! bounded: yes

macro_rules! doubled {
    ($($all:tt)*) => { doubled!($($all)* $($all)*) };
}

pub fn run() -> u64 {
    doubled!(1 +)
}
