//! Plain memory accesses: not scheduling points, but checked for data races.

use crate::engine::{self, Engine};
use crate::memory::race::Touch;
use crate::trace::What;

/// Entry points with one address: the return address and the caller's frame pointer are passed on.
macro_rules! accesses {
    ($($symbol:ident: $to:path, $size:literal;)+) => {$(
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        unsafe extern "C" fn $symbol() {
            ::core::arch::naked_asm!(
                "mov rsi, [rsp]",
                "mov rdx, rbp",
                "mov ecx, {size}",
                "jmp {to}",
                to = sym $to,
                size = const $size,
            )
        }
    )+};
}

accesses! {
    __tsan_read1: read, 1;
    __tsan_read2: read, 2;
    __tsan_read4: read, 4;
    __tsan_read8: read, 8;
    __tsan_read16: read, 16;
    __tsan_unaligned_read2: read, 2;
    __tsan_unaligned_read4: read, 4;
    __tsan_unaligned_read8: read, 8;
    __tsan_unaligned_read16: read, 16;
    __tsan_unaligned_volatile_read2: read, 2;
    __tsan_unaligned_volatile_read4: read, 4;
    __tsan_unaligned_volatile_read8: read, 8;
    __tsan_unaligned_volatile_read16: read, 16;
    __tsan_unaligned_volatile_write2: write, 2;
    __tsan_unaligned_volatile_write4: write, 4;
    __tsan_unaligned_volatile_write8: write, 8;
    __tsan_unaligned_volatile_write16: write, 16;
    __tsan_vptr_read: read, 8;
    __tsan_write1: write, 1;
    __tsan_write2: write, 2;
    __tsan_write4: write, 4;
    __tsan_write8: write, 8;
    __tsan_write16: write, 16;
    __tsan_unaligned_write2: write, 2;
    __tsan_unaligned_write4: write, 4;
    __tsan_unaligned_write8: write, 8;
    __tsan_unaligned_write16: write, 16;
}

unsafe extern "C" fn read(address: usize, pc: usize, base: usize, size: usize) {
    access(Touch::Read, address, pc, base, size);
}

unsafe extern "C" fn write(address: usize, pc: usize, base: usize, size: usize) {
    access(Touch::Write, address, pc, base, size);
}

#[inline(always)]
fn access(touch: Touch, address: usize, pc: usize, base: usize, size: usize) {
    let engine = engine::enter();
    if engine.is_null() {
        return;
    }
    // SAFETY: the engine is not borrowed while explored code runs.
    unsafe { visit(engine, touch, address, pc, base, size) };
    engine::leave(engine);
}

/// # Safety
/// `engine` was returned by `enter` in a model thread and is not borrowed.
#[inline]
unsafe fn visit(engine: *mut Engine, touch: Touch, address: usize, pc: usize, base: usize, size: usize) {
    // SAFETY: the borrows end before the coroutine is suspended.
    unsafe {
        Engine::mind_the_stack(engine);
        let this = &mut *engine;
        if this.buffers.busy(this.running) {
            this.flush_for(address, size);
        }
        let thread = &mut this.threads[this.running];
        let own_stack = thread.top.wrapping_sub(address) < engine::STACK;
        if touch == Touch::Write && !own_stack {
            thread.advance();
        }
        if size == 0 || !this.memory.watches(address) || Engine::unwinds(engine) {
            if touch == Touch::Write {
                (*engine).memory.overwrite(address, size);
            }
            return;
        }
        let this = &mut *engine;
        let cause = this.touch(touch, address, size, pc);
        if this.recorder.is_some() {
            let top = this.threads[this.running].top;
            let what = match touch {
                Touch::Read | Touch::AtomicRead => What::Read { address, size },
                Touch::Write | Touch::AtomicWrite | Touch::Free => What::Write { address, size },
            };
            this.note(this.running, || crate::shim::callers(pc, base, top), what);
        }
        if let Some(cause) = cause {
            Engine::stop(engine, cause);
        }
    }
}

/// Entry points of the shape of `memcpy`: the return address and the caller's frame pointer are passed on.
macro_rules! copies {
    ($($symbol:ident => $to:path;)+) => {$(
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        unsafe extern "C" fn $symbol() {
            ::core::arch::naked_asm!("mov rcx, [rsp]", "mov r8, rbp", "jmp {to}", to = sym $to)
        }
    )+};
}

copies! {
    __tsan_memcpy => copy;
    __tsan_memmove => copy;
    __tsan_memset => set;
}

unsafe extern "C" fn copy(to: *mut u8, from: *const u8, size: usize, pc: usize, base: usize) -> *mut u8 {
    if size != 0 {
        access(Touch::Read, from as usize, pc, base, size);
        access(Touch::Write, to as usize, pc, base, size);
    }
    // SAFETY: the caller's contract.
    unsafe { std::ptr::copy(from, to, size) };
    to
}

unsafe extern "C" fn set(to: *mut u8, byte: i32, size: usize, pc: usize, base: usize) -> *mut u8 {
    if size != 0 {
        access(Touch::Write, to as usize, pc, base, size);
    }
    // SAFETY: the caller's contract.
    unsafe { std::ptr::write_bytes(to, byte as u8, size) };
    to
}

#[unsafe(no_mangle)]
extern "C" fn __tsan_func_entry(_caller: usize) {}

#[unsafe(no_mangle)]
extern "C" fn __tsan_func_exit() {}

#[unsafe(no_mangle)]
extern "C" fn __tsan_init() {}

#[unsafe(no_mangle)]
unsafe extern "C" fn __tsan_vptr_update(_address: usize, _value: usize) {}
