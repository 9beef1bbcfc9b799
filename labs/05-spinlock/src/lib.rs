//! Atomic instructions and spinlocks, from the instruction up.
//!
//! Read `README.md` beside this directory first. Replace every `todo!("…")`; keep names and signatures.
//! You may add private functions, fields and modules.
//!
//! The rules of this lab:
//!
//! - Write the atomic instructions yourself, with [`core::arch::asm!`]. Nothing from `core::sync`,
//!   `std::sync` or the `pthread` family.
//! - A lock is a few plain words, all zeros when free or not, and holds no pointer: the checks put it
//!   into memory that several processes share.
//! - The parts are graded one by one. A later part may call your own functions from an earlier one, or not.

#![allow(unused, reason = "the stubs do not use their parameters yet")]

#[cfg(not(target_arch = "x86_64"))]
compile_error!("this lab is about x86-64 instructions: it needs an x86-64 machine");

use core::arch::asm;
use core::cell::UnsafeCell;

// ---------------------------------------------------------------- Part 1: atomic instructions

/// Stores `new` at `address` and returns the value that was there, as one indivisible step.
///
/// The instruction is `xchg` with a memory operand (Intel SDM volume 2, XCHG). Exactly the four bytes
/// at `address` change.
///
/// ```
/// let mut word = 7;
/// // SAFETY: `word` is a live, aligned u32.
/// let old = unsafe { spinlock::atomic_swap(&mut word, 9) };
/// assert_eq!((old, word), (7, 9));
/// ```
///
/// # Safety
/// `address` is aligned to 4 bytes and valid for reads and writes for the whole call.
pub unsafe fn atomic_swap(address: *mut u32, new: u32) -> u32 {
    todo!("exchange `new` with the word at `address` in one instruction (xchg) and return the old value")
}

/// Compares the word at `address` with `expected` and, if they are equal, stores `new` there, as one
/// indivisible step. Returns the value that was there, whether or not it was replaced: the swap
/// happened exactly when the result equals `expected`.
///
/// The instruction is `lock cmpxchg` (Intel SDM volume 2, CMPXCHG). It compares with `eax` and leaves
/// the old value in `eax`.
///
/// ```
/// let mut word = 7;
/// // SAFETY: `word` is a live, aligned u32.
/// unsafe {
///     assert_eq!(spinlock::compare_and_swap(&mut word, 7, 9), 7); // was 7: swapped
///     assert_eq!(spinlock::compare_and_swap(&mut word, 7, 5), 9); // was 9: left alone
/// }
/// assert_eq!(word, 9);
/// ```
///
/// # Safety
/// `address` is aligned to 4 bytes and valid for reads and writes for the whole call.
pub unsafe fn compare_and_swap(address: *mut u32, expected: u32, new: u32) -> u32 {
    todo!("compare and swap in one locked instruction (lock cmpxchg) and return what was at `address`")
}

/// Adds `amount` to the word at `address`, wrapping at 2^32, as one indivisible step, and returns the
/// value before the addition.
///
/// The instruction is `lock xadd` (Intel SDM volume 2, XADD).
///
/// ```
/// let mut word = 7;
/// // SAFETY: `word` is a live, aligned u32.
/// let old = unsafe { spinlock::fetch_and_add(&mut word, 3) };
/// assert_eq!((old, word), (7, 10));
/// ```
///
/// # Safety
/// `address` is aligned to 4 bytes and valid for reads and writes for the whole call.
pub unsafe fn fetch_and_add(address: *mut u32, amount: u32) -> u32 {
    todo!("add `amount` in one locked instruction (lock xadd) and return the value from before")
}

// ---------------------------------------------------------------- The locks have this in common

/// What every lock of this lab can do; [`Guard`] works with any of them. Nothing to do here.
pub trait RawLock {
    /// Waits until the lock is free and takes it.
    fn lock(&self);

    /// Takes the lock if it is free. True if the caller now holds it. Never waits.
    fn try_lock(&self) -> bool;

    /// Gives the lock back. Only the holder calls this.
    fn unlock(&self);
}

// ---------------------------------------------------------------- Part 2: test-and-set

/// A test-and-set lock: one word in memory, and an atomic instruction to change it.
///
/// Several processes may have the lock mapped; nothing in it depends on an address.
#[repr(C)]
pub struct SpinLock {
    word: UnsafeCell<u32>,
}

// SAFETY: yours to make true: `lock` and `try_lock` change the word by atomic instructions only.
unsafe impl Sync for SpinLock {}

impl SpinLock {
    /// A free lock.
    pub const fn new() -> Self {
        Self { word: UnsafeCell::new(0) }
    }

    /// Waits until the lock is free and takes it. When this returns, the caller is the only holder.
    pub fn lock(&self) {
        todo!("take the lock with an atomic instruction; try again for as long as somebody else holds it")
    }

    /// Takes the lock if it is free. True if the caller now holds it, false if somebody else does.
    /// Never waits; a refused attempt leaves no trace.
    pub fn try_lock(&self) -> bool {
        todo!("one attempt with an atomic instruction; say whether it succeeded")
    }

