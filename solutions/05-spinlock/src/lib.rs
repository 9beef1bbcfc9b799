//! Atomic instructions and spinlocks, from the instruction up.
//!
//! Every lock is a few words of memory that may lie in a mapping shared by several processes.
//! Nothing here uses `core::sync::atomic`: the atomic instructions are written by hand.

#[cfg(not(target_arch = "x86_64"))]
compile_error!("this lab is about x86-64 instructions: it needs an x86-64 machine");

use core::arch::asm;
use core::cell::UnsafeCell;
use core::hint::spin_loop;
use core::ptr;

// ---------------------------------------------------------------- Part 1: atomic instructions

/// Stores `new` at `address` and returns the value that was there, as one step (`xchg`).
///
/// # Safety
/// `address` is aligned to 4 bytes and valid for reads and writes for the whole call.
pub unsafe fn atomic_swap(address: *mut u32, new: u32) -> u32 {
    let mut value = new;
    // No `nomem`: the compiler must neither cache memory across this instruction nor move accesses over it.
    // SAFETY: the caller vouches for `address`; `xchg` with memory is locked even without the prefix.
    unsafe {
        asm!("xchg [{address}], {value:e}", address = in(reg) address, value = inout(reg) value,
            options(nostack, preserves_flags));
    }
    value
}

/// If `*address` equals `expected`, stores `new` there; returns what was there in any case
/// (`lock cmpxchg`). The swap happened exactly when the result equals `expected`.
///
/// # Safety
/// `address` is aligned to 4 bytes and valid for reads and writes for the whole call.
pub unsafe fn compare_and_swap(address: *mut u32, expected: u32, new: u32) -> u32 {
    let mut old = expected;
    // SAFETY: the caller vouches for `address`. `cmpxchg` compares with eax and leaves the old value there.
    unsafe {
        asm!("lock cmpxchg [{address}], {new:e}", address = in(reg) address, new = in(reg) new,
            inout("eax") old, options(nostack));
    }
    old
}

/// Adds `amount` to `*address`, wrapping, and returns the value before the addition (`lock xadd`).
///
/// # Safety
/// `address` is aligned to 4 bytes and valid for reads and writes for the whole call.
pub unsafe fn fetch_and_add(address: *mut u32, amount: u32) -> u32 {
    let mut value = amount;
    // SAFETY: the caller vouches for `address`. `xadd` leaves the old value in the register.
    unsafe {
        asm!("lock xadd [{address}], {value:e}", address = in(reg) address, value = inout(reg) value,
            options(nostack));
    }
    value
}

// ---------------------------------------------------------------- The locks have this in common

/// What every lock of this lab can do; [`Guard`] works with any of them.
pub trait RawLock {
    /// Waits until the lock is free and takes it.
    fn lock(&self);

    /// Takes the lock if it is free. True if the caller now holds it. Never waits.
    fn try_lock(&self) -> bool;

    /// Gives the lock back. Only the holder calls this.
    fn unlock(&self);
}

/// Writes `value` so that no access of the critical section can end up after it.
///
/// On x86-64 a plain store is a release: the processor keeps stores behind all earlier loads and
/// stores. What is left to stop is the compiler, and an `asm!` without `nomem` does that.
///
/// # Safety
/// `address` is aligned and valid for writes.
unsafe fn store_release(address: *mut u32, value: u32) {
    // SAFETY: the caller vouches for `address`.
    unsafe {
        asm!("mov [{address}], {value:e}", address = in(reg) address, value = in(reg) value,
            options(nostack, preserves_flags));
    }
}

// ---------------------------------------------------------------- Part 2: test-and-set

/// A test-and-set lock: one word, 0 free and 1 taken.
#[repr(C)]
pub struct SpinLock {
    word: UnsafeCell<u32>,
}

// SAFETY: the word is changed by atomic instructions, and by the holder alone in `unlock`.
unsafe impl Sync for SpinLock {}

impl SpinLock {
    /// A free lock.
    pub const fn new() -> Self {
        Self { word: UnsafeCell::new(0) }
    }

