//! The two futex calls, and right primitives on them for the other families to build on.

use std::sync::atomic::{AtomicU32, Ordering::*};

pub fn wait(word: &AtomicU32, expected: u32) -> i64 {
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG, expected, 0) }
}

pub fn wake(word: &AtomicU32, count: i32) {
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, count) };
}

pub fn wait_bits(word: &AtomicU32, expected: u32, bits: u32) -> i64 {
    let none = std::ptr::null::<libc::timespec>();
    let command = libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG;
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), command, expected, none, 0, bits) }
}

pub fn wake_bits(word: &AtomicU32, count: i32, bits: u32) {
    let none = std::ptr::null::<libc::timespec>();
    let command = libc::FUTEX_WAKE_BITSET | libc::FUTEX_PRIVATE_FLAG;
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), command, count, none, 0, bits) };
}

pub const ALL: i32 = i32::MAX;

#[derive(Default)]
pub struct Mutex(AtomicU32);

impl Mutex {
    pub fn lock(&self) {
        if self.0.compare_exchange(0, 1, Acquire, Relaxed).is_err() {
            while self.0.swap(2, Acquire) != 0 {
                wait(&self.0, 2);
            }
        }
    }
    pub fn unlock(&self) {
        if self.0.swap(0, Release) == 2 {
            wake(&self.0, 1);
        }
    }
}

#[derive(Default)]
pub struct Condvar(AtomicU32);

impl Condvar {
    pub fn wait(&self, mutex: &Mutex) {
        let sequence = self.0.load(Relaxed);
        mutex.unlock();
        wait(&self.0, sequence);
        mutex.lock();
    }
    pub fn signal(&self) {
        self.0.fetch_add(1, Relaxed);
        wake(&self.0, 1);
    }
    pub fn broadcast(&self) {
        self.0.fetch_add(1, Relaxed);
        wake(&self.0, ALL);
    }
}

#[derive(Default)]
pub struct Semaphore(AtomicU32);

impl Semaphore {
    pub fn new(value: u32) -> Semaphore {
        Semaphore(AtomicU32::new(value))
    }
    pub fn wait(&self) {
        loop {
            let value = self.0.load(Relaxed);
            if value == 0 {
                wait(&self.0, 0);
            } else if self.0.compare_exchange(value, value - 1, Acquire, Relaxed).is_ok() {
                return;
            }
        }
    }
    pub fn post(&self) {
        self.0.fetch_add(1, Release);
        wake(&self.0, 1);
    }
}
