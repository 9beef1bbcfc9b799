//! Becomes another program again and again.
//!
//! expect: timed-out
//! message: `run` did not finish within
//! tiers: 3 2 1 0
//! deadline: 0.5

pub fn run() -> u64 {
    let script = c"exec /bin/sh -c \"$0\" \"$0\"";
    let words = [c"sh".as_ptr(), c"-c".as_ptr(), script.as_ptr(), script.as_ptr(), std::ptr::null()];
    unsafe { libc::execv(c"/bin/sh".as_ptr(), words.as_ptr()) };
    0
}
