//! A mutex that sleeps: futex(2), and what is built on it.
//!
//! Read `README.md` beside this directory first. Replace every `todo!("…")`; keep names and signatures.
//! You may add private functions, fields and modules.
//!
//! The rules of this lab:
//!
//! - The system call is yours: `libc::syscall(libc::SYS_futex, …)`. Nothing from `std::sync` but
//!   `std::sync::atomic`, and nothing from the `pthread` family.
//! - Every lock is a few plain words and holds no pointer that another process would follow: the checks put it
//!   into memory that several processes share. All bytes zero is a free lock that nobody has used yet.
//! - Which numbers stand in the words is your affair. Only what the locks do is checked.
//! - The parts are graded one by one. Parts 3 and 4 need the mutex of part 2; a later part may call your own
//!   functions from an earlier one, or not.

#![allow(unused, reason = "the stubs do not use their parameters yet")]

use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

// ---------------------------------------------------------------- Part 1: the system call

/// Why [`futex_wait`] returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// The caller slept, and the kernel let it go on: a [`futex_wake`], or for no reason at all (futex(2) allows
    /// this). It says nothing about the word.
    Woken,
    /// The word was not as expected, so the caller did not sleep (`EAGAIN`).
    ValueChanged,
    /// A signal handler ran (`EINTR`).
    Interrupted,
    /// The time was over (`ETIMEDOUT`).
    TimedOut,
}

/// Sleeps for as long as nobody wakes the caller, if `word` is `expected`; the kernel looks at the word and puts the
/// caller to sleep as one step. At most `timeout` (measured on the monotonic clock); `None` and times too long for a
/// `timespec` mean for ever.
///
/// The call is `FUTEX_WAIT` of futex(2). The word may lie in memory that processes share, and whoever calls
/// [`futex_wake`] may have it mapped at another address: so without `FUTEX_PRIVATE_FLAG`.
///
/// Returns; never retries and never panics over one of the four outcomes.
pub fn futex_wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) -> Wait {
    todo!("make the FUTEX_WAIT call and tell its four outcomes apart by errno")
}

/// Wakes as many as `count` of those who sleep on `word`, in this process and in others, and returns how many it was.
/// `u32::MAX` means all. `count` is not 0.
///
/// The call is `FUTEX_WAKE` of futex(2). The kernel takes the count as a signed `int`.
pub fn futex_wake(word: &AtomicU32, count: u32) -> u32 {
    todo!("make the FUTEX_WAKE call and return how many were woken")
}

// ---------------------------------------------------------------- Parts 2 and 4: the mutex

/// A mutex of a few words that makes no system call as long as nobody has to wait.
///
/// Works between threads and between processes that have it mapped, wherever they have it mapped.
/// All bytes zero is a free mutex.
#[derive(Default)]
#[repr(C)]
pub struct FutexMutex {
    state: AtomicU32,
}

impl FutexMutex {
    /// A free mutex: all bytes zero.
    pub const fn new() -> Self {
        Self { state: AtomicU32::new(0) }
    }

    /// Waits until the mutex is free and takes it. When this returns, the caller is the only holder, and it sees all
    /// that earlier holders wrote.
    ///
    /// On a free mutex: no system call. On a held one: the caller sleeps in the kernel and uses no processor time
    /// (trying a few times before that is fine). It may be woken for no reason, or by a signal: then it goes on waiting.
    pub fn lock(&self) {
        todo!("take the mutex if it is free; otherwise say in the word that somebody waits, and sleep")
    }

    /// Gives the mutex back. Only the holder calls this.
    ///
    /// Wakes one of those who sleep, if anybody does, and never more than one. If nobody has waited since the last
    /// time: no system call.
    pub fn unlock(&self) {
        todo!("mark the mutex free, then wake one sleeper if there may be one")
    }

    /// Part 4. Takes the mutex if it is free. True if the caller now holds it. Never waits; a refused attempt
    /// changes nothing for anybody.
    pub fn try_lock(&self) -> bool {
        todo!("one attempt; say whether it succeeded")
    }

