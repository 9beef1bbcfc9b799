//! The programs on shuttle, at random or by PCT (`find-pct`). It has no futex, either, and no relaxed memory.

mod command;
mod programs;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner};

mod sync {
    use std::cell::UnsafeCell;

    use shuttle::sync::atomic::{AtomicU32, Ordering};
    use shuttle::sync::{Condvar, Mutex};

    pub use shuttle::sync::Arc as Shared;

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

    // SAFETY: shuttle runs one thread at a time.
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

    pub struct JoinHandle(shuttle::thread::JoinHandle<()>);

    impl JoinHandle {
        pub fn join(self) {
            self.0.join().unwrap();
        }
    }

    pub fn spawn(body: impl FnOnce() + Send + 'static) -> JoinHandle {
        JoinHandle(shuttle::thread::spawn(body))
    }

    pub fn spin() {
        shuttle::thread::yield_now();
    }
}

static EXECUTIONS: AtomicU64 = AtomicU64::new(0);

/// Executions of one round.
const MOST: usize = 10_000;

fn explore(body: fn(), mode: &str) {
    let counted = move || {
        EXECUTIONS.fetch_add(1, Relaxed);
        body();
    };
    let mut config = Config::new();
    config.failure_persistence = shuttle::FailurePersistence::None;
    if mode == "find-pct" {
        Runner::new(PctScheduler::new_from_seed(1, 3, MOST), config).run(counted);
    } else {
        Runner::new(RandomScheduler::new_from_seed(1, MOST), config).run(counted);
    }
}

fn main() {
    let (mode, body) = command::program();
    if mode == "speed" {
        command::repeat(|| {
            explore(body, &mode);
            MOST as u64
        });
        return;
    }
    let begin = Instant::now();
    std::panic::set_hook(Box::new(move |_| {
        command::result(true, EXECUTIONS.load(Relaxed), begin);
        std::process::exit(0);
    }));
    let clean = catch_unwind(AssertUnwindSafe(|| explore(body, &mode))).is_ok();
    command::result(!clean, EXECUTIONS.load(Relaxed), begin);
}
