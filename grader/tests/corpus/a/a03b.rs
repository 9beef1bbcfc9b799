//! Two threads each hold a mutex that the other one wants.
//!
//! expect: timed-out
//! message: futex
//! tiers: 3 2 1 0
//! deadline: 0.5

use std::sync::{Barrier, Mutex};

static MUTEXES: [Mutex<()>; 2] = [Mutex::new(()), Mutex::new(())];

pub fn run() -> u64 {
    let both_hold_one = Barrier::new(2);
    let lock_both = |first: usize| {
        let _one = MUTEXES[first].lock().unwrap();
        both_hold_one.wait();
        let _other = MUTEXES[1 - first].lock().unwrap();
    };
    std::thread::scope(|scope| {
        scope.spawn(|| lock_both(0));
        scope.spawn(|| lock_both(1));
    });
    0
}
