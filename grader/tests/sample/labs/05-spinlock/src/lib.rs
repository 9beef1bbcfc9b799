//! Sample submission: a student's half-finished lab 05. Some of it is right, some is wrong, some is not begun.
//!
//! - part 1: `fetch_and_add` forgets the `lock` prefix
//! - part 2: `unlock` has 0 and 1 the wrong way round, so the next `lock` spins for ever
//! - part 3: looks and takes in two steps
//! - part 4: not begun
//! - part 5: right, but for `try_new`

use core::arch::asm;
use core::cell::UnsafeCell;

/// # Safety
/// As the handout says.
pub unsafe fn atomic_swap(address: *mut u32, mut new: u32) -> u32 {
    // SAFETY: the caller promises a good address.
    unsafe { asm!("xchg dword ptr [{0}], {1:e}", in(reg) address, inout(reg) new) };
    new
}

/// # Safety
/// As the handout says.
pub unsafe fn compare_and_swap(address: *mut u32, expected: u32, new: u32) -> u32 {
    let was: u32;
    // SAFETY: the caller promises a good address.
    unsafe {
        asm!("lock cmpxchg dword ptr [{0}], {1:e}", in(reg) address, in(reg) new, inout("eax") expected => was);
    }
    was
}

/// # Safety
/// As the handout says.
pub unsafe fn fetch_and_add(address: *mut u32, mut amount: u32) -> u32 {
    // SAFETY: the caller promises a good address.
    unsafe { asm!("xadd dword ptr [{0}], {1:e}", in(reg) address, inout(reg) amount) };
    amount
}

pub trait RawLock {
    fn lock(&self);
    fn try_lock(&self) -> bool;
    fn unlock(&self);
}

#[repr(C)]
pub struct SpinLock {
    word: UnsafeCell<u32>,
}

// SAFETY: changed by atomic instructions.
unsafe impl Sync for SpinLock {}

impl SpinLock {
    pub const fn new() -> Self {
        Self { word: UnsafeCell::new(0) }
    }

    pub fn lock(&self) {
        while !self.try_lock() {
            core::hint::spin_loop();
        }
    }

    pub fn try_lock(&self) -> bool {
        // SAFETY: the word is there.
        unsafe { atomic_swap(self.word.get(), 1) == 0 }
    }

    pub fn unlock(&self) {
        // SAFETY: the word is there.
        unsafe { compare_and_swap(self.word.get(), 0, 1) };
    }
}

#[repr(C)]
pub struct TtasLock {
    word: UnsafeCell<u32>,
}

// SAFETY: changed by atomic instructions.
unsafe impl Sync for TtasLock {}

impl TtasLock {
    pub const fn new() -> Self {
        Self { word: UnsafeCell::new(0) }
    }

    pub fn lock(&self) {
        loop {
            // SAFETY: the word is there.
            while unsafe { self.word.get().read_volatile() } != 0 {
                core::hint::spin_loop();
            }
            if self.try_lock() {
                return;
            }
        }
    }

    pub fn try_lock(&self) -> bool {
        // SAFETY: the word is there.
        unsafe {
            if self.word.get().read_volatile() == 0 {
                self.word.get().write_volatile(1);
                true
            } else {
                false
            }
        }
    }

    pub fn unlock(&self) {
        // SAFETY: the word is there.
        unsafe { self.word.get().write_volatile(0) };
    }
}

#[repr(C)]
pub struct TicketLock {
    next_ticket: UnsafeCell<u32>,
    now_serving: UnsafeCell<u32>,
}

// SAFETY: not begun.
unsafe impl Sync for TicketLock {}

impl TicketLock {
    pub const fn new() -> Self {
        Self { next_ticket: UnsafeCell::new(0), now_serving: UnsafeCell::new(0) }
    }

    pub fn lock(&self) {
        todo!("draw a ticket in one atomic step, then read until it is called")
    }

    pub fn unlock(&self) {
        todo!("let the next ticket in")
    }
}

pub struct Guard<'a, L: RawLock> {
    lock: &'a L,
}

impl<'a, L: RawLock> Guard<'a, L> {
    pub fn new(lock: &'a L) -> Self {
        lock.lock();
        Guard { lock }
    }

    pub fn try_new(lock: &'a L) -> Option<Self> {
        let guard = Guard { lock };
        if lock.try_lock() { Some(guard) } else { None }
    }

    pub fn unlock(self) {}
}

impl<L: RawLock> Drop for Guard<'_, L> {
    fn drop(&mut self) {
        self.lock.unlock();
    }
}

pub fn with_lock<L: RawLock, R>(lock: &L, section: impl FnOnce() -> R) -> R {
    let _guard = Guard::new(lock);
    section()
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
