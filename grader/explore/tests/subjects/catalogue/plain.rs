//! Memory without protection of its own.

use std::cell::UnsafeCell;

#[derive(Default)]
pub struct Plain(UnsafeCell<u64>);

unsafe impl Sync for Plain {}

impl Plain {
    pub fn get(&self) -> u64 {
        unsafe { *self.0.get() }
    }
    pub fn set(&self, value: u64) {
        unsafe { *self.0.get() = value }
    }
    pub fn add(&self, value: u64) {
        self.set(self.get() + value);
    }
}
