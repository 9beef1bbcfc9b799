//! Where this process keeps its statics and this thread its thread-locals.

use std::ops::Range;
use std::ptr;
use std::sync::{Mutex, PoisonError};

use object::{Object, ObjectSymbol};

use crate::mapped::Mapped;

#[derive(Default)]
struct Segments {
    statics: Range<usize>,
    code: Range<usize>,
    thread_local_size: usize,
    thread_local_align: usize,
    bias: usize,
    seen: bool,
}

unsafe extern "C" fn look(info: *mut libc::dl_phdr_info, _size: usize, into: *mut libc::c_void) -> i32 {
    // SAFETY: `dl_iterate_phdr` passes a valid object and what `segments` passed to it.
    let (info, segments) = unsafe { (&*info, &mut *into.cast::<Segments>()) };
    if segments.seen {
        return 1;
    }
    segments.seen = true;
    segments.bias = info.dlpi_addr as usize;
    // SAFETY: the object's program headers.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum as usize) };
    for header in headers {
        if header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W != 0 {
            let start = info.dlpi_addr as usize + header.p_vaddr as usize;
            segments.statics = start..start + header.p_memsz as usize;
        } else if header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_X != 0 {
            let start = info.dlpi_addr as usize + header.p_vaddr as usize;
            segments.code = start..start + header.p_memsz as usize;
        } else if header.p_type == libc::PT_TLS {
            segments.thread_local_size = header.p_memsz as usize;
            segments.thread_local_align = header.p_align as usize;
        }
    }
    1
}

fn segments() -> Segments {
    let mut segments = Segments::default();
    // SAFETY: the callback gets the pointer to `segments`, which outlives the call; the executable comes first.
    unsafe { libc::dl_iterate_phdr(Some(look), (&raw mut segments).cast()) };
    segments
}

/// The executable's writable data.
pub fn statics() -> Range<usize> {
    segments().statics
}

/// The executable's thread-locals of the calling thread: they end at the thread pointer (x86-64 ABI).
pub fn thread_locals() -> Range<usize> {
    let Segments { thread_local_size, thread_local_align, .. } = segments();
    let end: usize;
    // SAFETY: the x86-64 ABI keeps the thread pointer at fs:0.
    unsafe { std::arch::asm!("mov {}, fs:0", out(reg) end, options(nostack, readonly, preserves_flags)) };
    end - thread_local_size.next_multiple_of(thread_local_align.max(1))..end
}

/// The executable's code.
pub fn code() -> Range<usize> {
    segments().code
}

/// What is to be taken off an address to get the one in the executable's file.
pub fn bias() -> usize {
    segments().bias
}

/// Whether the return address `pc` is in the part of the standard library that talks to the operating system. By the
/// symbol table; without one the answer is no.
pub fn is_std(pc: usize) -> bool {
    // Not a thread-local: those are put back when an execution ends by a panic.
    static KNOWN: Mutex<Vec<(usize, bool)>> = Mutex::new(Vec::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(&(_, is_std)) = known.iter().find(|(caller, _)| *caller == pc) {
        return is_std;
    }
    let is_std = function(pc - 1).is_some_and(|name| name.contains("3std3sys"));
    known.push((pc, is_std));
    is_std
}

/// The symbol of the function that `address` is in.
fn function(address: usize) -> Option<&'static str> {
    let address = address.wrapping_sub(bias()) as u64;
    let program = object::File::parse(Mapped::this_program()?.bytes()).ok()?;
    let is_in = |symbol: &object::Symbol<'_, '_>| {
        (symbol.address()..symbol.address() + symbol.size()).contains(&address)
    };
    program.symbols().find(is_in)?.name().ok()
}

/// A copy of this thread's thread-locals, to be put back.
#[derive(Debug, Default)]
pub struct Image {
    range: Range<usize>,
    words: Vec<u64>,
}

impl Image {
    /// Copies them.
    pub fn take(&mut self) {
        if self.words.is_empty() {
            let all = thread_locals();
            self.range = all.start.next_multiple_of(8)..all.end & !7;
        }
        self.words.clear();
        // SAFETY: the thread's own thread-locals, which nobody else uses.
        self.words
            .extend(self.range.clone().step_by(8).map(|at| unsafe { ptr::read_volatile(at as *const u64) }));
    }

    /// Puts them back.
    pub fn restore(&self) {
        for (at, &word) in self.range.clone().step_by(8).zip(&self.words) {
            // SAFETY: as above; nothing that was made since refers to them.
            unsafe { ptr::write_volatile(at as *mut u64, word) };
        }
    }
}
