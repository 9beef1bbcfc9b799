//! Calls the kernel by the old way, which ends it.
//!
//! expect: crashed
//! message: SIGSYS
//! tiers: 3 2 1 0

pub fn run() -> u64 {
    let answer: u64;
    unsafe { core::arch::asm!("int 0x80", inlateout("rax") 20_u64 => answer) };
    answer
}
