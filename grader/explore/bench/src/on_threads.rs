//! The programs on the machine itself, again and again for five seconds: a stress test. A run that makes no progress for a
//! second is stuck.

mod command;
mod programs;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

mod sync {
    use std::cell::UnsafeCell;
    use std::sync::atomic::{AtomicU32, Ordering};

    pub use std::sync::Arc as Shared;

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

    // SAFETY: the wrong programs do race; volatile accesses keep what the compiler makes of it in bounds.
    unsafe impl Sync for Data {}

    impl Data {
        pub fn new(value: u64) -> Data {
            Data(UnsafeCell::new(value))
        }
        pub fn get(&self) -> u64 {
            // SAFETY: as above.
            unsafe { self.0.get().read_volatile() }
        }
        pub fn set(&self, value: u64) {
            // SAFETY: as above.
            unsafe { self.0.get().write_volatile(value) }
        }
    }

    pub struct JoinHandle(std::thread::JoinHandle<()>);

    impl JoinHandle {
        pub fn join(self) {
            self.0.join().unwrap();
        }
    }

    pub fn spawn(body: impl FnOnce() + Send + 'static) -> JoinHandle {
        JoinHandle(std::thread::spawn(body))
    }

    pub fn spin() {
        std::hint::spin_loop();
    }
}

static EXECUTIONS: AtomicU64 = AtomicU64::new(0);

fn main() {
    let (_, body) = command::program();
    let begin = Instant::now();
    let end = move |found: bool| -> ! {
        command::result(found, EXECUTIONS.load(Relaxed), begin);
        std::process::exit(0)
    };
    std::panic::set_hook(Box::new(move |_| end(true)));
    std::thread::spawn(move || {
        let mut last = u64::MAX;
        loop {
            std::thread::sleep(Duration::from_secs(1));
            let now = EXECUTIONS.load(Relaxed);
            if now == last {
                end(true);
            }
            last = now;
        }
    });
    while begin.elapsed() < Duration::from_secs(5) {
        body();
        EXECUTIONS.fetch_add(1, Relaxed);
    }
    end(false);
}
