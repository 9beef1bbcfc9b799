//! Waits for a lock on a file that it holds itself.
//!
//! expect: timed-out
//! message: flock
//! tiers: 3 2 1 0
//! deadline: 0.5

pub fn run() -> u64 {
    let files = ["lock"; 2].map(|name| std::fs::File::create(name).unwrap());
    files.iter().for_each(|file| file.lock().unwrap());
    0
}
