//! A visible instruction at work: the steps that others see of it, and its copy for all the rest.

use super::buffer::Forward;
use super::copy::{Copies, Registers};
use super::scan::{Act, Operand};
use crate::engine::Engine;
use crate::interpose;
use crate::memory::race::Touch;
use crate::operations::order::SEQUENTIAL;
use crate::operations::{order, peek, poke};
use crate::shim::{self, Place};
use crate::thread::{Kind, Operation, Spin};
use crate::trace::What;

/// A patched instruction.
#[derive(Debug)]
pub struct Point {
    /// Where it is in memory.
    pub address: usize,
    /// Where the next one is.
    pub next: usize,
    /// What it does.
    pub act: Act,
    /// Where.
    pub operand: Option<Operand>,
    /// Its copy; 0 when there is none.
    pub copy: usize,
    /// Its first byte.
    pub byte: u8,
    /// It writes only if it finds what it expects.
    pub compares: bool,
    /// What it is called in reports.
    pub name: &'static str,
}

/// Whether an instruction's work is done.
#[derive(Debug, Clone, Copy)]
pub enum Done {
    /// It is.
    Yes,
    /// It must be stepped through; this word of the model's memory may change.
    Step(Option<Word>),
}

/// A word that an instruction may change, and what it was.
#[derive(Debug, Clone, Copy)]
pub struct Word {
    operation: Operation,
    old: u128,
}

/// Where a thread stopped, for the engine.
struct Stop<'a> {
    pc: usize,
    registers: &'a Registers,
}

impl Place for Stop<'_> {
    fn spot(&self) -> usize {
        self.pc
    }

    fn state(&self, top: usize) -> u64 {
        let general = self.registers[..16].iter().map(|&word| word as usize);
        let flags = self.registers[libc::REG_EFL as usize] as usize;
        let stack = self.registers[libc::REG_RSP as usize] as usize;
        // SAFETY: the stopped thread's stack.
        unsafe { shim::state(self.pc, general.chain([flags]), stack & !7, top) }
    }

    fn callers(&self, top: usize) -> Vec<usize> {
        shim::callers(self.pc, self.registers[libc::REG_RBP as usize] as usize, top)
    }
}

impl Point {
    /// The address of the memory operand.
    fn target(&self, registers: &Registers, bias: usize) -> Option<(usize, usize)> {
        let operand = self.operand?;
        let register =
            |number: Option<u8>| number.map_or(0, |number| registers[usize::from(number)] as usize);
        let start = if operand.relative { bias } else { register(operand.base) };
        let index = register(operand.index).wrapping_mul(usize::from(operand.scale));
        let address = start.wrapping_add(index).wrapping_add(operand.displacement as usize);
        Some((address, usize::from(operand.size)))
    }

    /// As if nobody explored; false when it must be stepped through.
    pub fn natively(&self, registers: &mut Registers, copies: &Copies, bias: usize) -> bool {
        if self.act == Act::Syscall {
            let result = interpose::native(number(registers), arguments(registers));
            return_from_kernel(registers, self.next, result);
            return true;
        }
        if self.copy == 0 {
            return false;
        }
        let Some((address, size)) = self.target(registers, bias) else {
            copies.run(self.copy, registers, 0);
            return true;
        };
        let mut value = 0u128;
        let word = (&raw mut value).cast::<u8>();
        // SAFETY: the instruction's own operand, which it is about to access.
        unsafe { std::ptr::copy_nonoverlapping(address as *const u8, word, size) };
        let mut new = copies.run(self.copy, registers, value);
        if new != value {
            let word = (&raw mut new).cast::<u8>();
            // SAFETY: as above, and it writes.
            unsafe { std::ptr::copy_nonoverlapping(word, address as *mut u8, size) };
        }
        true
    }

    /// What it writes when it reads `value`, if it does; `registers` change.
    fn change(&self, registers: &mut Registers, copies: &Copies, value: u128) -> Option<u128> {
        const ZERO_FLAG: i64 = 1 << 6;
        let size = self.operand.map_or(16, |operand| operand.size);
        let mask = if size >= 16 { u128::MAX } else { (1 << (size * 8)) - 1 };
        let new = copies.run(self.copy, registers, value) & mask;
        let writes = !self.compares || registers[libc::REG_EFL as usize] & ZERO_FLAG != 0;
        writes.then_some(new)
    }

