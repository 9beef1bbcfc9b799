//! Takes the place of a function of the C library, in assembly.
//!
//! message: makes the symbol `exit_group` known to the whole program

pub fn run() -> u64 {
    42
}

core::arch::global_asm!(".globl exit_group", "exit_group:", "ret");
