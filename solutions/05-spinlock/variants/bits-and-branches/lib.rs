//! A variant: the locks are bits, set by `lock bts`, whose loops and branches stand inside the `asm!`; waiters back off for longer and
//! longer; the two numbers of the ticket lock lie in one word of eight bytes, so that drawing shows both.

#[cfg(not(target_arch = "x86_64"))]
compile_error!("this lab is about x86-64 instructions: it needs an x86-64 machine");

use core::arch::asm;
use core::cell::UnsafeCell;
use core::mem;

// ---------------------------------------------------------------- Part 1: atomic instructions

/// Stores `new` at `address` and returns the value that was there, as one step.
///
/// # Safety
/// `address` is aligned to 4 bytes and valid for reads and writes for the whole call.
pub unsafe fn atomic_swap(address: *mut u32, new: u32) -> u32 {
    let old: u32;
    // SAFETY: the caller vouches for `address`.
    unsafe {
        asm!("lock xchg dword ptr [{}], {:e}", in(reg) address, inlateout(reg) new => old, options(nostack))
    };
    old
}

/// If `*address` equals `expected`, stores `new` there; returns what was there in any case.
///
/// # Safety
/// `address` is aligned to 4 bytes and valid for reads and writes for the whole call.
pub unsafe fn compare_and_swap(address: *mut u32, expected: u32, new: u32) -> u32 {
    let old: u32;
    // SAFETY: the caller vouches for `address`.
    unsafe {
        asm!("lock cmpxchg dword ptr [rdi], esi", in("rdi") address, in("esi") new, inlateout("eax") expected => old);
    }
    old
}

/// Adds `amount` to `*address`, wrapping, and returns the value before the addition.
///
/// # Safety
/// `address` is aligned to 4 bytes and valid for reads and writes for the whole call.
pub unsafe fn fetch_and_add(address: *mut u32, mut amount: u32) -> u32 {
    // SAFETY: the caller vouches for `address`.
    unsafe {
        asm!("lock; xadd dword ptr [{address}], {amount:e}", address = in(reg) address, amount = inout(reg) amount);
    }
    amount
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

/// A test-and-set lock: bit 0 is set while somebody holds it.
#[repr(C)]
pub struct SpinLock {
    word: UnsafeCell<u32>,
}

// SAFETY: the bit is changed by locked instructions only.
unsafe impl Sync for SpinLock {}

impl SpinLock {
    /// A free lock.
    pub const fn new() -> Self {
        Self { word: UnsafeCell::new(0) }
    }

    /// Waits until the lock is free and takes it.
    pub fn lock(&self) {
        // SAFETY: the word lives as long as `self`. The carry flag is the bit as it was.
        unsafe {
            asm!(
                "jmp 3f",
                "2: pause",
                "3: lock bts dword ptr [{word}], 0",
                "jc 2b",
                word = in(reg) self.word.get(),
            );
        }
    }

    /// Takes the lock if it is free. True if the caller now holds it. Never waits.
    pub fn try_lock(&self) -> bool {
        let free: u8;
        // SAFETY: as above.
        unsafe {
            asm!(
                "lock bts dword ptr [{word}], 0",
                "setnc {free}",
                word = in(reg) self.word.get(),
                free = out(reg_byte) free,
            );
        }
        free != 0
    }

    /// Gives the lock back. Only the holder calls this.
    pub fn unlock(&self) {
        // SAFETY: as above.
        unsafe { asm!("lock btr dword ptr [{}], 0", in(reg) self.word.get()) };
    }
}

// ---------------------------------------------------------------- Part 3: test, then test-and-set

/// A test-and-test-and-set lock: whoever waits reads, at longer and longer intervals.
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
    pub fn lock(&self) {
        // SAFETY: as above. From the top: read until the word is 0, with 1, 2, 4 … 64 pauses in between; then try.
        unsafe {
            asm!(
                "2: mov {pauses:e}, 1",
                "3: cmp dword ptr [{word}], 0",
                "je 6f",
                "mov {left:e}, {pauses:e}",
                "4: pause",
                "dec {left:e}",
                "jnz 4b",
                "cmp {pauses:e}, 64",
                "jae 3b",
                "add {pauses:e}, {pauses:e}",
                "jmp 3b",
                "6: lock bts dword ptr [{word}], 0",
                "jc 2b",
                word = in(reg) self.word.get(),
                pauses = out(reg) _,
                left = out(reg) _,
            );
        }
    }

    /// Takes the lock if it is free. True if the caller now holds it. Never waits.
    pub fn try_lock(&self) -> bool {
        let mut taken = 1u32;
        // SAFETY: as above. A lock that is seen to be held is not even tried.
        unsafe {
            asm!(
                "cmp dword ptr [{word}], 0",
                "jne 2f",
                "xchg dword ptr [{word}], {taken:e}",
                "2:",
                word = in(reg) self.word.get(),
                taken = inout(reg) taken,
            );
        }
        taken == 0
    }

    /// Gives the lock back. Only the holder calls this.
    pub fn unlock(&self) {
        // SAFETY: as above. A plain store: x86-64 keeps it behind all that the holder did.
        unsafe { asm!("mov dword ptr [{}], 0", in(reg) self.word.get(), options(nostack, preserves_flags)) };
    }
}

// ---------------------------------------------------------------- Part 4: tickets

/// A ticket lock: the number being served in the lower half of the word, the next ticket in the upper one.
#[repr(C, align(8))]
pub struct TicketLock {
    numbers: UnsafeCell<u64>,
}

// SAFETY: tickets are drawn atomically; the lower half is written by the holder alone.
unsafe impl Sync for TicketLock {}

impl TicketLock {
    /// A free lock.
    pub const fn new() -> Self {
        Self { numbers: UnsafeCell::new(0) }
    }

    /// Draws a ticket and waits for its number to come up.
    pub fn lock(&self) {
        let mut numbers = 1u64 << 32;
        // SAFETY: as above.
        unsafe { asm!("lock xadd qword ptr [{}], {}", in(reg) self.numbers.get(), inout(reg) numbers) };
        let (ticket, mut serving) = ((numbers >> 32) as u32, numbers as u32);
        while serving != ticket {
            // SAFETY: as above.
            unsafe {
                asm!("pause", "mov {:e}, dword ptr [{}]", out(reg) serving, in(reg) self.numbers.get(), options(nostack));
            }
        }
    }

    /// Calls the next number. Only the holder calls this.
    pub fn unlock(&self) {
        // SAFETY: as above. Without `lock`: nobody else writes the lower half, and a carry stays out of the upper one.
        unsafe { asm!("inc dword ptr [{}]", in(reg) self.numbers.get()) };
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
        Guard { lock }
    }

    /// Takes `lock` if it is free.
    pub fn try_new(lock: &'a L) -> Option<Self> {
        if lock.try_lock() { Some(Guard { lock }) } else { None }
    }

    /// Gives the lock back before the end of the scope.
    pub fn unlock(self) {
        self.lock.unlock();
        mem::forget(self);
    }
}

impl<L: RawLock> Drop for Guard<'_, L> {
    fn drop(&mut self) {
        self.lock.unlock();
    }
}

/// Runs `section` with `lock` held and returns what it returns. The lock is given back in any case.
pub fn with_lock<L: RawLock, R>(lock: &L, section: impl FnOnce() -> R) -> R {
    let guard = Guard::new(lock);
    let result = section();
    guard.unlock();
    result
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