    /// Part 4. As [`lock`](Self::lock), but gives up at `deadline`. True if the caller now holds the mutex.
    ///
    /// - A free mutex is taken even when the deadline has passed.
    /// - A wake-up that was not a turn does not extend the time.
    /// - Whoever gives up leaves no trace: a wake-up that was meant for it reaches another waiter, and once the mutex
    ///   has been given back, `lock` and `unlock` are without system calls again.
    pub fn lock_until(&self, deadline: Instant) -> bool {
        todo!("as `lock`, but sleep only for the time that remains, and say no when none does")
    }
}

// ---------------------------------------------------------------- Part 3: between processes

/// Types for which any bytes that are all zero are a value, and which mean the same in every process.
///
/// # Safety
/// The type holds no pointer, reference, descriptor or anything else that belongs to one process, and zero bytes are
/// a valid value of it.
pub unsafe trait Plain: Copy {}

// SAFETY: numbers are numbers everywhere, and 0 is one.
unsafe impl Plain for u32 {}
// SAFETY: as above.
unsafe impl Plain for u64 {}
// SAFETY: as above, for each of them.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

/// What stands at the beginning of the file: the mutex, and the value that it protects.
#[repr(C)]
struct Region<T> {
    mutex: FutexMutex,
    value: UnsafeCell<T>,
}

/// A value in a file's pages, under a mutex that is there as well: whoever maps the same file shares both.
///
/// The file may be a memfd, a POSIX shared memory object or a file on a disk. Dropped: the mapping is removed.
pub struct SharedValue<T: Plain> {
    region: NonNull<Region<T>>,
}

// SAFETY: yours to make true: the value is reached under the mutex only.
unsafe impl<T: Plain + Send> Send for SharedValue<T> {}
// SAFETY: as above.
unsafe impl<T: Plain + Send> Sync for SharedValue<T> {}

impl<T: Plain> SharedValue<T> {
    /// Maps the file (`MAP_SHARED`). A file that is too short is made longer, and the new bytes are zero; so the first
    /// one finds a free mutex and a value of zeros, and all later ones find what is there. No matter how many do this
    /// at the same time, nothing that is there is ever overwritten.
    ///
    /// The descriptor is needed for this call only.
    ///
    /// # Errors
    /// The errno of the call that failed, such as `EACCES` for a descriptor that is not open for reading and writing.
    pub fn attach(file: BorrowedFd<'_>) -> nix::Result<Self> {
        todo!("make the file long enough (fstat, ftruncate), map it shared (mmap), and keep the address")
    }

    /// Waits for the value and takes it. It is given back when the guard is dropped, also by a panic.
    pub fn lock(&self) -> SharedGuard<'_, T> {
        todo!("lock the mutex in the mapping; return the guard")
    }
}

impl<T: Plain> Drop for SharedValue<T> {
    fn drop(&mut self) {
        todo!("remove the mapping (munmap)")
    }
}

/// Access to the value of a [`SharedValue`], for as long as the guard lives.
#[must_use = "the mutex is given back when the guard is dropped"]
pub struct SharedGuard<'a, T: Plain> {
    value: &'a SharedValue<T>,
    /// A guard belongs to the thread that locked.
    not_send: PhantomData<*const ()>,
}

impl<T: Plain> Deref for SharedGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        todo!("the value in the mapping")
    }
}

impl<T: Plain> DerefMut for SharedGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        todo!("the value in the mapping")
    }
}

impl<T: Plain> Drop for SharedGuard<'_, T> {
    fn drop(&mut self) {
        todo!("give the mutex back")
    }
}

// ---------------------------------------------------------------- Part 5: ownership, and a little patience

/// A mistake in the use of an [`OwnedMutex`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnerError {
    /// The caller holds the mutex already, and would wait for itself (`EDEADLK` in POSIX).
    AlreadyOwner,
    /// The caller does not hold the mutex (`EPERM` in POSIX).
    NotOwner,
}

/// A mutex that knows its owner, a thread, and tries for a moment before it sleeps.
///
/// As [`FutexMutex`], works between processes, and all bytes zero is a free mutex. It may make system calls at any time,
/// for instance to ask who the caller is.
#[derive(Default)]
#[repr(C)]
pub struct OwnedMutex {
    word: AtomicU32,
}

