//! A mutex of its own, with its waiters counted.

use std::ptr;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use nix::errno::Errno;

/// Why [`futex_wait`] returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// The caller slept and was let go on, by a wake-up call or for no reason.
    Woken,
    /// The word was not as expected.
    ValueChanged,
    /// A signal handler ran.
    Interrupted,
    /// The time was over.
    TimedOut,
}

/// Sleeps on `word` while it is `expected`, for at most `timeout`. The kernel looks at the word and puts the caller to
/// sleep as one step. Whoever was chosen by a [`futex_wake`] never returns `TimedOut`.
pub fn futex_wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) -> Wait {
    let timeout = timeout.and_then(|timeout| {
        let tv_sec = libc::time_t::try_from(timeout.as_secs()).ok()?;
        Some(libc::timespec { tv_sec, tv_nsec: timeout.subsec_nanos().into() })
    });
    match futex(word, libc::FUTEX_WAIT, expected, timeout.as_ref()) {
        Ok(_) => Wait::Woken,
        Err(Errno::EAGAIN) => Wait::ValueChanged,
        Err(Errno::EINTR) => Wait::Interrupted,
        Err(Errno::ETIMEDOUT) => Wait::TimedOut,
        Err(errno) => panic!("waiting on a word that exists: {errno}"),
    }
}

/// Wakes at most `count` sleepers; `u32::MAX` is all. Returns how many it was.
pub fn futex_wake(word: &AtomicU32, count: u32) -> u32 {
    let count = count.min(i32::MAX as u32);
    futex(word, libc::FUTEX_WAKE, count, None).unwrap_or_else(|errno| panic!("waking: {errno}"))
}

fn futex(word: &AtomicU32, operation: i32, value: u32, timeout: Option<&libc::timespec>) -> nix::Result<u32> {
    let timeout = timeout.map_or(ptr::null(), ptr::from_ref);
    // SAFETY: the word and the time outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, value, timeout) };
    Errno::result(result).map(|count| count as u32)
}

/// A mutex with a flag, and a count of those who wait.
#[derive(Default)]
#[repr(C)]
pub struct Mutex {
    held: AtomicU32,
    waiters: AtomicU32,
}

impl Mutex {
    /// A free mutex: all bytes zero.
    pub const fn new() -> Self {
        Self { held: AtomicU32::new(0), waiters: AtomicU32::new(0) }
    }

    /// Waits until the mutex is free and takes it.
    pub fn lock(&self) {
        if !self.take() {
            self.waiters.fetch_add(1, SeqCst);
            while !self.take() {
                futex_wait(&self.held, 1, None);
            }
            self.waiters.fetch_sub(1, SeqCst);
        }
    }

    fn take(&self) -> bool {
        self.held.compare_exchange(0, 1, SeqCst, SeqCst).is_ok()
    }

    /// Gives the mutex back and wakes one of those who sleep.
    pub fn unlock(&self) {
        // SeqCst, as in `lock`: either this sees the waiter in the count, or the waiter sees that the mutex is free.
        self.held.swap(0, SeqCst);
        if self.waiters.load(SeqCst) > 0 {
            futex_wake(&self.held, 1);
        }
    }
}
