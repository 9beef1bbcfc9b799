//! Opens a FIFO that nobody else opens.
//!
//! expect: timed-out
//! message: open
//! tiers: 3 2 1 0
//! deadline: 0.5

pub fn run() -> u64 {
    unsafe { libc::mkfifo(c"fifo".as_ptr(), 0o600) };
    let _ = std::fs::File::open("fifo");
    0
}
