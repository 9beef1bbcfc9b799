//! Single stepping: a worker runs one instruction at a time, and the check decides who moves.
//!
//! The worker is traced with ptrace(2). It tells where it is by [`mark`]; between two marks the check
//! lets it run at full speed or step by step, sees each instruction and each change of the watched
//! memory, and can leave it standing at any instruction. Only one worker moves at a time, so what
//! happens is a function of the submission alone, not of the scheduler or of the load.

mod interleave;

use std::collections::HashMap;
use std::io;

use libc::c_void;

use crate::check::{Check, Student};
use crate::shared::Shared;
use crate::stop::Stop;

pub use interleave::{Race, Section, mutual_exclusion, races};

/// Says to the tracer: here, with this value. A breakpoint instruction: for closures run by a [`Stepper`].
pub fn mark(label: u64, value: u64) {
    breakpoint(label, value);
}

#[unsafe(naked)]
extern "C" fn breakpoint(label: u64, value: u64) {
    core::arch::naked_asm!("int3", "ret")
}

/// A mark that a worker has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// What the worker gave as label.
    pub label: u64,
    /// What it gave as value.
    pub value: u64,
}

/// One instruction as it stood in memory before it was executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// Its address, relative to where the executable is loaded.
    pub address: u64,
    /// The bytes from there on, 15 at most: the instruction and some of what follows.
    pub bytes: Vec<u8>,
    /// Calls that the stack may still return to, innermost first: their addresses and bytes. Some are stale.
    callers: Vec<(u64, Vec<u8>)>,
}

impl Instruction {
    /// Hands it to the grader, with the calls that led to it: [`Check::instruction`].
    pub fn report(&self, check: &Check, rule: &str) {
        check.instruction(rule, self.address, &self.bytes);
        for (address, bytes) in &self.callers {
            check.instruction("called-by", *address, bytes);
        }
    }

    /// The prefixes: (length, whether `lock` is among them).
    fn prefixes(&self) -> (usize, bool) {
        let prefix =
            |byte: &&u8| matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3);
        let legacy = self.bytes.iter().take_while(prefix).count();
        let locked = self.bytes[..legacy].contains(&0xf0);
        let rex = self.bytes.get(legacy).is_some_and(|byte| (0x40..=0x4f).contains(byte));
        (legacy + usize::from(rex), locked)
    }

    /// Whether the processor executes it as one indivisible step on memory: a `lock` prefix, or `xchg`
    /// with a memory operand.
    pub fn is_locked(&self) -> bool {
        let (length, locked) = self.prefixes();
        let exchange = matches!(self.bytes.get(length), Some(0x86 | 0x87))
            && self.bytes.get(length + 1).is_some_and(|modrm| modrm >> 6 != 3);
        locked || exchange
    }

    /// Whether it is `pause`.
    pub fn is_pause(&self) -> bool {
        self.bytes.starts_with(&[0xf3, 0x90])
    }

    /// Whether it enters the kernel, and so may take long.
    pub fn is_system_call(&self) -> bool {
        self.bytes.starts_with(&[0x0f, 0x05])
    }

    /// Whether another process might notice: everything but the most frequent instructions that touch
    /// nothing besides registers and the process's own stack.
    fn is_visible(&self) -> bool {
        let (length, locked) = self.prefixes();
        let rest = &self.bytes[length.min(self.bytes.len())..];
        let (modrm, sib) = match *rest {
            _ if locked => return true,
            [
                0x50..=0x5f | 0x70..=0x7f | 0xc2 | 0xc3 | 0xe8 | 0xe9 | 0xeb | 0x90 | 0xb0..=0xbf | 0xcc,
                ..,
            ] => {
                return false;
            }
            [0x04 | 0x05 | 0x0c | 0x0d | 0x24 | 0x25 | 0x2c | 0x2d | 0x34 | 0x35 | 0x3c | 0x3d, ..] => {
                return false;
            }
            [0x98 | 0x99 | 0xa8 | 0xa9, ..] | [0xff, 0x15 | 0x25, ..] => return false,
            [0x0f, 0x80..=0x8f | 0x05 | 0x0b | 0x1e | 0x1f, ..] | [0x8d, ..] => return false,
            [0x0f, _, modrm, sib, ..] | [_, modrm, sib, ..] => (modrm, sib),
            _ => return true,
        };
        let prefix = length.checked_sub(1).and_then(|last| self.bytes.get(last));
        let extended = prefix.is_some_and(|byte| (0x40..=0x4f).contains(byte) && byte & 1 != 0);
        let known = matches!(rest[0], 0x00..=0x3b | 0x63 | 0x69 | 0x6b | 0x80..=0x8b | 0xc0 | 0xc1 | 0xc6 | 0xc7 | 0xd0..=0xd3 | 0xf6 | 0xf7 | 0xff);
        let registers_only = modrm >> 6 == 3;
        let own_stack = modrm & 7 == 4 && sib & 7 == 4 && !extended;
        // Relative to the instruction pointer: a static of this process.
        let own_static = modrm & 0xc7 == 5;
        !(known && (registers_only || own_stack || own_static))
    }
}

