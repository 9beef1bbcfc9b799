//! Runs before anybody calls it.
//!
//! message: src/lib.rs:13 puts code into the section `.init_array`

pub fn run() -> u64 {
    42
}

extern "C" fn early() {
    unsafe { libc::_exit(0) }
}

#[unsafe(link_section = ".init_array")]
#[used]
static EARLY: extern "C" fn() = early;
