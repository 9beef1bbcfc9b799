//! Which instructions of a function other threads can tell the order of, and what each does to memory.

use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind,
    Register,
};

use super::program::Function;

/// What an instruction does, as others see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Reads memory.
    Load,
    /// Writes memory.
    Store,
    /// Reads and then writes memory, and others can come in between.
    Update,
    /// Reads and writes memory in one step, and is a fence.
    Locked,
    /// Orders all accesses around it.
    Fence,
    /// Says that the thread spins.
    Pause,
    /// Calls the kernel.
    Syscall,
    /// Something that is not modelled operand by operand: it is run by itself, as if it were locked.
    Alone,
}

/// The memory operand: where it is, by registers (numbered as in the signal's context).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operand {
    /// A register to start from.
    pub base: Option<u8>,
    /// A register to multiply.
    pub index: Option<u8>,
    /// By what.
    pub scale: u8,
    /// What to add. With no register at all, the address in the file.
    pub displacement: u64,
    /// Bytes.
    pub size: u8,
    /// It is relative to the program's own place in memory.
    pub relative: bool,
}

/// An instruction that others can tell the order of.
#[derive(Debug, Clone)]
pub struct Visible {
    /// The instruction, at its address in the file.
    pub instruction: Instruction,
    /// What it does.
    pub act: Act,
    /// Where; None for an act without memory.
    pub operand: Option<Operand>,
}

/// The visible instructions of a function, in order.
pub fn visible(function: &Function) -> Vec<Visible> {
    let mut found = Vec::new();
    let mut information = InstructionInfoFactory::new();
    let decoder = Decoder::with_ip(64, &function.code, function.start, DecoderOptions::NONE);
    for instruction in decoder {
        let asm = function.asm.iter().any(|range| range.contains(&instruction.ip()));
        if let Some((act, operand)) = judge(&instruction, asm, &mut information) {
            found.push(Visible { instruction, act, operand });
        }
    }
    found
}

fn judge(
    instruction: &Instruction,
    asm: bool,
    information: &mut InstructionInfoFactory,
) -> Option<(Act, Option<Operand>)> {
    match instruction.mnemonic() {
        Mnemonic::Mfence | Mnemonic::Cpuid | Mnemonic::Serialize => return Some((Act::Fence, None)),
        Mnemonic::Pause => return Some((Act::Pause, None)),
        Mnemonic::Syscall if asm => return Some((Act::Syscall, None)),
        // None of these reads or writes what it points to, or anything that others see.
        Mnemonic::Lea | Mnemonic::Nop | Mnemonic::Lfence | Mnemonic::Sfence => return None,
        _ => {}
    }
    let operand = (0..instruction.op_count()).find(|&index| instruction.op_kind(index) == OpKind::Memory);
    let locked =
        instruction.has_lock_prefix() || instruction.mnemonic() == Mnemonic::Xchg && operand.is_some();
    // Instrumented code makes calls of its atomic operations, so these are never the compiler's own.
    let plain = !locked && !matches!(instruction.mnemonic(), Mnemonic::Cmpxchg | Mnemonic::Xadd);
    if plain && !asm || instruction.is_stack_instruction() || instruction.flow_control() != FlowControl::Next
    {
        return None;
    }
    let Some(operand) = operand else {
        return instruction.is_string_instruction().then_some((Act::Alone, None));
    };
    if matches!(instruction.segment_prefix(), Register::FS | Register::GS) {
        return None;
    }
    if matches!(instruction.memory_base().full_register(), Register::RSP | Register::RBP) {
        // The thread's own stack. `lock or dword ptr [rsp], 0` is how a fence is spelt without `mfence`.
        return locked.then(|| Some((Act::Fence, Some(place(instruction)?))))?;
    }
    let access = information.info(instruction).op_access(operand);
    let simple = registers_are_general(instruction) && !addresses_by_bit(instruction);
    let act = match access {
        _ if !simple => Act::Alone,
        _ if locked => Act::Locked,
        OpAccess::Read | OpAccess::CondRead => Act::Load,
        OpAccess::Write | OpAccess::CondWrite => Act::Store,
        OpAccess::ReadWrite | OpAccess::ReadCondWrite => Act::Update,
        OpAccess::None | OpAccess::NoMemAccess => return None,
    };
    Some((act, Some(place(instruction)?)))
}

