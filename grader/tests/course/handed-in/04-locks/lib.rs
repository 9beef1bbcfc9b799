//! What a student handed in.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Release};

/// 0 free, 1 taken.
#[derive(Debug, Default)]
pub struct Lock(pub AtomicU32);

impl Lock {
    /// Waits until the lock is free, and takes it.
    pub fn lock(&self) {
        while self.0.load(Acquire) == 1 {
            std::hint::spin_loop();
        }
        self.0.store(1, Release);
    }

    /// Frees the lock.
    pub fn unlock(&self) {
        self.0.store(0, Release);
    }
}
