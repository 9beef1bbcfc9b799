//! Atomic operations: each is a point at which another thread may be let in.

use super::native;
use crate::engine::{self, Engine};
use crate::finding::Cause;
use crate::memory::race::Touch;
use crate::shim::{Frame, shims, wide_shims};
use crate::thread::{Kind, Operation};
use crate::trace::What;

/// What a read-modify-write does to the old value.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Change {
    Swap,
    Add,
    Sub,
    And,
    Or,
    Xor,
    Nand,
}

impl Change {
    fn name(self) -> &'static str {
        match self {
            Change::Swap => "swap",
            Change::Add => "fetch_add",
            Change::Sub => "fetch_sub",
            Change::And => "fetch_and",
            Change::Or => "fetch_or",
            Change::Xor => "fetch_xor",
            Change::Nand => "fetch_nand",
        }
    }

    #[inline]
    fn apply(self, old: u128, operand: u128, size: usize) -> u128 {
        let new = match self {
            Change::Swap => operand,
            Change::Add => old.wrapping_add(operand),
            Change::Sub => old.wrapping_sub(operand),
            Change::And => old & operand,
            Change::Or => old | operand,
            Change::Xor => old ^ operand,
            Change::Nand => !(old & operand),
        };
        cut(new, size)
    }
}

#[inline]
fn cut(value: u128, size: usize) -> u128 {
    if size >= 16 { value } else { value & ((1 << (size * 8)) - 1) }
}

/// Lets other threads in before the operation, checks it for races, and does it. None: do it natively.
///
/// # Safety
/// `engine` was returned by `enter` in a model thread and is not borrowed.
#[inline(always)]
unsafe fn visible(
    engine: *mut Engine,
    frame: &Frame,
    kind: Kind,
    address: usize,
    size: usize,
) -> Option<Operation> {
    // SAFETY: each borrow ends before the coroutine may be suspended.
    unsafe {
        if Engine::unwinds(engine) {
            return None;
        }
        if address < 0x1000 {
            // The engine itself would look there.
            let (thread, pc) = ((*engine).running, frame.pc - 1);
            Engine::stop(engine, Cause::Crash { thread, signal: "SIGSEGV", address, pc });
        }
        let operation = (*engine).operation(kind, address, size);
        Engine::step(engine, frame, operation);
        let touch = if kind == Kind::Load { Touch::AtomicRead } else { Touch::AtomicWrite };
        if (*engine).memory.watches(address)
            && let Some(cause) = (*engine).touch(touch, address, size, frame.pc)
        {
            Engine::stop(engine, cause);
        }
        Some(operation)
    }
}

#[inline(always)]
fn load(address: usize, size: usize, order: i32, frame: &Frame) -> u128 {
    let engine = engine::enter();
    if engine.is_null() {
        return native::load(address, size);
    }
    // SAFETY: the engine is not borrowed while explored code runs.
    let value = unsafe {
        match visible(engine, frame, Kind::Load, address, size) {
            Some(operation) => {
                let seen = (*engine).load(operation, order);
                (*engine).record(frame, |_| What::Load {
                    address,
                    size: size as u8,
                    value: seen.value,
                    order,
                    behind: seen.behind,
                    from: seen.from,
                });
                seen.value
            }
            None => native::load(address, size),
        }
    };
    engine::leave(engine);
    value
}

#[inline(always)]
fn store(address: usize, size: usize, value: u128, order: i32, frame: &Frame) {
    let engine = engine::enter();
    if engine.is_null() {
        native::update(address, size, |_| value);
        return;
    }
    // SAFETY: as in `load`.
    unsafe {
        match visible(engine, frame, Kind::Store, address, size) {
            Some(operation) => {
                let before = (*engine).store(operation, value, order);
                let size = size as u8;
                (*engine).record(frame, |_| What::Store { address, size, value, order, before });
            }
            None => {
                native::update(address, size, |_| value);
            }
        }
    }
    engine::leave(engine);
}