/// One executed instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The instruction.
    pub instruction: Instruction,
    /// Whether the watched memory was different afterwards.
    pub changed: bool,
}

/// Memory that the check watches while a worker steps: some value in shared memory.
#[derive(Debug, Clone, Copy)]
pub struct Watch {
    start: usize,
    length: usize,
}

impl Watch {
    /// Watches all bytes of a shared value, which must outlive the steppers that watch it.
    pub fn of<T: Sync>(shared: &Shared<T>) -> Watch {
        Watch { start: shared.address(), length: size_of::<T>() }
    }

    /// The bytes as they are now.
    pub fn bytes(&self) -> Vec<u8> {
        let first = self.start as *const u8;
        // SAFETY: the range is one live `Shared` value; volatile, because other processes write it.
        (0..self.length).map(|index| unsafe { first.add(index).read_volatile() }).collect()
    }

    /// Puts bytes back that [`Watch::bytes`] returned. Only while nobody moves.
    fn restore(&self, bytes: &[u8]) {
        let first = self.start as *mut u8;
        for (index, &byte) in bytes.iter().enumerate().take(self.length) {
            // SAFETY: as above, and all workers stand still.
            unsafe { first.add(index).write_volatile(byte) };
        }
    }
}

/// How far a worker goes in one call of [`Stepper::step`].
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// After this many instructions at most.
    pub steps: usize,
    /// Before it executes the next instruction after this many that others might notice.
    pub visible: Option<usize>,
    /// When it is back where it was, with the same registers, and nothing has changed since.
    pub spinning: bool,
    /// After an instruction that has changed the watched memory.
    pub until_change: bool,
    /// Before an instruction that enters the kernel, unless it is the first one: it might not come back.
    pub before_system_call: bool,
}

impl Limit {
    /// This many instructions.
    pub fn steps(steps: usize) -> Limit {
        Limit { steps, visible: None, spinning: false, until_change: false, before_system_call: false }
    }

    /// Before the next visible instruction after `visible` of them; 2,000 instructions at most.
    pub fn visible(visible: usize) -> Limit {
        Limit { visible: Some(visible), ..Limit::steps(2000) }
    }

    /// Until it plainly waits for somebody else: it repeats itself, or 400 instructions have passed.
    pub fn until_it_waits() -> Limit {
        Limit { spinning: true, ..Limit::steps(400) }
    }
}

/// Why [`Stepper::step`] returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// The worker came to a mark.
    Mark(Mark),
    /// It waits: it repeats itself and nothing changes.
    Spinning,
    /// The limit was reached.
    Limit,
}

/// A worker that moves only when told to. Dropped: killed and reaped.
pub struct Stepper<'c> {
    check: &'c Check,
    student: Option<Student<i32>>,
    pid: i32,
    what: String,
    watch: Watch,
    base: u64,
    /// A signal that arrived and is handed on with the next move.
    signal: i32,
    taken: usize,
}