impl OwnedMutex {
    /// A free mutex: all bytes zero.
    pub const fn new() -> Self {
        Self { word: AtomicU32::new(0) }
    }

    /// Waits until the mutex is free and takes it.
    ///
    /// Whoever finds it held by somebody else looks again a number of times, at least 10 and at most 200, with
    /// [`std::hint::spin_loop`] before each look, and only then sleeps in the kernel.
    ///
    /// The owner is a thread, and different processes have different threads. Ask the kernel each time (gettid(2)):
    /// neither `std::thread::current().id()` nor `pthread_self` tells threads of different processes apart, and
    /// a number kept in a variable is wrong after `fork`.
    ///
    /// # Errors
    /// [`OwnerError::AlreadyOwner`], at once, and the caller still holds it.
    pub fn lock(&self) -> Result<(), OwnerError> {
        todo!("take the mutex with your thread id; if somebody else has it, spin for a while, then sleep")
    }

    /// Gives the mutex back and wakes one of those who sleep.
    ///
    /// # Errors
    /// [`OwnerError::NotOwner`] if the mutex is free or somebody else's; then nothing changes.
    pub fn unlock(&self) -> Result<(), OwnerError> {
        todo!("give the mutex back if the caller is its owner")
    }
}

// ---------------------------------------------------------------- Part 6: the owner dies

/// How [`RobustMutex::lock`] got the mutex. The caller holds it in both cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locked {
    /// The holder before gave it back.
    Clean,
    /// The holder before died before it had given it back: what the mutex protects may be half changed.
    OwnerDied,
}

/// A mutex between processes that survives the death of its owner, even by SIGKILL.
///
/// All bytes zero is a free mutex. It may make system calls at any time.
///
/// There are two ways. Either the thread's id is in the word and whoever waits makes sure from time to time that the
/// owner is alive; mind that a dead owner whose parent has not waited for it still has an entry in the process table,
/// and that a thread id is used again for somebody else. Or the kernel does it: each thread tells it by set_robust_list(2) which
/// mutexes it holds, and the kernel marks them when the thread ends (`Documentation/locking/robust-futexes.rst`, and
/// `ListHead` below). The handout compares the two.
#[derive(Default)]
#[repr(C)]
pub struct RobustMutex {
    word: AtomicU32,
    /// For the second way: this mutex's place in its owner's list.
    link: Link,
}

/// A place in a list of held mutexes, as the kernel wants it: the address of the next one. The last one has the address
/// of the [`ListHead`].
#[derive(Default)]
#[repr(C)]
struct Link {
    next: UnsafeCell<usize>,
}

/// What set_robust_list(2) is given the address of, and `size_of::<ListHead>()`. One for each thread.
#[repr(C)]
struct ListHead {
    /// The first held mutex's [`Link`], or this very field when there is none.
    first: Link,
    /// From a mutex's `Link` to its word, in bytes.
    futex_offset: libc::c_long,
    /// The `Link` of the mutex that the thread is about to take or to give back; 0 if none.
    pending: UnsafeCell<usize>,
}

// SAFETY: yours to make true: only the owner touches `link`.
unsafe impl Sync for RobustMutex {}

impl RobustMutex {
    /// A free mutex: all bytes zero.
    pub const fn new() -> Self {
        Self { word: AtomicU32::new(0), link: Link { next: UnsafeCell::new(0) } }
    }

    /// Waits until the mutex is free, or its owner is dead, and takes it. Whoever waits sleeps.
    ///
    /// One locker is told of each death, the next one. This holds wherever the owner was: in the critical section,
    /// or somewhere inside `lock` or `unlock`; in the latter case, if nothing was left undone, `Clean` is right as well.
    /// Whoever sleeps while the owner dies gets the mutex within half a second.
    pub fn lock(&self) -> Locked {
        todo!("take the mutex, in such a way that your death at any instruction is noticed")
    }

    /// Gives the mutex back and wakes one of those who wait. Only the holder calls this.
    pub fn unlock(&self) {
        todo!("give the mutex back, in such a way that your death at any instruction is noticed")
    }
}