    /// Waits until the lock is free and takes it: swap in 1 until a 0 comes out.
    pub fn lock(&self) {
        while !self.try_lock() {
            spin_loop();
        }
    }

    /// Takes the lock if it is free. True if the caller now holds it. Never waits.
    pub fn try_lock(&self) -> bool {
        // SAFETY: the word lives as long as `self` and is aligned.
        unsafe { atomic_swap(self.word.get(), 1) == 0 }
    }

    /// Gives the lock back. Only the holder calls this.
    pub fn unlock(&self) {
        // SAFETY: as above.
        unsafe { store_release(self.word.get(), 0) }
    }
}

// ---------------------------------------------------------------- Part 3: test, then test-and-set

/// A test-and-test-and-set lock: while it is taken, waiters only read.
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

    /// Waits until the lock is free and takes it. While it is taken the waiter reads and pauses.
    pub fn lock(&self) {
        while !self.try_lock() {
            // SAFETY: as above. Volatile: another process changes the word behind the compiler's back.
            while unsafe { ptr::read_volatile(self.word.get()) } != 0 {
                spin_loop();
            }
        }
    }

    /// Takes the lock if it is free. True if the caller now holds it. Never waits.
    pub fn try_lock(&self) -> bool {
        // SAFETY: as above.
        unsafe { atomic_swap(self.word.get(), 1) == 0 }
    }

    /// Gives the lock back. Only the holder calls this.
    pub fn unlock(&self) {
        // SAFETY: as above.
        unsafe { store_release(self.word.get(), 0) }
    }
}

// ---------------------------------------------------------------- Part 4: tickets

/// A ticket lock: first come, first served.
///
/// The lock is free when both words are equal, and its holder is whoever drew `now_serving`.
#[repr(C)]
pub struct TicketLock {
    next_ticket: UnsafeCell<u32>,
    now_serving: UnsafeCell<u32>,
}

// SAFETY: tickets are drawn atomically; `now_serving` is written by the holder alone.
unsafe impl Sync for TicketLock {}

impl TicketLock {
    /// A free lock.
    pub const fn new() -> Self {
        Self { next_ticket: UnsafeCell::new(0), now_serving: UnsafeCell::new(0) }
    }

    /// Draws a ticket and waits for its number to come up.
    pub fn lock(&self) {
        // SAFETY: as above.
        let ticket = unsafe { fetch_and_add(self.next_ticket.get(), 1) };
        // SAFETY: as above.
        while unsafe { ptr::read_volatile(self.now_serving.get()) } != ticket {
            spin_loop();
        }
    }

    /// Calls the next number. Only the holder calls this.
    pub fn unlock(&self) {
        // SAFETY: as above. Nobody but the holder writes this word, so reading and writing may be two steps.
        unsafe {
            let mine = ptr::read_volatile(self.now_serving.get());
            store_release(self.now_serving.get(), mine.wrapping_add(1));
        }
    }
}

// ---------------------------------------------------------------- Part 5: the guard

/// Holds a lock as long as it lives.
#[must_use = "the lock is given back when the guard is dropped"]
pub struct Guard<'a, L: RawLock> {
    lock: &'a L,
}

impl<'a, L: RawLock> Guard<'a, L> {
    /// Takes `lock`, waiting for it.
    pub fn new(lock: &'a L) -> Self {
        lock.lock();
        Self { lock }
    }

    /// Takes `lock` if it is free.
    pub fn try_new(lock: &'a L) -> Option<Self> {
        // Not `then_some`: that would build a guard first, and drop it when the lock is refused.
        lock.try_lock().then(|| Self { lock })
    }

    /// Gives the lock back before the end of the scope.
    pub fn unlock(self) {
        // Dropping `self` does it.
    }
}

impl<L: RawLock> Drop for Guard<'_, L> {
    fn drop(&mut self) {
        self.lock.unlock();
    }
}

/// Runs `section` with `lock` held and returns what it returns. The lock is given back in any case.
pub fn with_lock<L: RawLock, R>(lock: &L, section: impl FnOnce() -> R) -> R {
    let _guard = Guard::new(lock);
    section()
}

// ---------------------------------------------------------------- Given

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
