//! How calls from the explored code enter the engine: a few instructions that save what the engine wants to know
//! about the caller, then a plain function.

use std::arch::asm;

/// The caller's registers at the entry of a shim, as the shim pushed them.
#[repr(C)]
#[derive(Debug)]
pub struct Frame {
    /// r15, r14, r13, r12, rbx: with `base`, all that survives a call.
    saved: [usize; 5],
    /// rbp: the caller's frame, as the explored build keeps frame pointers.
    base: usize,
    /// Where the call returns to.
    pub pc: usize,
}

/// Where explored code stands as it enters the engine.
pub trait Place {
    /// The place in the program.
    fn spot(&self) -> usize;

    /// One number for the whole local state: registers, and the stack up to `top`.
    fn state(&self, top: usize) -> u64;

    /// Return addresses, innermost first, up to `top`; the first is the place itself.
    fn callers(&self, top: usize) -> Vec<usize>;
}

impl Frame {
    /// The caller's stack pointer after the return.
    pub fn stack(&self) -> usize {
        std::ptr::from_ref(self) as usize + size_of::<Frame>()
    }
}

impl Place for Frame {
    #[inline]
    fn spot(&self) -> usize {
        self.pc
    }

    fn state(&self, top: usize) -> u64 {
        let registers = self.saved.iter().copied().chain([self.base]);
        // SAFETY: between the caller's stack pointer and the top of its stack all is mapped and aligned.
        unsafe { state(self.pc, registers, self.stack(), top) }
    }

    fn callers(&self, top: usize) -> Vec<usize> {
        callers(self.pc, self.base, top)
    }
}

/// One number for a place, registers and the stack from `stack` up to `top`.
///
/// # Safety
/// All between `stack`, which is a multiple of eight, and `top` is mapped.
#[inline]
pub unsafe fn state(pc: usize, registers: impl Iterator<Item = usize>, stack: usize, top: usize) -> u64 {
    let mut hash = pc as u64;
    let mut mix =
        |word: usize| hash = (hash.rotate_left(5) ^ word as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    registers.for_each(&mut mix);
    let mut address = stack;
    while address + 8 <= top {
        // SAFETY: the caller's contract.
        mix(unsafe { std::ptr::read_volatile(address as *const usize) });
        address += 8;
    }
    hash
}

/// Return addresses, innermost first: `pc`, then by the chain of frame pointers from `base` up to `top`.
pub fn callers(pc: usize, mut base: usize, top: usize) -> Vec<usize> {
    let mut callers = vec![pc];
    let here = stack_pointer();
    while base.is_multiple_of(8) && base >= here && base + 16 <= top && callers.len() < 24 {
        // SAFETY: `base` lies in the live part of the caller's stack.
        let (next, pc) = unsafe { (*(base as *const usize), *((base + 8) as *const usize)) };
        callers.push(pc);
        if next <= base {
            break;
        }
        base = next;
    }
    callers
}

/// What looks like return addresses on the stack from `address` up to `top`, innermost first: words that point behind a call
/// instruction of the program. Some may be left over from earlier calls, so this is good for reports only.
pub fn callers_by_calls(address: usize, top: usize) -> Vec<usize> {
    let code = crate::process::code();
    let mut callers = Vec::new();
    let mut address = address.next_multiple_of(8);
    while address + 8 <= top && callers.len() < 64 {
        // SAFETY: the live part of the running stack; the bytes before a code address that is in `code` with room are code.
        unsafe {
            let word = std::ptr::read_volatile(address as *const usize);
            if word >= code.start + 8
                && word < code.end
                && is_call(std::slice::from_raw_parts((word - 7) as *const u8, 7))
            {
                callers.push(word);
            }
        }
        address += 8;
    }
    callers
}

/// Whether the bytes end with a call: relative, or through a register or memory.
fn is_call(before: &[u8]) -> bool {
    let indirect = |length: usize| {
        let at = before.len() - length;
        before[at] == 0xff && before[at + 1] & 0x38 == 0x10
    };
    before[before.len() - 5] == 0xe8 || [2, 3, 6, 7].into_iter().any(indirect)
}

/// The stack pointer, roughly: where a coroutine starts.
#[inline(always)]
pub fn stack_pointer() -> usize {
    let pointer: usize;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, rsp", out(reg) pointer, options(nomem, nostack, preserves_flags)) };
    pointer
}

/// Defines `extern "C"` symbols that push a [`Frame`] and pass its address to the given function as the last argument,
/// in `$register`, the register after those of the symbol's own arguments.
macro_rules! shims {
    ($($register:literal: $($symbol:ident => $to:path),+ $(,)?;)+) => {$($(
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        unsafe extern "C" fn $symbol() {
            ::core::arch::naked_asm!(
                "push rbp",
                "push rbx",
                "push r12",
                "push r13",
                "push r14",
                "push r15",
                concat!("mov ", $register, ", rsp"),
                "sub rsp, 8",
                "call {to}",
                "add rsp, 56",
                "ret",
                to = sym $to,
            )
        }
    )+)+};
}
pub(crate) use shims;

/// As [`shims!`], for functions with six arguments in registers and one on the stack: the frame's address is the eighth.
macro_rules! wide_shims {
    ($($symbol:ident => $to:path),+ $(,)?) => {$(
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        unsafe extern "C" fn $symbol() {
            ::core::arch::naked_asm!(
                "push rbp",
                "push rbx",
                "push r12",
                "push r13",
                "push r14",
                "push r15",
                "mov rax, rsp",
                "sub rsp, 8",
                "push rax",
                "push qword ptr [rax + 56]",
                "call {to}",
                "add rsp, 72",
                "ret",
                to = sym $to,
            )
        }
    )+};
}
pub(crate) use wide_shims;
