//! The mutex of lab 06, to which sleepers can be moved from another word.

use std::ptr;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
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

/// Nobody holds the mutex.
const FREE: u32 = 0;
/// Somebody holds it, and nobody sleeps.
const HELD: u32 = 1;
/// Somebody holds it, and somebody may sleep.
const CONTENDED: u32 = 2;

/// A mutex that makes no system call while nobody has to wait.
#[derive(Default)]
#[repr(C)]
pub struct Mutex {
    state: AtomicU32,
}

impl Mutex {
    /// A free mutex: all bytes zero.
    pub const fn new() -> Self {
        Self { state: AtomicU32::new(FREE) }
    }

    /// Waits until the mutex is free and takes it.
    pub fn lock(&self) {
        if self.state.compare_exchange(FREE, HELD, Acquire, Relaxed).is_err() {
            self.lock_contended();
        }
    }

    /// Takes the mutex as one for which others may wait.
    pub fn lock_contended(&self) {
        while self.state.swap(CONTENDED, Acquire) != FREE {
            futex_wait(&self.state, CONTENDED, None);
        }
    }

    /// Wakes one of those who sleep on `word` and lets the others sleep on here, if `word` is `expected`.
    pub fn take_over(&self, word: &AtomicU32, expected: u32) -> bool {
        let all = i32::MAX;
        // SAFETY: both words outlive the call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_futex,
                word.as_ptr(),
                libc::FUTEX_CMP_REQUEUE,
                1,
                all as usize,
                self.state.as_ptr(),
                expected,
            )
        };
        result >= 0
    }

    /// Gives the mutex back and wakes one of those who sleep.
    pub fn unlock(&self) {
        if self.state.swap(FREE, Release) == CONTENDED {
            futex_wake(&self.state, 1);
        }
    }
}