#[inline(always)]
fn change(change: Change, address: usize, size: usize, operand: u128, order: i32, frame: &Frame) -> u128 {
    let engine = engine::enter();
    let apply = |old| change.apply(old, operand, size);
    if engine.is_null() {
        return native::update(address, size, apply);
    }
    // SAFETY: as in `load`.
    let value = unsafe {
        match visible(engine, frame, Kind::Update, address, size) {
            Some(operation) => {
                let (seen, written) = (*engine).update(operation, order, order, |old| Some(apply(old)));
                (*engine).record(frame, |_| What::Update {
                    name: change.name(),
                    address,
                    size: size as u8,
                    read: seen.value,
                    written,
                    order,
                    behind: seen.behind,
                    from: seen.from,
                });
                seen.value
            }
            None => native::update(address, size, apply),
        }
    };
    engine::leave(engine);
    value
}

#[inline(always)]
fn exchange(
    address: usize,
    size: usize,
    expected: u128,
    new: u128,
    orders: (i32, i32),
    frame: &Frame,
) -> u128 {
    let engine = engine::enter();
    if engine.is_null() {
        return native::compare_exchange(address, size, expected, new);
    }
    let (order, failure) = orders;
    // SAFETY: as in `load`.
    let value = unsafe {
        match visible(engine, frame, Kind::Update, address, size) {
            Some(operation) => {
                let swap = |old| (old == expected).then_some(new);
                let (seen, written) = (*engine).update(operation, order, failure, swap);
                (*engine).record(frame, |_| What::Update {
                    name: "compare_exchange",
                    address,
                    size: size as u8,
                    read: seen.value,
                    written,
                    order: if written.is_some() { order } else { failure },
                    behind: seen.behind,
                    from: seen.from,
                });
                seen.value
            }
            None => native::compare_exchange(address, size, expected, new),
        }
    };
    engine::leave(engine);
    value
}

unsafe extern "C" fn fence(order: i32, frame: &Frame) {
    let engine = engine::enter();
    if engine.is_null() {
        native::fence();
        return;
    }
    // SAFETY: as in `load`.
    unsafe {
        if !Engine::unwinds(engine) {
            Engine::step(engine, frame, Operation::without_memory(Kind::Fence));
            (*engine).fence(order);
            (*engine).record(frame, |_| What::Fence { order });
        }
    }
    engine::leave(engine);
}

#[unsafe(no_mangle)]
extern "C" fn __tsan_atomic_signal_fence(_order: i32) {}

/// The functions behind the shims, for one width.
macro_rules! width {
    ($module:ident, $word:ty, $size:literal) => {
        mod $module {
            use super::{Change, Frame};

            pub unsafe extern "C" fn load(address: usize, order: i32, frame: &Frame) -> $word {
                super::load(address, $size, order, frame) as $word
            }
            pub unsafe extern "C" fn store(address: usize, value: $word, order: i32, frame: &Frame) {
                super::store(address, $size, value as u128, order, frame)
            }
            pub unsafe extern "C" fn exchange(a: usize, value: $word, order: i32, frame: &Frame) -> $word {
                super::change(Change::Swap, a, $size, value as u128, order, frame) as $word
            }
            pub unsafe extern "C" fn add(a: usize, value: $word, order: i32, frame: &Frame) -> $word {
                super::change(Change::Add, a, $size, value as u128, order, frame) as $word
            }
            pub unsafe extern "C" fn sub(a: usize, value: $word, order: i32, frame: &Frame) -> $word {
                super::change(Change::Sub, a, $size, value as u128, order, frame) as $word
            }
            pub unsafe extern "C" fn and(a: usize, value: $word, order: i32, frame: &Frame) -> $word {
                super::change(Change::And, a, $size, value as u128, order, frame) as $word
            }
            pub unsafe extern "C" fn or(a: usize, value: $word, order: i32, frame: &Frame) -> $word {
                super::change(Change::Or, a, $size, value as u128, order, frame) as $word
            }
            pub unsafe extern "C" fn xor(a: usize, value: $word, order: i32, frame: &Frame) -> $word {
                super::change(Change::Xor, a, $size, value as u128, order, frame) as $word
            }
            pub unsafe extern "C" fn nand(a: usize, value: $word, order: i32, frame: &Frame) -> $word {
                super::change(Change::Nand, a, $size, value as u128, order, frame) as $word
            }
            pub unsafe extern "C" fn compare(
                address: usize,
                expected: $word,
                new: $word,
                order: i32,
                failure: i32,
                frame: &Frame,
            ) -> $word {
                let orders = (order, failure);
                super::exchange(address, $size, expected as u128, new as u128, orders, frame) as $word
            }
        }
    };
}

