//! Writes a byte now and then, for ever.
//!
//! expect: timed-out
//! message: `run` did not finish within
//! tiers: 3 2 1 0
//! deadline: 0.7

pub fn run() -> u64 {
    loop {
        print!(".");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}