impl<'c> Stepper<'c> {
    /// Starts a worker, which stands still before the first instruction of `body`.
    ///
    /// # Errors
    /// `Inconclusive` if the machine does not allow tracing; otherwise as [`Check::spawn`].
    pub fn start(
        check: &'c Check,
        what: &str,
        watch: Watch,
        body: impl FnOnce(),
    ) -> Result<Stepper<'c>, Stop> {
        stay_on_one_processor();
        let student = check.spawn(what, || {
            // SAFETY: asks to be traced by the parent; no memory is involved.
            if unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) } != 0 {
                return io::Error::last_os_error().raw_os_error().unwrap_or(libc::EPERM);
            }
            mark(0, 0);
            body();
            mark(u64::MAX, 0);
            0
        })?;
        let pid = student.pid();
        let base = load_address();
        let what = what.to_string();
        let mut stepper =
            Stepper { check, student: Some(student), pid, what, watch, base, signal: 0, taken: 0 };
        stepper.wait(true)?;
        Ok(stepper)
    }

    /// How many instructions it was stepped through so far.
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// The instruction that it will execute next.
    ///
    /// # Errors
    /// As [`Stepper::step`].
    pub fn standing_at(&mut self) -> Result<Instruction, Stop> {
        let registers = self.registers()?;
        Ok(Instruction { callers: self.callers(registers.rsp), ..self.instruction(registers.rip) })
    }

    /// The number of the system call that it is about to make, if the next instruction is one.
    ///
    /// # Errors
    /// As [`Stepper::step`].
    pub fn system_call(&mut self) -> Result<Option<i64>, Stop> {
        let registers = self.registers()?;
        Ok(self.instruction(registers.rip).is_system_call().then_some(registers.rax as i64))
    }

    /// The call instructions just before each address on the top of the stack.
    fn callers(&self, stack: u64) -> Vec<(u64, Vec<u8>)> {
        let mut bytes = [0u8; 1024];
        let length = read_memory(self.pid, stack, &mut bytes);
        let words = bytes[..length].chunks_exact(8).filter_map(|word| word.try_into().ok());
        let returns = words.map(u64::from_le_bytes).filter(|word| word.wrapping_sub(self.base) < 1 << 30);
        returns.filter_map(|address| self.call_before(address)).take(8).collect()
    }

    /// The call that returns to this address, as a direct one (`e8`), also where it goes through a table.
    fn call_before(&self, address: u64) -> Option<(u64, Vec<u8>)> {
        let direct = self.instruction(address.checked_sub(5)?);
        if direct.bytes.first() == Some(&0xe8) {
            return Some((direct.address, direct.bytes));
        }
        let start = address.checked_sub(6)?;
        let indirect = self.instruction(start);
        let &[0xff, 0x15, a, b, c, d, ..] = indirect.bytes.as_slice() else { return None };
        let slot = address.wrapping_add_signed(i32::from_le_bytes([a, b, c, d]).into());
        let mut target = [0u8; 8];
        if read_memory(self.pid, slot, &mut target) < 8 {
            return None;
        }
        let distance = u64::from_le_bytes(target).wrapping_sub(start + 5) as u32;
        Some((indirect.address, [&[0xe8][..], &distance.to_le_bytes()].concat()))
    }

    /// Lets it run at full speed until its next mark. `patience` in seconds of its own processor time:
    /// `None` when that was not enough, and then it can only be dropped.
    ///
    /// # Errors
    /// As [`Check::ask`](crate::Check::ask) if it ends instead; `TimedOut` at the check's deadline.
    pub fn run(&mut self, patience: f64) -> Result<Option<Mark>, Stop> {
        let limit = cpu_seconds(self.pid) + patience;
        loop {
            self.resume(libc::PTRACE_CONT)?;
            let mut enough = false;
            let mut glances = 0;
            while !enough && !self.has_stopped()? {
                glances += 1;
                if glances < 50 {
                    std::thread::yield_now();
                    continue;
                }
                let pid = self.pid;
                let mut stopped = false;
                self.check.wait_until(&format!("{} came back", self.what), || {
                    stopped = peek(pid, libc::WNOHANG).unwrap_or(true);
                    enough = cpu_seconds(pid) > limit;
                    stopped || enough
                })?;
            }
            if enough && !self.has_stopped()? {
                return Ok(None);
            }
            self.collect()?;
            if let Some(mark) = self.at_mark()? {
                return Ok(Some(mark));
            }
        }
    }

    /// Lets it go instruction by instruction to its next mark, or until the limit; `each` sees every one.
    ///
    /// # Errors
    /// As [`Stepper::run`].
    pub fn step(&mut self, limit: Limit, mut each: impl FnMut(&Step)) -> Result<Reached, Stop> {
        let mut visible = 0;
        let mut seen: HashMap<Vec<u64>, u32> = HashMap::new();
        let mut before = self.watch.bytes();
        let mut last = 0;
        for done in 0..limit.steps {
            let registers = self.registers()?;
            let instruction = self.instruction(registers.rip);
            if limit.before_system_call && done > 0 && instruction.is_system_call() {
                return Ok(Reached::Limit);
            }
            if instruction.is_visible() {
                if limit.visible == Some(visible) {
                    return Ok(Reached::Limit);
                }
                visible += 1;
            }
            // Whoever goes round in circles jumps back once a round.
            let back = std::mem::replace(&mut last, registers.rip) >= registers.rip;
            if limit.spinning && back {
                let times = seen.entry(self.state(&registers)).or_default();
                *times += 1;
                if *times > 1 {
                    return Ok(Reached::Spinning);
                }
            }
            let slow = instruction.is_system_call();
            self.resume(libc::PTRACE_SINGLESTEP)?;
            self.taken += 1;
            self.wait(slow)?;
            let after = self.watch.bytes();
            let changed = after != before;
            if changed {
                seen.clear();
                before = after;
            }
            // A mark is ours, not the submission's.
            if let Some(mark) = self.at_mark()? {
                return Ok(Reached::Mark(mark));
            }
            each(&Step { instruction, changed });
            if changed && limit.until_change {
                return Ok(Reached::Limit);
            }
        }
        Ok(Reached::Limit)
    }

    fn at_mark(&mut self) -> Result<Option<Mark>, Stop> {
        let registers = self.registers()?;
        let here = breakpoint as *const () as u64 + 1;
        Ok((registers.rip == here).then_some(Mark { label: registers.rdi, value: registers.rsi }))
    }

    fn registers(&mut self) -> Result<libc::user_regs_struct, Stop> {
        let mut registers = std::mem::MaybeUninit::<libc::user_regs_struct>::zeroed();
        // SAFETY: the place has the size that PTRACE_GETREGS writes.
        let result = unsafe { libc::ptrace(libc::PTRACE_GETREGS, self.pid, 0, registers.as_mut_ptr()) };
        if result != 0 {
            return Err(self.lost());
        }
        // SAFETY: all-zero is a valid value already, and the kernel has filled it.
        Ok(unsafe { registers.assume_init() })
    }

    /// What decides the next steps: the registers, and the part of the stack in use.
    fn state(&self, registers: &libc::user_regs_struct) -> Vec<u64> {
        let r = registers;
        let mut stack = [0u8; 640];
        let length = read_memory(self.pid, r.rsp - 128, &mut stack);
        let mut state = vec![
            r.rip, r.rsp, r.rax, r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rbp, r.r8, r.r9, r.r10, r.r11, r.r12,
            r.r13, r.r14, r.r15,
        ];
        let words = stack[..length].chunks_exact(8).filter_map(|word| word.try_into().ok());
        state.extend(words.map(u64::from_le_bytes));
        state
    }

    fn instruction(&self, address: u64) -> Instruction {
        let mut bytes = [0u8; 15];
        // Near the end of a mapping only a part can be read.
        let to_page_end = 4096 - (address as usize & 4095);
        let mut length = read_memory(self.pid, address, &mut bytes);
        if length == 0 {
            length = read_memory(self.pid, address, &mut bytes[..to_page_end.min(15)]);
        }
        Instruction {
            address: address.wrapping_sub(self.base),
            bytes: bytes[..length].to_vec(),
            callers: Vec::new(),
        }
    }

    fn resume(&mut self, request: libc::c_uint) -> Result<(), Stop> {
        let signal = std::mem::take(&mut self.signal);
        // SAFETY: the worker is ours and stopped; a signal number or 0 is all that is passed.
        match unsafe { libc::ptrace(request, self.pid, 0, signal) } {
            0 => Ok(()),
            _ => Err(self.lost()),
        }
    }

    /// Waits for the next stop. `slow` when the worker may sleep in the kernel.
    fn wait(&mut self, slow: bool) -> Result<(), Stop> {
        if slow {
            let pid = self.pid;
            self.check.wait_until(&format!("{} came back", self.what), || {
                peek(pid, libc::WNOHANG).unwrap_or(true)
            })?;
        } else {
            peek(self.pid, 0).map_err(|_| self.lost())?;
        }
        self.collect()
    }

    fn has_stopped(&mut self) -> Result<bool, Stop> {
        peek(self.pid, libc::WNOHANG).map_err(|_| self.lost())
    }

    /// Takes the stop that `peek` has seen; an end is left for the harness to read.
    fn collect(&mut self) -> Result<(), Stop> {
        let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
        let options = libc::WSTOPPED | libc::WEXITED | libc::WNOWAIT | libc::__WALL;
        // SAFETY: the place is a siginfo_t; all-zero is a valid one.
        let info = unsafe {
            libc::waitid(libc::P_PID, self.pid as libc::id_t, info.as_mut_ptr(), options);
            info.assume_init()
        };
        if info.si_code != libc::CLD_TRAPPED && info.si_code != libc::CLD_STOPPED {
            return Err(self.lost());
        }
        let mut status = 0;
        // SAFETY: `status` is a valid place for the result.
        unsafe { libc::waitpid(self.pid, &raw mut status, libc::__WALL) };
        let signal = libc::WSTOPSIG(status);
        self.signal = if signal == libc::SIGTRAP || signal == libc::SIGSTOP { 0 } else { signal };
        Ok(())
    }

    /// The worker is gone: what the harness says about its end.
    fn lost(&mut self) -> Stop {
        let Some(student) = self.student.take() else {
            return Stop::inconclusive("the traced process was lost");
        };
        match student.join() {
            Err(stop) => stop,
            Ok(0) => Stop::inconclusive(format!("{} came to its end while it was being traced", self.what)),
            Ok(errno) => Stop::inconclusive(format!(
                "this machine does not let a process trace its child (ptrace: {})",
                io::Error::from_raw_os_error(errno)
            )),
        }
    }
}

