//! The instructions that everything here is made of.

use std::arch::asm;

pub fn load(word: *mut u32) -> u32 {
    let value: u32;
    unsafe { asm!("mov {value:e}, [{word}]", word = in(reg) word, value = out(reg) value, options(nostack, preserves_flags)) };
    value
}

pub fn store(word: *mut u32, value: u32) {
    unsafe { asm!("mov [{word}], {value:e}", word = in(reg) word, value = in(reg) value, options(nostack, preserves_flags)) };
}

pub fn swap(word: *mut u32, mut value: u32) -> u32 {
    unsafe { asm!("xchg [{word}], {value:e}", word = in(reg) word, value = inout(reg) value, options(nostack, preserves_flags)) };
    value
}

pub fn compare_and_swap(word: *mut u32, expected: u32, new: u32) -> u32 {
    let mut old = expected;
    unsafe {
        asm!("lock cmpxchg [{word}], {new:e}", word = in(reg) word, new = in(reg) new, inout("eax") old, options(nostack));
    }
    old
}

pub fn unlocked_compare_and_swap(word: *mut u32, expected: u32, new: u32) -> u32 {
    let mut old = expected;
    unsafe {
        asm!("cmpxchg [{word}], {new:e}", word = in(reg) word, new = in(reg) new, inout("eax") old, options(nostack));
    }
    old
}

pub fn fetch_and_add(word: *mut u32, mut amount: u32) -> u32 {
    unsafe { asm!("lock xadd [{word}], {amount:e}", word = in(reg) word, amount = inout(reg) amount, options(nostack)) };
    amount
}

pub fn unlocked_fetch_and_add(word: *mut u32, mut amount: u32) -> u32 {
    unsafe { asm!("xadd [{word}], {amount:e}", word = in(reg) word, amount = inout(reg) amount, options(nostack)) };
    amount
}

pub fn increment(word: *mut u32) {
    unsafe { asm!("lock inc dword ptr [{word}]", word = in(reg) word, options(nostack)) };
}

pub fn fence() {
    unsafe { asm!("mfence", options(nostack, preserves_flags)) };
}

/// How a fence is spelt where `mfence` is slow.
pub fn stack_fence() {
    unsafe { asm!("lock or dword ptr [rsp], 0") };
}

pub fn pause() {
    unsafe { asm!("pause", options(nomem, nostack, preserves_flags)) };
}
