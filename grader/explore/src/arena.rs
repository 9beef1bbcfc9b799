//! The explored code's heap: a region that is handed out front to back and emptied after each execution. So addresses are
//! the same in every execution, abandoned executions leak nothing, and no byte is used twice in one execution, which lets
//! every use of freed memory be seen.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr;

use crate::engine;
use crate::memory::race::Touch;

/// Address space for one exploring thread; pages are used only once touched.
const REGION: usize = 1 << 30;

/// One execution may use this much before its allocations go to the system, and are leaked if it is abandoned.
const MOST: usize = 64 << 20;

/// Bytes of a freed block that are watched for later use.
const WATCHED: usize = 1 << 10;

struct ModelHeap;

#[global_allocator]
static HEAP: ModelHeap = ModelHeap;

thread_local! {
    static REGION_START: Cell<usize> = const { Cell::new(0) };
    static NEXT: Cell<usize> = const { Cell::new(0) };
}

/// Empties the region.
pub fn reset() {
    NEXT.set(REGION_START.get());
}

/// Prepares the region of this OS thread.
///
/// # Panics
/// When the address space cannot be had.
pub fn prepare() {
    if REGION_START.get() != 0 {
        return;
    }
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new private mapping.
    let region = unsafe { libc::mmap(ptr::null_mut(), REGION, protection, flags, -1, 0) };
    assert!(region != libc::MAP_FAILED, "no address space for the explored heap");
    REGION_START.set(region as usize);
    NEXT.set(region as usize);
}

/// Whether `address` is in the region.
#[inline]
fn owns(address: usize) -> bool {
    let start = REGION_START.get();
    start != 0 && address.wrapping_sub(start) < REGION
}

fn take(layout: Layout) -> *mut u8 {
    let align = layout.align().max(16);
    let start = (NEXT.get() + align - 1) & !(align - 1);
    let end = start + layout.size().max(1);
    if end - REGION_START.get() > MOST {
        // SAFETY: the caller's layout.
        return unsafe { System.alloc(layout) };
    }
    NEXT.set(end);
    start as *mut u8
}

// SAFETY: outside explored code it is the system's allocator. Inside, blocks come from the region, do not overlap, and live
// until the execution ends, when no explored code is left.
unsafe impl GlobalAlloc for ModelHeap {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let engine = engine::current();
        if engine.is_null() {
            // SAFETY: the caller's layout.
            return unsafe { System.alloc(layout) };
        }
        engine::enter();
        let block = take(layout);
        // SAFETY: the engine is not borrowed while explored code runs.
        unsafe {
            let engine = &mut *engine;
            engine.threads[engine.running].advance();
            if !owns(block as usize) {
                engine.memory.fresh(block as usize, layout.size());
            }
        }
        engine::leave(engine);
        block
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if engine::current().is_null() {
            // SAFETY: the caller's layout.
            return unsafe { System.alloc_zeroed(layout) };
        }
        // SAFETY: the caller's layout; the block has that size.
        unsafe {
            let block = self.alloc(layout);
            if !block.is_null() {
                ptr::write_bytes(block, 0, layout.size());
            }
            block
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if !owns(block as usize) {
            // SAFETY: it came from the system.
            unsafe { System.dealloc(block, layout) };
        } else if !engine::current().is_null() {
            let here = 0u8;
            free(block as usize, layout.size(), (&raw const here) as usize);
        }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !owns(block as usize) && engine::current().is_null() {
            // SAFETY: it came from the system.
            return unsafe { System.realloc(block, layout, size) };
        }
        // SAFETY: the new block is large enough for what is copied; the layout is the caller's.
        unsafe {
            let new = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !new.is_null() {
                ptr::copy_nonoverlapping(block, new, layout.size().min(size));
                self.dealloc(block, layout);
            }
            new
        }
    }
}

/// Explored code gives a block of the region back: that is a write to all of it, and nobody may use it afterwards.
/// `frame` is in the frame of the allocator's entry point.
#[inline(never)]
fn free(address: usize, size: usize, frame: usize) {
    let engine = engine::enter();
    // SAFETY: the engine is not borrowed while explored code runs.
    unsafe {
        if !engine::Engine::unwinds(engine) {
            let pc = crate::interpose::FREE;
            (*engine).note_free(address, size, frame);
            let cause = (*engine).touch(Touch::Free, address, size.clamp(1, WATCHED), pc);
            if let Some(cause) = cause {
                engine::Engine::stop(engine, cause);
            }
        }
    }
    engine::leave(engine);
}
