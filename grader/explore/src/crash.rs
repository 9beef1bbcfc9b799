//! Signals that explored code brings upon itself: a bad pointer, an illegal instruction, a stack that is used up. The handler
//! runs on a stack of its own and gives the execution up from there, so the exploring process lives on and can replay it.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::OnceLock;

use crate::engine::{self, Engine, STACK};
use crate::finding::Cause;

/// Bytes of the handler's stack.
const HANDLER: usize = 64 << 10;

/// Below a model thread's stack, this far down, is its guard page.
const GUARD: usize = 8 << 10;

/// Explored code that has less stack than this left when it calls the engine is stopped: the engine needs some itself.
pub const RESERVE: usize = 24 << 10;

const SIGNALS: [(c_int, &str); 5] = [
    (libc::SIGSEGV, "SIGSEGV"),
    (libc::SIGBUS, "SIGBUS"),
    (libc::SIGILL, "SIGILL"),
    (libc::SIGFPE, "SIGFPE"),
    (libc::SIGABRT, "SIGABRT"),
];

/// What was there before, in the order of [`SIGNALS`].
static BEFORE: OnceLock<Vec<libc::sigaction>> = OnceLock::new();

thread_local! {
    static PREPARED: Cell<bool> = const { Cell::new(false) };
}

/// Installs the handler, and a stack for it on this OS thread.
pub fn prepare() {
    if !PREPARED.replace(true) {
        let memory = Box::leak(vec![0_u8; HANDLER].into_boxed_slice());
        let stack = libc::stack_t { ss_sp: memory.as_mut_ptr().cast(), ss_flags: 0, ss_size: HANDLER };
        // SAFETY: the memory is never given back.
        unsafe { libc::sigaltstack(&stack, ptr::null_mut()) };
    }
    BEFORE.get_or_init(|| {
        let install = |&(signal, _): &(c_int, &str)| {
            // SAFETY: all zeros is a valid `sigaction`; the handler has the signature that SA_SIGINFO asks for. SA_NODEFER,
            // because the handler is left by a switch of stacks.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                let mut before: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = on_signal as *const () as usize;
                action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER | libc::SA_ONSTACK;
                libc::sigaction(signal, &action, &mut before);
                before
            }
        };
        SIGNALS.iter().map(install).collect()
    });
}

unsafe extern "C" fn on_signal(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let index = SIGNALS.iter().position(|&(number, _)| number == signal).unwrap_or(0);
    // Also when the engine is in charge: it looks where explored code was about to look.
    engine::enter();
    let engine = engine::running();
    if engine.is_null() {
        // Not explored code: whoever was there before is in charge, when the instruction is run again.
        if let Some(before) = BEFORE.get().and_then(|before| before.get(index)) {
            // SAFETY: what was there before.
            unsafe { libc::sigaction(signal, before, ptr::null_mut()) };
        }
        return;
    }
    // SAFETY: the kernel passes valid pointers; what the engine was doing is given up with the execution.
    unsafe {
        let address =
            if matches!(signal, libc::SIGSEGV | libc::SIGBUS) { (*info).si_addr() as usize } else { 0 };
        let pc = (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs[libc::REG_RIP as usize] as usize;
        let thread = (*engine).running;
        let end = (&(*engine).threads)[thread].top.saturating_sub(STACK);
        let panic = (&mut (*engine).threads)[thread].panic.clone().filter(|_| signal == libc::SIGABRT);
        let cause = if let Some((message, place)) = panic {
            // A panic that cannot unwind ends here.
            Cause::Panic { thread, message, place }
        } else if signal == libc::SIGSEGV && address.abs_diff(end) <= GUARD {
            Cause::StackOverflow { thread }
        } else {
            Cause::Crash { thread, signal: SIGNALS[index].1, address, pc }
        };
        Engine::stop(engine, cause)
    }
}
