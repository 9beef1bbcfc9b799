//! Copies of visible instructions that work on a scratch word in place of their memory operand, and a way to run one with
//! a stopped thread's registers. So an instruction is its own specification: nothing of the processor is written anew here.

use std::ptr;

use iced_x86::{Encoder, Instruction, Register};

/// The kernel's order of registers in a signal's context; the last one used is the flags.
pub type Registers = [i64; 23];

/// Room for the scratch word in front of the copies.
const SCRATCH: usize = 64;

/// All copies, in memory of their own.
#[derive(Debug)]
pub struct Copies {
    start: usize,
    size: usize,
    used: usize,
}

impl Copies {
    /// Room for `count` copies; None when there is no memory.
    pub fn new(count: usize) -> Option<Copies> {
        let size = (SCRATCH + count * 20).next_multiple_of(4096);
        let protection = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new private mapping.
        let start = unsafe { libc::mmap(ptr::null_mut(), size, protection, flags, -1, 0) };
        (start != libc::MAP_FAILED).then_some(Copies { start: start as usize, size, used: SCRATCH })
    }

    /// Adds a copy of `instruction` and returns its address; None when it cannot be written that way.
    pub fn add(&mut self, instruction: &Instruction, memory: bool) -> Option<usize> {
        let mut copy = *instruction;
        if memory {
            copy.set_memory_base(Register::RIP);
            copy.set_memory_index(Register::None);
            copy.set_memory_index_scale(1);
            copy.set_memory_displ_size(8);
            copy.set_memory_displacement64(self.start as u64);
        }
        let at = self.start + self.used;
        let mut encoder = Encoder::new(64);
        encoder.encode(&copy, at as u64).ok()?;
        let mut bytes = encoder.take_buffer();
        bytes.push(0xc3);
        if self.used + bytes.len() > self.size {
            return None;
        }
        // SAFETY: within the mapping, which nobody runs yet.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), at as *mut u8, bytes.len()) };
        self.used += bytes.len();
        Some(at)
    }

    /// Runs the copy at `code` with `registers`, its memory operand being `value`; returns what that became.
    pub fn run(&self, code: usize, registers: &mut Registers, value: u128) -> u128 {
        let scratch = self.start as *mut u128;
        // SAFETY: the scratch word is ours; `code` came from `add` and changes only it and the registers.
        unsafe {
            ptr::write_volatile(scratch, value);
            run(registers, code);
            ptr::read_volatile(scratch)
        }
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        // SAFETY: our own mapping, which nobody runs any more.
        unsafe { libc::munmap(self.start as *mut libc::c_void, self.size) };
    }
}

/// Loads all registers but the stack pointer, calls `code`, and stores them again.
#[unsafe(naked)]
unsafe extern "C" fn run(registers: *mut Registers, code: usize) {
    core::arch::naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "push rdi",
        "push rsi",
        "push qword ptr [rdi + {flags}]",
        "popfq",
        "mov r8, [rdi + {r8}]",
        "mov r9, [rdi + {r9}]",
        "mov r10, [rdi + {r10}]",
        "mov r11, [rdi + {r11}]",
        "mov r12, [rdi + {r12}]",
        "mov r13, [rdi + {r13}]",
        "mov r14, [rdi + {r14}]",
        "mov r15, [rdi + {r15}]",
        "mov rbp, [rdi + {rbp}]",
        "mov rbx, [rdi + {rbx}]",
        "mov rdx, [rdi + {rdx}]",
        "mov rax, [rdi + {rax}]",
        "mov rcx, [rdi + {rcx}]",
        "mov rsi, [rdi + {rsi}]",
        "mov rdi, [rdi + {rdi}]",
        "call [rsp]",
        // rdi changes places with the pointer to the registers.
        "xchg rdi, [rsp + 8]",
        "mov [rdi + {r8}], r8",
        "mov [rdi + {r9}], r9",
        "mov [rdi + {r10}], r10",
        "mov [rdi + {r11}], r11",
        "mov [rdi + {r12}], r12",
        "mov [rdi + {r13}], r13",
        "mov [rdi + {r14}], r14",
        "mov [rdi + {r15}], r15",
        "mov [rdi + {rbp}], rbp",
        "mov [rdi + {rbx}], rbx",
        "mov [rdi + {rdx}], rdx",
        "mov [rdi + {rax}], rax",
        "mov [rdi + {rcx}], rcx",
        "mov [rdi + {rsi}], rsi",
        "pushfq",
        "pop qword ptr [rdi + {flags}]",
        "mov rax, [rsp + 8]",
        "mov [rdi + {rdi}], rax",
        "cld",
        "add rsp, 16",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
        r8 = const libc::REG_R8 * 8,
        r9 = const libc::REG_R9 * 8,
        r10 = const libc::REG_R10 * 8,
        r11 = const libc::REG_R11 * 8,
        r12 = const libc::REG_R12 * 8,
        r13 = const libc::REG_R13 * 8,
        r14 = const libc::REG_R14 * 8,
        r15 = const libc::REG_R15 * 8,
        rbp = const libc::REG_RBP * 8,
        rbx = const libc::REG_RBX * 8,
        rdx = const libc::REG_RDX * 8,
        rax = const libc::REG_RAX * 8,
        rcx = const libc::REG_RCX * 8,
        rsi = const libc::REG_RSI * 8,
        rdi = const libc::REG_RDI * 8,
        flags = const libc::REG_EFL * 8,
    )
}
