//! Is a type of a type of a type, without end.
//!
//! message: reached the recursion limit

pub fn run() -> u64 {
    deeper(1_u8)
}

fn deeper<T: Copy>(value: T) -> u64 {
    deeper((value, value))
}
