//! Does not compile.
//!
//! message: cannot find value `answer`

pub fn run() -> u64 {
    answer
}
