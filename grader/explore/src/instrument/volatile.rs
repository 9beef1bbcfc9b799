//! Volatile accesses of compiled code. To the language they order nothing; to the processor they are the plain `mov`s that a
//! program without atomics spins on, so they are taken for what they are there: visible, and in x86-TSO's order.

use crate::asm::buffer::Forward;
use crate::engine::{self, Engine};
use crate::memory::race::Touch;
use crate::operations::order;
use crate::shim::{Frame, shims};
use crate::thread::{Kind, Operation};
use crate::trace::What;

/// Makes the access the running thread's turn; None: there is nothing to see in it.
///
/// # Safety
/// `engine` was returned by `enter` in a model thread and is not borrowed.
unsafe fn visible(
    engine: *mut Engine,
    frame: &Frame,
    kind: Kind,
    address: usize,
    size: usize,
) -> Option<Operation> {
    // SAFETY: each borrow ends before the coroutine may be suspended.
    unsafe {
        if Engine::unwinds(engine) || !(*engine).memory.watches(address) {
            return None;
        }
        let operation;
        let touch;
        if kind == Kind::Load {
            operation = (*engine).operation(kind, address, size);
            touch = Touch::AtomicRead;
            Engine::step(engine, frame, operation);
        } else {
            (*engine).settle();
            operation = (*engine).operation(kind, address, size);
            touch = Touch::AtomicWrite;
            Engine::approach(engine, frame, operation);
        }
        if let Some(cause) = (*engine).touch(touch, address, size, frame.pc) {
            Engine::stop(engine, cause);
        }
        Some(operation)
    }
}

unsafe fn read(address: usize, size: usize, frame: &Frame) {
    let engine = engine::enter();
    if engine.is_null() {
        return;
    }
    // SAFETY: the engine is not borrowed while explored code runs.
    unsafe {
        if let Some(operation) = visible(engine, frame, Kind::Load, address, size) {
            let this = &mut *engine;
            if this.buffers.forward(this.running, address, size) != Forward::Nothing {
                // The compiled code reads memory itself.
                this.flush_for(address, size);
            }
            let seen = this.read_newest(operation);
            let (size, order) = (size as u8, order::VOLATILE);
            this.record(frame, |_| What::Load {
                address,
                size,
                value: seen.value,
                order,
                behind: 0,
                from: seen.from,
            });
        }
    }
    engine::leave(engine);
}

unsafe fn write(address: usize, size: usize, frame: &Frame) {
    let engine = engine::enter();
    if engine.is_null() {
        return;
    }
    // SAFETY: the engine is not borrowed while explored code runs.
    unsafe {
        if let Some(operation) = visible(engine, frame, Kind::Store, address, size) {
            (*engine).announce(operation, frame);
        }
    }
    engine::leave(engine);
}

macro_rules! sizes {
    ($($name:ident: $access:ident, $size:literal;)+) => {$(
        unsafe extern "C" fn $name(address: usize, frame: &Frame) {
            // SAFETY: called by explored code.
            unsafe { $access(address, $size, frame) };
        }
    )+};
}

sizes! {
    read1: read, 1;
    read2: read, 2;
    read4: read, 4;
    read8: read, 8;
    read16: read, 16;
    write1: write, 1;
    write2: write, 2;
    write4: write, 4;
    write8: write, 8;
    write16: write, 16;
}

shims! {
    "rsi":
        __tsan_volatile_read1 => read1,
        __tsan_volatile_read2 => read2,
        __tsan_volatile_read4 => read4,
        __tsan_volatile_read8 => read8,
        __tsan_volatile_read16 => read16,
        __tsan_volatile_write1 => write1,
        __tsan_volatile_write2 => write2,
        __tsan_volatile_write4 => write4,
        __tsan_volatile_write8 => write8,
        __tsan_volatile_write16 => write16;
}
