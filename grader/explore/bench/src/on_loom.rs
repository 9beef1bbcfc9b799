//! The programs on loom, at most three preemptions, ten seconds each. It has no futex: a mutex and a condition variable of
//! its own stand for the kernel's queue.

mod command;
mod programs;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

mod sync {
    use loom::cell::UnsafeCell;
    use loom::sync::atomic::{AtomicU32, Ordering};
    use loom::sync::{Condvar, Mutex};

    pub use loom::sync::Arc as Shared;

    pub struct Word {
        word: AtomicU32,
        queue: Mutex<()>,
        called: Condvar,
    }

    impl Word {
        pub fn new(value: u32) -> Word {
            Word { word: AtomicU32::new(value), queue: Mutex::new(()), called: Condvar::new() }
        }
        pub fn load(&self, order: Ordering) -> u32 {
            self.word.load(order)
        }
        pub fn store(&self, value: u32, order: Ordering) {
            self.word.store(value, order);
        }
        pub fn swap(&self, value: u32, order: Ordering) -> u32 {
            self.word.swap(value, order)
        }
        pub fn fetch_add(&self, value: u32, order: Ordering) -> u32 {
            self.word.fetch_add(value, order)
        }
        pub fn compare_exchange(
            &self,
            old: u32,
            new: u32,
            success: Ordering,
            failure: Ordering,
        ) -> Result<u32, u32> {
            self.word.compare_exchange(old, new, success, failure)
        }
        pub fn wait(&self, expected: u32) {
            let queue = self.queue.lock().unwrap();
            if self.word.load(Ordering::SeqCst) == expected {
                drop(self.called.wait(queue).unwrap());
            }
        }
        pub fn wake(&self, count: u32) {
            let _queue = self.queue.lock().unwrap();
            if count == 1 { self.called.notify_one() } else { self.called.notify_all() }
        }
    }

    pub struct Data(UnsafeCell<u64>);

    // SAFETY: that is what loom finds out.
    unsafe impl Sync for Data {}

    impl Data {
        pub fn new(value: u64) -> Data {
            Data(UnsafeCell::new(value))
        }
        pub fn get(&self) -> u64 {
            // SAFETY: as above.
            self.0.with(|data| unsafe { *data })
        }
        pub fn set(&self, value: u64) {
            // SAFETY: as above.
            self.0.with_mut(|data| unsafe { *data = value });
        }
    }

    pub struct JoinHandle(loom::thread::JoinHandle<()>);

    impl JoinHandle {
        pub fn join(self) {
            self.0.join().unwrap();
        }
    }

    pub fn spawn(body: impl FnOnce() + 'static) -> JoinHandle {
        JoinHandle(loom::thread::spawn(body))
    }

    pub fn spin() {
        loom::thread::yield_now();
    }
}

static EXECUTIONS: AtomicU64 = AtomicU64::new(0);

fn explore(body: fn(), most: Duration) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.max_duration = Some(most);
    builder.check(move || {
        EXECUTIONS.fetch_add(1, Relaxed);
        body();
    });
}

fn main() {
    let (mode, body) = command::program();
    if mode == "speed" {
        command::repeat(|| {
            let before = EXECUTIONS.load(Relaxed);
            explore(body, Duration::from_secs(10));
            EXECUTIONS.load(Relaxed) - before
        });
        return;
    }
    let begin = Instant::now();
    // The first panic is the finding; what follows while it unwinds may end the process.
    std::panic::set_hook(Box::new(move |_| {
        command::result(true, EXECUTIONS.load(Relaxed), begin);
        std::process::exit(0);
    }));
    let clean = catch_unwind(AssertUnwindSafe(|| explore(body, Duration::from_secs(10)))).is_ok();
    command::result(!clean, EXECUTIONS.load(Relaxed), begin);
}
