//! The programs on explore, built with its instrumentation.

mod command;
mod programs;

use std::time::Instant;

use explore::{Budget, Explorer};

/// Ordinary atomics and system calls: the explorer needs no others.
mod sync {
    use std::cell::UnsafeCell;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// As `Model::share` has it; a reference count would be one more thing to explore.
    pub struct Shared<T: 'static>(&'static T);

    impl<T> Shared<T> {
        pub fn new(value: T) -> Shared<T> {
            Shared(Box::leak(Box::new(value)))
        }
        pub fn clone(&self) -> Shared<T> {
            Shared(self.0)
        }
    }

    impl<T> std::ops::Deref for Shared<T> {
        type Target = T;
        fn deref(&self) -> &T {
            self.0
        }
    }

    pub struct Word(AtomicU32);

    impl Word {
        pub fn new(value: u32) -> Word {
            Word(AtomicU32::new(value))
        }
        pub fn load(&self, order: Ordering) -> u32 {
            self.0.load(order)
        }
        pub fn store(&self, value: u32, order: Ordering) {
            self.0.store(value, order);
        }
        pub fn swap(&self, value: u32, order: Ordering) -> u32 {
            self.0.swap(value, order)
        }
        pub fn fetch_add(&self, value: u32, order: Ordering) -> u32 {
            self.0.fetch_add(value, order)
        }
        pub fn compare_exchange(
            &self,
            old: u32,
            new: u32,
            success: Ordering,
            failure: Ordering,
        ) -> Result<u32, u32> {
            self.0.compare_exchange(old, new, success, failure)
        }
        pub fn wait(&self, expected: u32) {
            let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
            // SAFETY: a futex call on a live word.
            unsafe { libc::syscall(libc::SYS_futex, self.0.as_ptr(), operation, expected, 0) };
        }
        pub fn wake(&self, count: u32) {
            let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
            // SAFETY: as above.
            unsafe { libc::syscall(libc::SYS_futex, self.0.as_ptr(), operation, count.min(i32::MAX as u32)) };
        }
    }

    pub struct Data(UnsafeCell<u64>);

    // SAFETY: that is what the explorer finds out.
    unsafe impl Sync for Data {}

    impl Data {
        pub fn new(value: u64) -> Data {
            Data(UnsafeCell::new(value))
        }
        pub fn get(&self) -> u64 {
            // SAFETY: as above.
            unsafe { *self.0.get() }
        }
        pub fn set(&self, value: u64) {
            // SAFETY: as above.
            unsafe { *self.0.get() = value }
        }
    }

    pub struct JoinHandle(explore::JoinHandle<()>);

    impl JoinHandle {
        pub fn join(self) {
            self.0.join();
        }
    }

    pub fn spawn(body: impl FnOnce() + 'static) -> JoinHandle {
        JoinHandle(explore::spawn(body))
    }

    pub fn spin() {
        std::hint::spin_loop();
    }
}

fn main() {
    let (mode, body) = command::program();
    let budget = Budget { bound: 3, spurious: false, steps: u64::MAX, ..Budget::default() };
    if mode == "speed" {
        command::repeat(|| Explorer::new(budget).run(|_| body()).executions);
        return;
    }
    let begin = Instant::now();
    let report = Explorer::new(budget).run(|_| body());
    command::result(report.finding.is_some(), report.executions, begin);
}
