//! A variant: a lock that counts down as Linux once had it, compare-and-swap everywhere else, also for drawing a ticket; unlocking by
//! locked instructions; `with_lock` catches the panic and lets it go on.

#[cfg(not(target_arch = "x86_64"))]
compile_error!("this lab is about x86-64 instructions: it needs an x86-64 machine");

use core::arch::asm;
use core::cell::UnsafeCell;
use core::hint::spin_loop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

// ---------------------------------------------------------------- Part 1: atomic instructions

/// Stores `new` at `address` and returns the value that was there, as one step.
///
/// # Safety
/// `address` is aligned to 4 bytes and valid for reads and writes for the whole call.
pub unsafe fn atomic_swap(address: *mut u32, mut new: u32) -> u32 {
    // SAFETY: the caller vouches for `address`.
    unsafe {
        asm!("xchgl {0:e}, ({1})", inout(reg) new, in(reg) address, options(att_syntax, nostack, preserves_flags))
    };
    new
}

/// If `*address` equals `expected`, stores `new` there; returns what was there in any case.
///
/// # Safety
/// `address` is aligned to 4 bytes and valid for reads and writes for the whole call.
pub unsafe fn compare_and_swap(address: *mut u32, expected: u32, new: u32) -> u32 {
    // SAFETY: the caller vouches for `address`.
    unsafe { compare_exchange(address, expected, new).unwrap_or_else(|seen| seen) }
}

/// The same with the zero flag: `Ok(expected)` if the word was replaced, else `Err` of what was there.
///
/// # Safety
/// As for [`compare_and_swap`].
unsafe fn compare_exchange(address: *mut u32, expected: u32, new: u32) -> Result<u32, u32> {
    let (seen, swapped): (u32, u8);
    // SAFETY: the caller vouches for `address`.
    unsafe {
        asm!(
            "lock cmpxchgl {new:e}, ({address})",
            "sete {swapped}",
            address = in(reg) address,
            new = in(reg) new,
            swapped = out(reg_byte) swapped,
            inout("eax") expected => seen,
            options(att_syntax, nostack),
        );
    }
    if swapped == 1 { Ok(seen) } else { Err(seen) }
}

/// Adds `amount` to `*address`, wrapping, and returns the value before the addition.
///
/// # Safety
/// `address` is aligned to 4 bytes and valid for reads and writes for the whole call.
pub unsafe fn fetch_and_add(address: *mut u32, amount: u32) -> u32 {
    let before: u32;
    // SAFETY: the caller vouches for `address`.
    unsafe {
        asm!("lock xaddl %eax, (%rdx)", in("rdx") address, inout("eax") amount => before, options(att_syntax))
    };
    before
}

