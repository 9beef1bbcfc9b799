//! Calls that explored code must not make, because they reach past the model: starting and ending processes. Other
//! libraries that put functions of their own before libc's say [`refuse`] for theirs.

use std::arch::global_asm;
use std::ffi::{CStr, c_int};

use crate::engine::{self, Engine};
use crate::finding::Cause;

global_asm!(
    ".macro explore_refused name",
    ".weak \\name",
    ".type \\name, @function",
    "\\name: jmp explore_\\name",
    ".endm",
    "explore_refused fork",
    "explore_refused exit",
    "explore_refused _exit",
);

/// Ends the execution if the caller is explored code: `call` has no model, and says so in the report. Outside an
/// exploration it does nothing.
pub fn refuse(call: &str) {
    let engine = engine::enter();
    if engine.is_null() {
        return;
    }
    // SAFETY: the engine is not borrowed while explored code runs; an execution that unwinds is at its end already.
    unsafe {
        if !Engine::unwinds(engine) {
            let thread = (*engine).running;
            Engine::stop(engine, Cause::Refused { thread, call: call.to_owned() });
        }
    }
    engine::leave(engine);
}

/// libc's own function of that name.
fn next(name: &CStr) -> *mut libc::c_void {
    // SAFETY: looks a symbol up.
    let address = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    if address.is_null() {
        std::process::abort();
    }
    address
}

#[unsafe(no_mangle)]
unsafe extern "C" fn explore_fork() -> c_int {
    refuse("starting a process (`fork`)");
    // SAFETY: libc's function of that name has that signature.
    unsafe { std::mem::transmute::<*mut libc::c_void, extern "C" fn() -> c_int>(next(c"fork"))() }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn explore_exit(code: c_int) -> ! {
    refuse("ending the process (`exit`)");
    // SAFETY: libc's function of that name has that signature.
    unsafe { std::mem::transmute::<*mut libc::c_void, extern "C" fn(c_int) -> !>(next(c"exit"))(code) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn explore__exit(code: c_int) -> ! {
    refuse("ending the process (`_exit`)");
    // SAFETY: libc's function of that name has that signature.
    unsafe { std::mem::transmute::<*mut libc::c_void, extern "C" fn(c_int) -> !>(next(c"_exit"))(code) }
}