    /// Gives the lock back. Only the holder calls this.
    ///
    /// All that the holder read and wrote under the lock happens before this.
    pub fn unlock(&self) {
        todo!("mark the lock free; the compiler must not move accesses of the critical section behind it")
    }
}

// ---------------------------------------------------------------- Part 3: test, then test-and-set

/// A test-and-test-and-set lock: as [`SpinLock`], but whoever waits only reads.
///
/// A swap wants the cache line for itself even when it changes nothing, so waiters that swap take the
/// line away from the holder and from each other. Waiters that read share it.
#[repr(C)]
pub struct TtasLock {
    word: UnsafeCell<u32>,
}

// SAFETY: as for `SpinLock`.
unsafe impl Sync for TtasLock {}

impl TtasLock {
    /// A free lock.
    pub const fn new() -> Self {
        Self { word: UnsafeCell::new(0) }
    }

    /// Waits until the lock is free and takes it.
    ///
    /// While the lock is held, the waiter executes no locked instruction (one failed attempt at the
    /// beginning is fine) and tells the processor that it is spinning by `pause`
    /// ([`core::hint::spin_loop`]).
    pub fn lock(&self) {
        todo!(
            "wait by reading, with `pause`, until the lock looks free; only then try the atomic instruction"
        )
    }

    /// Takes the lock if it is free. True if the caller now holds it. Never waits.
    pub fn try_lock(&self) -> bool {
        todo!("one attempt; say whether it succeeded")
    }

    /// Gives the lock back. Only the holder calls this.
    pub fn unlock(&self) {
        todo!("mark the lock free")
    }
}

// ---------------------------------------------------------------- Part 4: tickets

/// A ticket lock: first come, first served, so that the wait of each is bounded.
///
/// Works as the machine in a shop that hands out numbers: whoever comes draws the next number and waits
/// until it is called.
#[repr(C)]
pub struct TicketLock {
    next_ticket: UnsafeCell<u32>,
    now_serving: UnsafeCell<u32>,
}

// SAFETY: yours to make true: tickets are drawn atomically, and only the holder calls the next number.
unsafe impl Sync for TicketLock {}

impl TicketLock {
    /// A free lock.
    pub const fn new() -> Self {
        Self { next_ticket: UnsafeCell::new(0), now_serving: UnsafeCell::new(0) }
    }

    /// Draws a ticket and waits for its turn. Those who wait get in in the order in which they drew.
    ///
    /// The numbers wrap around at 2^32; that must not matter.
    pub fn lock(&self) {
        todo!("draw a ticket in one atomic step, then read until it is called")
    }

    /// Calls the next number. Only the holder calls this.
    pub fn unlock(&self) {
        todo!("let the next ticket in")
    }
}

// ---------------------------------------------------------------- Part 5: the guard

/// Holds a lock for as long as it lives, and gives it back exactly once: when it is dropped, also when
/// that happens because the critical section panics.
#[must_use = "the lock is given back when the guard is dropped"]
pub struct Guard<'a, L: RawLock> {
    lock: &'a L,
}

impl<'a, L: RawLock> Guard<'a, L> {
    /// Takes `lock`, waiting for it.
    pub fn new(lock: &'a L) -> Self {
        todo!("lock it and return the guard")
    }

    /// Takes `lock` if it is free. `None` if it is not, and then it is left alone: a lock that somebody
    /// else holds must not be given back.
    pub fn try_new(lock: &'a L) -> Option<Self> {
        todo!("try once; a guard exists only if the lock was taken")
    }

    /// Gives the lock back before the end of the scope.
    pub fn unlock(self) {
        todo!("give the lock back, once")
    }
}

impl<L: RawLock> Drop for Guard<'_, L> {
    fn drop(&mut self) {
        todo!("give the lock back")
    }
}

/// Runs `section` with `lock` held and returns what it returns. The lock is given back in any case: if
/// the section panics, the panic goes on to the caller after the lock is free.
pub fn with_lock<L: RawLock, R>(lock: &L, section: impl FnOnce() -> R) -> R {
    todo!("hold a guard while the section runs")
}

// ---------------------------------------------------------------- Given, nothing to do

impl Default for SpinLock {
    fn default() -> Self {
        Self::new()
    }
}

impl Default for TtasLock {
    fn default() -> Self {
        Self::new()
    }
}

impl Default for TicketLock {
    fn default() -> Self {
        Self::new()
    }
}

impl RawLock for SpinLock {
    fn lock(&self) {
        SpinLock::lock(self);
    }

    fn try_lock(&self) -> bool {
        SpinLock::try_lock(self)
    }

    fn unlock(&self) {
        SpinLock::unlock(self);
    }
}

impl RawLock for TtasLock {
    fn lock(&self) {
        TtasLock::lock(self);
    }

    fn try_lock(&self) -> bool {
        TtasLock::try_lock(self)
    }

    fn unlock(&self) {
        TtasLock::unlock(self);
    }
}
