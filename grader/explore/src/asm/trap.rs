//! The `int3`s: put in place for an exploration, and the signal handler that they lead to.

use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::copy::{Copies, Registers};
use super::perform::{Done, Point, Word};
use super::program;
use super::scan::{self, Act, Visible};
use crate::engine::{self, Engine};
use crate::mapped::Mapped;

/// The flag that makes the processor stop after one instruction.
const TRAP_FLAG: i64 = 1 << 8;

/// `int3`
const BREAKPOINT: u8 = 0xcc;

/// All that is known of this program's visible instructions.
#[derive(Debug)]
struct Patches {
    /// In order of address.
    points: Vec<Point>,
    copies: Copies,
    bias: usize,
    /// The pages that the points are on.
    pages: Vec<usize>,
}

static PATCHES: AtomicPtr<Patches> = AtomicPtr::new(ptr::null_mut());

thread_local! {
    /// The point that is stepped through, and what its word was.
    static STEPPING: Cell<Option<(usize, Option<Word>)>> = const { Cell::new(None) };
}

const PAGE: usize = 4096;

impl Patches {
    /// None when there is no inline assembly in explored code.
    fn of_this_program() -> Result<Option<Patches>, String> {
        let executable = Mapped::this_program().ok_or("the program's own file cannot be read")?;
        let functions = program::functions(executable.bytes())?;
        let visible: Vec<Visible> = functions.iter().flat_map(scan::visible).collect();
        if visible.is_empty() {
            return Ok(None);
        }
        let bias = crate::process::bias();
        let mut copies = Copies::new(visible.len()).ok_or("there is no memory for copies of instructions")?;
        let mut points: Vec<Point> =
            visible.iter().map(|visible| point(visible, &mut copies, bias)).collect();
        points.sort_by_key(|point| point.address);
        points.dedup_by_key(|point| point.address);
        let mut pages: Vec<usize> = points.iter().map(|point| point.address & !(PAGE - 1)).collect();
        pages.dedup();
        Ok(Some(Patches { points, copies, bias, pages }))
    }

    fn find(&self, address: usize) -> Option<usize> {
        self.points.binary_search_by_key(&address, |point| point.address).ok()
    }

    fn protect(&self, protection: i32) -> bool {
        // SAFETY: pages of this program's code.
        self.pages
            .iter()
            .all(|&page| unsafe { libc::mprotect(page as *mut libc::c_void, PAGE, protection) } == 0)
    }

    fn write(&self, byte: impl Fn(&Point) -> u8) {
        for point in &self.points {
            set(point.address, byte(point));
        }
    }
}

fn set(address: usize, byte: u8) {
    // SAFETY: the first byte of an instruction, on a page made writable, in a process whose other threads do not run it.
    unsafe { ptr::write_volatile(address as *mut u8, byte) };
}

fn point(visible: &Visible, copies: &mut Copies, bias: usize) -> Point {
    let Visible { instruction, act, operand } = visible;
    let copied = !matches!(act, Act::Syscall | Act::Alone);
    let copy = if copied { copies.add(instruction, operand.is_some()) } else { None };
    let address = (instruction.ip() as usize).wrapping_add(bias);
    let act = if copied && copy.is_none() { Act::Alone } else { *act };
    // SAFETY: an instruction of this program.
    let byte = unsafe { ptr::read_volatile(address as *const u8) };
    Point {
        address,
        next: address + instruction.len(),
        act,
        operand: *operand,
        copy: copy.unwrap_or(0),
        byte,
        compares: scan::compares(instruction),
        name: scan::name(instruction),
    }
}

/// While this lives, visible instructions of inline assembly lead here.
#[derive(Debug)]
pub struct Engaged {
    patches: &'static Patches,
    before: libc::sigaction,
    _alone: MutexGuard<'static, ()>,
}

/// Puts the breakpoints in place; `Ok(None)` when the explored code has no inline assembly.
///
/// # Errors
/// Why they cannot be.
pub fn engage() -> Result<Option<Engaged>, String> {
    static ALONE: Mutex<()> = Mutex::new(());
    static FOUND: OnceLock<Result<Option<Patches>, String>> = OnceLock::new();
    let patches = match FOUND.get_or_init(Patches::of_this_program) {
        Ok(Some(patches)) => patches,
        Ok(None) => return Ok(None),
        Err(why) => return Err(format!("{why}, so inline assembly would not be seen")),
    };
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    if !patches.protect(libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC) {
        return Err(
            "the explored code's pages cannot be made writable, so its inline assembly would not be seen"
                .into(),
        );
    }
    PATCHES.store(ptr::from_ref(patches).cast_mut(), Ordering::Release);
    // SAFETY: all zeros is a valid `sigaction`; the handler has the signature that SA_SIGINFO asks for. No SA_ONSTACK: it
    // runs on the model thread's own stack, so that it can be suspended.
    let before = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        let mut before: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_trap as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER;
        libc::sigaction(libc::SIGTRAP, &action, &mut before);
        before
    };
    patches.write(|_| BREAKPOINT);
    Ok(Some(Engaged { patches, before, _alone: alone }))
}

impl Drop for Engaged {
    fn drop(&mut self) {
        self.patches.write(|point| point.byte);
        self.patches.protect(libc::PROT_READ | libc::PROT_EXEC);
        // SAFETY: what was there before.
        unsafe { libc::sigaction(libc::SIGTRAP, &self.before, ptr::null_mut()) };
    }
}

/// # Safety
/// Called by the kernel.
unsafe extern "C" fn on_trap(signal: i32, _info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid context; the patches live as long as the program.
    let (context, patches) =
        unsafe { (&mut *context.cast::<libc::ucontext_t>(), PATCHES.load(Ordering::Acquire).as_ref()) };
    let registers: &mut Registers = &mut context.uc_mcontext.gregs;
    let rip = registers[libc::REG_RIP as usize] as usize;
    let Some(patches) = patches else { return };
    if let Some((index, word)) = STEPPING.take() {
        let point = &patches.points[index];
        if rip == point.address {
            // A string instruction that is not done.
            STEPPING.set(Some((index, word)));
            return;
        }
        set(point.address, BREAKPOINT);
        registers[libc::REG_EFL as usize] &= !TRAP_FLAG;
        if let Some(word) = word {
            let engine = engine::enter();
            // SAFETY: the engine is not borrowed while explored code runs.
            unsafe { (*engine).changed(word) };
            engine::leave(engine);
        }
        return;
    }
    let Some(index) = patches.find(rip - 1) else {
        // A trap of somebody else's.
        // SAFETY: the default action, taken at once.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        }
        return;
    };
    let point = &patches.points[index];
    let engine = engine::enter();
    // SAFETY: the engine is not borrowed while explored code runs.
    let done = unsafe {
        if engine.is_null() || Engine::unwinds(engine) {
            if point.natively(registers, &patches.copies, patches.bias) {
                Done::Yes
            } else {
                Done::Step(None)
            }
        } else {
            point.explore(engine, registers, &patches.copies, patches.bias)
        }
    };
    match done {
        Done::Yes => registers[libc::REG_RIP as usize] = point.next as i64,
        Done::Step(word) => {
            STEPPING.set(Some((index, word)));
            set(point.address, point.byte);
            registers[libc::REG_RIP as usize] = point.address as i64;
            registers[libc::REG_EFL as usize] |= TRAP_FLAG;
        }
    }
    if !engine.is_null() {
        engine::leave(engine);
    }
}