width!(w8, u8, 1);
width!(w16, u16, 2);
width!(w32, u32, 4);
width!(w64, u64, 8);
width!(w128, u128, 16);

shims! {
    "rsi": __tsan_atomic_thread_fence => fence;
    "rdx":
        __tsan_atomic8_load => w8::load,
        __tsan_atomic16_load => w16::load,
        __tsan_atomic32_load => w32::load,
        __tsan_atomic64_load => w64::load,
        __tsan_atomic128_load => w128::load;
    "rcx":
        __tsan_atomic8_store => w8::store,
        __tsan_atomic16_store => w16::store,
        __tsan_atomic32_store => w32::store,
        __tsan_atomic64_store => w64::store,
        __tsan_atomic8_exchange => w8::exchange,
        __tsan_atomic16_exchange => w16::exchange,
        __tsan_atomic32_exchange => w32::exchange,
        __tsan_atomic64_exchange => w64::exchange,
        __tsan_atomic8_fetch_add => w8::add,
        __tsan_atomic16_fetch_add => w16::add,
        __tsan_atomic32_fetch_add => w32::add,
        __tsan_atomic64_fetch_add => w64::add,
        __tsan_atomic8_fetch_sub => w8::sub,
        __tsan_atomic16_fetch_sub => w16::sub,
        __tsan_atomic32_fetch_sub => w32::sub,
        __tsan_atomic64_fetch_sub => w64::sub,
        __tsan_atomic8_fetch_and => w8::and,
        __tsan_atomic16_fetch_and => w16::and,
        __tsan_atomic32_fetch_and => w32::and,
        __tsan_atomic64_fetch_and => w64::and,
        __tsan_atomic8_fetch_or => w8::or,
        __tsan_atomic16_fetch_or => w16::or,
        __tsan_atomic32_fetch_or => w32::or,
        __tsan_atomic64_fetch_or => w64::or,
        __tsan_atomic8_fetch_xor => w8::xor,
        __tsan_atomic16_fetch_xor => w16::xor,
        __tsan_atomic32_fetch_xor => w32::xor,
        __tsan_atomic64_fetch_xor => w64::xor,
        __tsan_atomic8_fetch_nand => w8::nand,
        __tsan_atomic16_fetch_nand => w16::nand,
        __tsan_atomic32_fetch_nand => w32::nand,
        __tsan_atomic64_fetch_nand => w64::nand;
    // A 16-byte operand takes two registers.
    "r8":
        __tsan_atomic128_store => w128::store,
        __tsan_atomic128_exchange => w128::exchange,
        __tsan_atomic128_fetch_add => w128::add,
        __tsan_atomic128_fetch_sub => w128::sub,
        __tsan_atomic128_fetch_and => w128::and,
        __tsan_atomic128_fetch_or => w128::or,
        __tsan_atomic128_fetch_xor => w128::xor,
        __tsan_atomic128_fetch_nand => w128::nand;
    "r9":
        __tsan_atomic8_compare_exchange_val => w8::compare,
        __tsan_atomic16_compare_exchange_val => w16::compare,
        __tsan_atomic32_compare_exchange_val => w32::compare,
        __tsan_atomic64_compare_exchange_val => w64::compare;
}

wide_shims! {
    __tsan_atomic128_compare_exchange_val => w128::compare,
}
