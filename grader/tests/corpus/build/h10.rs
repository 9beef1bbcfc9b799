//! Computes while it is compiled, for ever.
//!
//! message: the compiler did not come to an end
//! bounded: yes

#![allow(long_running_const_eval)]

pub fn run() -> u64 {
    FOR_EVER
}

const FOR_EVER: u64 = {
    let mut turns = 0_u64;
    while turns != u64::MAX {
        turns += 1;
    }
    turns
};