    /// Does it in an exploration.
    ///
    /// # Safety
    /// `engine` was returned by `enter` in a model thread that stopped here, and is not borrowed.
    pub unsafe fn explore(
        &self,
        engine: *mut Engine,
        registers: &mut Registers,
        copies: &Copies,
        bias: usize,
    ) -> Done {
        // The kernel left the place after the `int3`; what is remembered of a place is a return address.
        let pc = self.address + 1;
        let target = self.target(registers, bias);
        // SAFETY: each borrow of the engine ends before the coroutine may be suspended.
        unsafe {
            match (self.act, target) {
                (Act::Load, Some(target)) if aligned(target) => {
                    let value = self.load(engine, registers, target);
                    copies.run(self.copy, registers, value);
                }
                (Act::Store, Some((address, size))) if aligned((address, size)) => {
                    (*engine).settle();
                    let operation = (*engine).operation(Kind::Store, address, size);
                    Engine::approach(engine, &Stop { pc, registers }, operation);
                    touch(engine, Touch::AtomicWrite, address, size, pc);
                    let value = self.change(registers, copies, 0).unwrap_or(0);
                    self.store(engine, registers, operation, value, order::ASM);
                }
                (Act::Update, Some((address, size))) if aligned((address, size)) => {
                    let value = self.load(engine, registers, (address, size));
                    if let Some(value) = self.change(registers, copies, value) {
                        let operation = (*engine).operation(Kind::Store, address, size);
                        Engine::turn(engine, operation, Spin::No);
                        touch(engine, Touch::AtomicWrite, address, size, pc);
                        self.store(engine, registers, operation, value, order::UNLOCKED);
                    }
                }
                (Act::Locked, Some((address, size))) if aligned((address, size)) => {
                    let operation = (*engine).operation(Kind::Update, address, size);
                    Engine::step(engine, &Stop { pc, registers }, operation);
                    touch(engine, Touch::AtomicWrite, address, size, pc);
                    let (seen, written) =
                        (*engine).locked(operation, |value| self.change(registers, copies, value));
                    (*engine).record(&Stop { pc, registers }, |_| What::Update {
                        name: self.name,
                        address,
                        size: size as u8,
                        read: seen.value,
                        written,
                        order: order::ASM,
                        behind: 0,
                        from: seen.from,
                    });
                }
                (Act::Pause, _) => {
                    if (&mut (*engine).threads)[(*engine).running].pauses_again() {
                        return Done::Yes;
                    }
                    Engine::step(engine, &Stop { pc, registers }, Operation::without_memory(Kind::Yield));
                    (*engine).record(&Stop { pc, registers }, |_| What::Yield);
                }
                (Act::Syscall, _) => {
                    let (number, arguments) = (number(registers), arguments(registers));
                    let result = interpose::call(engine, &Stop { pc, registers }, number, arguments);
                    return_from_kernel(registers, self.next, result);
                }
                (Act::Alone, Some((address, size))) if aligned((address, size)) => {
                    let operation = (*engine).operation(Kind::Update, address, size);
                    Engine::step(engine, &Stop { pc, registers }, operation);
                    touch(engine, Touch::AtomicWrite, address, size, pc);
                    (*engine).fence(SEQUENTIAL);
                    let old = (*engine).read_newest(operation).value;
                    return Done::Step(Some(Word { operation, old }));
                }
                (Act::Fence | Act::Alone | Act::Load | Act::Store | Act::Update | Act::Locked, _) => {
                    Engine::step(engine, &Stop { pc, registers }, Operation::without_memory(Kind::Fence));
                    (*engine).fence(SEQUENTIAL);
                    (*engine).record(&Stop { pc, registers }, |_| What::Fence { order: SEQUENTIAL });
                    if !self.natively(registers, copies, bias) {
                        return Done::Step(None);
                    }
                }
            }
        }
        Done::Yes
    }

    /// # Safety
    /// As for `explore`.
    unsafe fn load(&self, engine: *mut Engine, registers: &Registers, target: (usize, usize)) -> u128 {
        let (address, size) = target;
        let stop = Stop { pc: self.address + 1, registers };
        // SAFETY: each borrow of the engine ends before the coroutine may be suspended.
        unsafe {
            let operation = (*engine).operation(Kind::Load, address, size);
            Engine::step(engine, &stop, operation);
            touch(engine, Touch::AtomicRead, address, size, stop.pc);
            let this = &mut *engine;
            let (value, from) = match this.buffers.forward(this.running, address, size) {
                Forward::Value(value) => (value, this.done),
                Forward::Nothing | Forward::Part => {
                    this.flush_for(address, size);
                    let seen = this.read_newest(operation);
                    (seen.value, seen.from)
                }
            };
            let (size, order) = (size as u8, order::ASM);
            this.record(&stop, |_| What::Load { address, size, value, order, behind: 0, from });
            value
        }
    }

    /// # Safety
    /// As for `explore`.
    unsafe fn store(
        &self,
        engine: *mut Engine,
        registers: &Registers,
        operation: Operation,
        value: u128,
        order: i32,
    ) {
        let Operation { address, size, .. } = operation;
        // SAFETY: the borrow ends before the coroutine may be suspended.
        unsafe {
            let what = |_: &mut Engine| What::Store { address, size, value, order, before: 0 };
            (*engine).record(&Stop { pc: self.address + 1, registers }, what);
            (*engine).issue(operation, value, self.address + 1);
        }
    }
}

impl Engine {
    /// An instruction was stepped through that may have changed `word`.
    pub fn changed(&mut self, word: Word) {
        let Word { operation, old } = word;
        let (address, size) = (operation.address, operation.size as usize);
        let value = peek(address, size);
        if value != old {
            poke(address, size, old);
            let clock = self.threads[self.running].clock;
            self.commit(operation, value, clock);
        }
        self.fence(SEQUENTIAL);
    }
}

fn aligned((address, size): (usize, usize)) -> bool {
    address.is_multiple_of(size)
}

/// # Safety
/// As for `explore`.
unsafe fn touch(engine: *mut Engine, touch: Touch, address: usize, size: usize, pc: usize) {
    // SAFETY: the borrow ends before the coroutine is suspended.
    unsafe {
        if (*engine).memory.watches(address)
            && let Some(cause) = (*engine).touch(touch, address, size, pc)
        {
            Engine::stop(engine, cause);
        }
    }
}

fn number(registers: &Registers) -> i64 {
    registers[libc::REG_RAX as usize]
}

fn arguments(registers: &Registers) -> [i64; 6] {
    [libc::REG_RDI, libc::REG_RSI, libc::REG_RDX, libc::REG_R10, libc::REG_R8, libc::REG_R9]
        .map(|register| registers[register as usize])
}

fn return_from_kernel(registers: &mut Registers, next: usize, result: i64) {
    registers[libc::REG_RAX as usize] = result;
    registers[libc::REG_RCX as usize] = next as i64;
    registers[libc::REG_R11 as usize] = registers[libc::REG_EFL as usize];
}
