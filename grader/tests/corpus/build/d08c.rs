//! Allocates for everybody.
//!
//! message: src/lib.rs:22 sets an allocator for the whole program

use std::alloc::{GlobalAlloc, Layout, System};

pub fn run() -> u64 {
    42
}

struct Mine;

unsafe impl GlobalAlloc for Mine {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static MINE: Mine = Mine;