/// The first instruction of `call` that changes the watched memory, run in a worker; `None` if none does.
///
/// # Errors
/// `Inconclusive` where tracing is not allowed; otherwise as [`Check::ask`].
pub fn first_change(
    check: &Check,
    what: &str,
    watch: Watch,
    call: impl Fn(),
) -> Result<Option<Instruction>, Stop> {
    let before = watch.bytes();
    // At full speed first, in a worker of its own: a `todo!()` or a hang shows here.
    check.ask(what, &call)?;
    watch.restore(&before);
    let mut worker = Stepper::start(check, what, watch, &call)?;
    let mut found = None;
    let limit = Limit { until_change: true, ..Limit::steps(20_000) };
    worker.step(limit, |step| {
        if step.changed {
            found = Some(step.instruction.clone());
        }
    })?;
    if let Some(found) = &mut found {
        // The instruction has been executed, and the stack is as it was.
        let stack = worker.registers()?.rsp;
        found.callers = worker.callers(stack);
    }
    Ok(found)
}

/// Whether the child has stopped or ended, without taking the news.
fn peek(pid: i32, extra: i32) -> io::Result<bool> {
    loop {
        let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
        let options = libc::WSTOPPED | libc::WEXITED | libc::WNOWAIT | libc::__WALL | extra;
        // SAFETY: the place is a siginfo_t.
        let result = unsafe { libc::waitid(libc::P_PID, pid as libc::id_t, info.as_mut_ptr(), options) };
        if result == 0 {
            // SAFETY: zeroed is valid; `si_pid` stays 0 when nothing has happened.
            return Ok(unsafe { info.assume_init().si_pid() } != 0);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

fn read_memory(pid: i32, address: u64, into: &mut [u8]) -> usize {
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast::<c_void>(), iov_len: into.len() };
    let remote = libc::iovec { iov_base: address as *mut c_void, iov_len: into.len() };
    // SAFETY: the local buffer is valid for its length; the kernel checks the remote one.
    let count = unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(count).unwrap_or(0)
}

/// Processor time used by a process, in seconds; 0 if it is gone.
fn cpu_seconds(pid: i32) -> f64 {
    let mut clock = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both places are valid for their results.
    let result = unsafe {
        match libc::clock_getcpuclockid(pid, &raw mut clock) {
            0 => libc::clock_gettime(clock, &raw mut time),
            _ => -1,
        }
    };
    if result == 0 { time.tv_sec as f64 + time.tv_nsec as f64 / 1e9 } else { 0.0 }
}

/// Where the executable is loaded: the same in every forked worker.
fn load_address() -> u64 {
    unsafe extern "C" {
        static __ehdr_start: u8;
    }
    // Defined by the linker: the ELF header, which is what the addresses in the file count from.
    (&raw const __ehdr_start) as u64
}

/// The supervisor and what it forks from now on share a processor: a step is then three times as fast
/// as between two, because nobody has to be woken on the other one.
fn stay_on_one_processor() {
    use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
    let me = nix::unistd::Pid::from_raw(0);
    let (Ok(allowed), Ok(here)) = (sched_getaffinity(me), sched_getcpu()) else { return };
    let count = (0..CpuSet::count()).filter(|&cpu| allowed.is_set(cpu).unwrap_or(false)).count();
    let mut one = CpuSet::new();
    if count > 1 && one.set(here).is_ok() {
        let _ = sched_setaffinity(me, &one);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], locked: bool, visible: bool) {
        let mut padded = bytes.to_vec();
        padded.resize(15, 0x90);
        let instruction = Instruction { address: 0, bytes: padded, callers: Vec::new() };
        assert_eq!((instruction.is_locked(), instruction.is_visible()), (locked, visible), "{bytes:02x?}");
    }

    #[test]
    fn lock_cmpxchg_is_locked() {
        check(&[0xf0, 0x0f, 0xb1, 0x0f], true, true);
    }

    #[test]
    fn cmpxchg_without_lock_is_not() {
        check(&[0x0f, 0xb1, 0x0f], false, true);
    }

    #[test]
    fn exchange_with_memory_is_locked() {
        check(&[0x87, 0x07], true, true);
        check(&[0x48, 0x87, 0x07], true, true);
    }

    #[test]
    fn exchange_of_registers_is_not() {
        check(&[0x87, 0xc8], false, false);
    }

    #[test]
    fn a_move_to_the_stack_is_nobody_elses_business() {
        check(&[0x48, 0x89, 0x7c, 0x24, 0x08], false, false);
        check(&[0xc7, 0x44, 0x24, 0x04, 0, 0, 0, 0], false, false);
    }

    #[test]
    fn a_move_by_another_pointer_is_visible() {
        check(&[0x8b, 0x07], false, true);
        check(&[0x41, 0x8b, 0x04, 0x24], false, true);
        check(&[0xc7, 0x07, 0, 0, 0, 0], false, true);
    }

    #[test]
    fn a_call_through_the_linkage_table_is_invisible() {
        check(&[0xff, 0x15, 0x10, 0x20, 0x00, 0x00], false, false);
        check(&[0xff, 0x10], false, true);
    }

    #[test]
    fn arithmetic_on_eax_is_invisible() {
        check(&[0xa8, 0x01], false, false);
        check(&[0x48, 0xd1, 0xe8], false, false);
        check(&[0x3d, 0x00, 0x00, 0x00, 0x00], false, false);
    }

    #[test]
    fn pause_is_recognised() {
        let pause = Instruction { address: 0, bytes: vec![0xf3, 0x90], callers: Vec::new() };
        assert!(pause.is_pause() && !pause.is_locked() && !pause.is_visible());
    }
}
