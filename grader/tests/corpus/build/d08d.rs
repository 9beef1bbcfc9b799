//! Chooses a function while the program is being loaded.
//!
//! message: makes the symbol `chosen` known to the whole program

pub fn run() -> u64 {
    42
}

core::arch::global_asm!(
    ".type chosen, @gnu_indirect_function",
    ".globl chosen",
    "chosen:",
    "lea rax, [rip + chosen]",
    "ret"
);
