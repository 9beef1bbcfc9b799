//! Wants to be alone.
//!
//! message: duplicate lang item

#![no_std]

pub fn run() -> u64 {
    42
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