/// Whether all registers that it names are general ones, the stack pointer not among them.
fn registers_are_general(instruction: &Instruction) -> bool {
    (0..instruction.op_count())
        .filter(|&index| instruction.op_kind(index) == OpKind::Register)
        .map(|index| instruction.op_register(index))
        .all(|register| register.is_gpr() && register.full_register() != Register::RSP)
        && matches!(instruction.memory_size().size(), 1 | 2 | 4 | 8 | 16)
}

/// `bts [word], eax` reaches bytes beyond its operand.
fn addresses_by_bit(instruction: &Instruction) -> bool {
    matches!(instruction.mnemonic(), Mnemonic::Bt | Mnemonic::Bts | Mnemonic::Btr | Mnemonic::Btc)
        && instruction.op1_kind() == OpKind::Register
}

fn place(instruction: &Instruction) -> Option<Operand> {
    let relative = instruction.is_ip_rel_memory_operand();
    let base = if relative { Register::None } else { instruction.memory_base() };
    // A 32-bit address is nothing that a pointer comes out of.
    let known = |register: Register| register == Register::None || register.is_gpr64();
    if !known(base) || !known(instruction.memory_index()) {
        return None;
    }
    Some(Operand {
        base: number(base),
        index: number(instruction.memory_index()),
        scale: instruction.memory_index_scale() as u8,
        displacement: instruction.memory_displacement64(),
        size: instruction.memory_size().size() as u8,
        relative,
    })
}

/// A register's place in the signal's context.
fn number(register: Register) -> Option<u8> {
    let place = match register {
        Register::RAX => libc::REG_RAX,
        Register::RBX => libc::REG_RBX,
        Register::RCX => libc::REG_RCX,
        Register::RDX => libc::REG_RDX,
        Register::RSI => libc::REG_RSI,
        Register::RDI => libc::REG_RDI,
        Register::RBP => libc::REG_RBP,
        Register::RSP => libc::REG_RSP,
        Register::R8 => libc::REG_R8,
        Register::R9 => libc::REG_R9,
        Register::R10 => libc::REG_R10,
        Register::R11 => libc::REG_R11,
        Register::R12 => libc::REG_R12,
        Register::R13 => libc::REG_R13,
        Register::R14 => libc::REG_R14,
        Register::R15 => libc::REG_R15,
        _ => return None,
    };
    Some(place as u8)
}

/// Whether it writes only if it finds what it expects.
pub fn compares(instruction: &Instruction) -> bool {
    matches!(instruction.mnemonic(), Mnemonic::Cmpxchg | Mnemonic::Cmpxchg8b | Mnemonic::Cmpxchg16b)
}

/// What it is called in reports.
pub fn name(instruction: &Instruction) -> &'static str {
    match (instruction.mnemonic(), instruction.has_lock_prefix()) {
        (Mnemonic::Xchg, _) => "xchg",
        (Mnemonic::Cmpxchg, true) => "lock cmpxchg",
        (Mnemonic::Cmpxchg, false) => "cmpxchg",
        (Mnemonic::Xadd, true) => "lock xadd",
        (Mnemonic::Xadd, false) => "xadd",
        (Mnemonic::Cmpxchg16b, true) => "lock cmpxchg16b",
        (Mnemonic::Cmpxchg16b, false) => "cmpxchg16b",
        (Mnemonic::Bts, true) => "lock bts",
        (Mnemonic::Btr, true) => "lock btr",
        (Mnemonic::Add, true) => "lock add",
        (Mnemonic::Sub, true) => "lock sub",
        (Mnemonic::Inc, true) => "lock inc",
        (Mnemonic::Dec, true) => "lock dec",
        (Mnemonic::Or, true) => "lock or",
        (Mnemonic::And, true) => "lock and",
        (Mnemonic::Xor, true) => "lock xor",
        (_, true) => "a locked instruction",
        (_, false) => "an instruction without `lock`",
    }
}
