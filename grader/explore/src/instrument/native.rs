//! What the entry points do outside an exploration: the operation itself, as strong as there is.

use std::arch::asm;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::SeqCst, fence as native_fence};

macro_rules! by_size {
    ($address:expr, $size:expr, $atomic:ident => $do:expr, $wide:expr) => {
        // SAFETY: the caller is about to do this very operation on a valid, aligned address.
        unsafe {
            match $size {
                1 => {
                    let $atomic = AtomicU8::from_ptr($address as *mut u8);
                    u128::from($do)
                }
                2 => {
                    let $atomic = AtomicU16::from_ptr($address as *mut u16);
                    u128::from($do)
                }
                4 => {
                    let $atomic = AtomicU32::from_ptr($address as *mut u32);
                    u128::from($do)
                }
                8 => {
                    let $atomic = AtomicU64::from_ptr($address as *mut u64);
                    u128::from($do)
                }
                _ => $wide,
            }
        }
    };
}

/// An atomic read.
pub fn load(address: usize, size: usize) -> u128 {
    by_size!(address, size, atomic => atomic.load(SeqCst), wide(address, 0, 0))
}

/// An atomic read-modify-write; returns the old value.
pub fn update(address: usize, size: usize, change: impl Fn(u128) -> u128) -> u128 {
    let mut old = load(address, size);
    loop {
        let seen = compare_exchange(address, size, old, change(old));
        if seen == old {
            return old;
        }
        old = seen;
    }
}

/// An atomic compare-and-exchange; returns the old value.
pub fn compare_exchange(address: usize, size: usize, expected: u128, new: u128) -> u128 {
    by_size!(
        address,
        size,
        atomic => match atomic.compare_exchange(expected as _, new as _, SeqCst, SeqCst) {
            Ok(old) | Err(old) => old,
        },
        wide(address, expected, new)
    )
}

/// A full fence.
pub fn fence() {
    native_fence(SeqCst);
}

/// `lock cmpxchg16b`, by hand: the compiler's own 16-byte operations need a library that is not there.
fn wide(address: usize, expected: u128, new: u128) -> u128 {
    let (mut low, mut high) = (expected as u64, (expected >> 64) as u64);
    // SAFETY: the caller is about to do this very operation on a valid, aligned address; rbx is put back.
    unsafe {
        asm!(
            "xchg {new_low}, rbx",
            "lock cmpxchg16b [{address}]",
            "mov rbx, {new_low}",
            new_low = inout(reg) new as u64 => _,
            address = in(reg) address,
            in("rcx") (new >> 64) as u64,
            inout("rax") low,
            inout("rdx") high,
            options(nostack),
        );
    }
    u128::from(high) << 64 | u128::from(low)
}