/// Reads the word anew.
///
/// # Safety
/// As for [`compare_and_swap`].
unsafe fn read(address: *const u32) -> u32 {
    let value: u32;
    // SAFETY: the caller vouches for `address`.
    unsafe {
        asm!("mov {:e}, dword ptr [{}]", lateout(reg) value, in(reg) address, options(nostack, preserves_flags, readonly))
    };
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

// ---------------------------------------------------------------- Part 2: test-and-set

/// A test-and-set lock: 0 free, 1 taken; taken and given back by compare-and-swap.
#[repr(C)]
pub struct SpinLock {
    word: UnsafeCell<u32>,
}

// SAFETY: the word is changed by atomic instructions only.
unsafe impl Sync for SpinLock {}

impl SpinLock {
    /// A free lock.
    pub const fn new() -> Self {
        Self { word: UnsafeCell::new(0) }
    }

    /// Waits until the lock is free and takes it.
    pub fn lock(&self) {
        // SAFETY: the word lives as long as `self` and is aligned.
        while unsafe { compare_exchange(self.word.get(), 0, 1) }.is_err() {
            spin_loop();
        }
    }

    /// Takes the lock if it is free. True if the caller now holds it. Never waits.
    pub fn try_lock(&self) -> bool {
        // SAFETY: as above.
        unsafe { compare_exchange(self.word.get(), 0, 1) }.is_ok()
    }

    /// Gives the lock back. Only the holder calls this.
    pub fn unlock(&self) {
        // SAFETY: as above.
        unsafe { atomic_swap(self.word.get(), 0) };
    }
}

// ---------------------------------------------------------------- Part 3: test, then test-and-set

/// A lock that counts down: 1 is free, 0 is taken, less is taken and somebody has tried. Reading comes before every attempt but the first.
#[repr(C)]
pub struct TtasLock {
    word: UnsafeCell<u32>,
}

// SAFETY: as for `SpinLock`.
unsafe impl Sync for TtasLock {}

impl TtasLock {
    /// A free lock.
    pub const fn new() -> Self {
        Self { word: UnsafeCell::new(1) }
    }

    /// Waits until the lock is free and takes it: whoever makes it 0 is in.
    pub fn lock(&self) {
        // SAFETY: as above. Those who make it less than 0 change nothing: `unlock` stores a 1 over it.
        unsafe {
            asm!(
                "2: lock dec dword ptr [{word}]",
                "jns 4f",
                "3: pause",
                "cmp dword ptr [{word}], 0",
                "jle 3b",
                "jmp 2b",
                "4:",
                word = in(reg) self.word.get(),
            );
        }
    }

    /// Takes the lock if it is free. True if the caller now holds it. Never waits.
    pub fn try_lock(&self) -> bool {
        // SAFETY: as above.
        unsafe { compare_exchange(self.word.get(), 1, 0) }.is_ok()
    }

    /// Gives the lock back. Only the holder calls this.
    pub fn unlock(&self) {
        // SAFETY: as above.
        unsafe { atomic_swap(self.word.get(), 1) };
    }
}

// ---------------------------------------------------------------- Part 4: tickets

/// A ticket lock whose tickets are drawn by compare-and-swap.
#[repr(C)]
pub struct TicketLock {
    next_ticket: UnsafeCell<u32>,
    now_serving: UnsafeCell<u32>,
}

// SAFETY: both numbers are changed by atomic instructions only.
unsafe impl Sync for TicketLock {}

impl TicketLock {
    /// A free lock.
    pub const fn new() -> Self {
        Self { next_ticket: UnsafeCell::new(0), now_serving: UnsafeCell::new(0) }
    }

    /// Draws a ticket and waits for its number to come up.
    pub fn lock(&self) {
        // SAFETY: as above.
        unsafe {
            let mut ticket = read(self.next_ticket.get());
            while let Err(seen) = compare_exchange(self.next_ticket.get(), ticket, ticket.wrapping_add(1)) {
                ticket = seen;
            }
            loop {
                let before_me = ticket.wrapping_sub(read(self.now_serving.get()));
                if before_me == 0 {
                    return;
                }
                // The more there are before me, the longer it takes.
                for _ in 0..before_me.min(16) {
                    spin_loop();
                }
            }
        }
    }

    /// Calls the next number. Only the holder calls this.
    pub fn unlock(&self) {
        // SAFETY: as above.
        unsafe { fetch_and_add(self.now_serving.get(), 1) };
    }
}

// ---------------------------------------------------------------- Part 5: the guard

/// Holds a lock as long as it lives, or until it is told to give it back.
#[must_use = "the lock is given back when the guard is dropped"]
pub struct Guard<'a, L: RawLock> {
    held: Option<&'a L>,
}

impl<'a, L: RawLock> Guard<'a, L> {
    /// Takes `lock`, waiting for it.
    pub fn new(lock: &'a L) -> Self {
        lock.lock();
        Self { held: Some(lock) }
    }

    /// Takes `lock` if it is free.
    pub fn try_new(lock: &'a L) -> Option<Self> {
        // A guard that holds nothing gives nothing back.
        let guard = Self { held: lock.try_lock().then_some(lock) };
        guard.held.is_some().then_some(guard)
    }

    /// Gives the lock back before the end of the scope.
    pub fn unlock(mut self) {
        self.give_back();
    }

    fn give_back(&mut self) {
        if let Some(lock) = self.held.take() {
            lock.unlock();
        }
    }
}

impl<L: RawLock> Drop for Guard<'_, L> {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Runs `section` with `lock` held and returns what it returns. The lock is given back in any case.
pub fn with_lock<L: RawLock, R>(lock: &L, section: impl FnOnce() -> R) -> R {
    lock.lock();
    let result = catch_unwind(AssertUnwindSafe(section));
    lock.unlock();
    result.unwrap_or_else(|panic| resume_unwind(panic))
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
