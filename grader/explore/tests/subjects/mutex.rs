//! Futex mutexes: a right one and wrong ones.

#[path = "scenario.rs"]
mod scenario;

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU32, Ordering::*};

use explore::Model;

fn futex_wait(word: &AtomicU32, expected: u32) {
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG, expected, 0) };
}

fn futex_wake(word: &AtomicU32, count: i32) {
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, count) };
}

trait Mutex: Default + 'static {
    fn lock(&self);
    fn unlock(&self);
}

#[derive(Default)]
struct Good(AtomicU32);

impl Mutex for Good {
    fn lock(&self) {
        if self.0.compare_exchange(0, 1, Acquire, Relaxed).is_ok() {
            return;
        }
        while self.0.swap(2, Acquire) != 0 {
            futex_wait(&self.0, 2);
        }
    }
    fn unlock(&self) {
        if self.0.swap(0, Release) == 2 {
            futex_wake(&self.0, 1);
        }
    }
}

#[derive(Default)]
struct NoState2(AtomicU32);
impl Mutex for NoState2 {
    fn lock(&self) {
        while self.0.swap(1, Acquire) != 0 {
            futex_wait(&self.0, 1);
        }
    }
    fn unlock(&self) {
        if self.0.swap(0, Release) == 2 {
            futex_wake(&self.0, 1);
        }
    }
}

#[derive(Default)]
struct RelaxedUnlock(AtomicU32);
impl Mutex for RelaxedUnlock {
    fn lock(&self) {
        if self.0.compare_exchange(0, 1, Acquire, Relaxed).is_ok() {
            return;
        }
        while self.0.swap(2, Acquire) != 0 {
            futex_wait(&self.0, 2);
        }
    }
    fn unlock(&self) {
        if self.0.swap(0, Relaxed) == 2 {
            futex_wake(&self.0, 1);
        }
    }
}

#[derive(Default)]
struct WakeBeforeRelease(AtomicU32);
impl Mutex for WakeBeforeRelease {
    fn lock(&self) {
        if self.0.compare_exchange(0, 1, Acquire, Relaxed).is_ok() {
            return;
        }
        while self.0.swap(2, Acquire) != 0 {
            futex_wait(&self.0, 2);
        }
    }
    fn unlock(&self) {
        if self.0.load(Relaxed) == 2 {
            futex_wake(&self.0, 1);
        }
        self.0.store(0, Release);
    }
}

#[derive(Default)]
struct Spin(AtomicU32);
impl Mutex for Spin {
    fn lock(&self) {
        while self.0.swap(1, Acquire) != 0 {
            std::hint::spin_loop();
        }
    }
    fn unlock(&self) {
        self.0.store(0, Release);
    }
}

#[derive(Default)]
struct NoLock;
impl Mutex for NoLock {
    fn lock(&self) {}
    fn unlock(&self) {}
}

#[derive(Default)]
struct Guarded<M> {
    mutex: M,
    value: UnsafeCell<u64>,
}
unsafe impl<M> Sync for Guarded<M> {}

fn count<M: Mutex>(model: &Model, threads: usize) {
    let shared: &'static Guarded<M> = model.share(Guarded::default());
    let handles: Vec<_> = (0..threads)
        .map(|_| {
            explore::spawn(move || {
                shared.mutex.lock();
                unsafe { *shared.value.get() += 1 };
                shared.mutex.unlock();
            })
        })
        .collect();
    for handle in handles {
        handle.join();
    }
    assert_eq!(unsafe { *shared.value.get() }, threads as u64);
}

fn main() {
    scenario::main(&[
        ("good-2", |model| count::<Good>(model, 2)),
        ("good-3", |model| count::<Good>(model, 3)),
        ("spin-2", |model| count::<Spin>(model, 2)),
        ("spin-3", |model| count::<Spin>(model, 3)),
        ("no-state-2", |model| count::<NoState2>(model, 2)),
        ("relaxed-unlock", |model| count::<RelaxedUnlock>(model, 2)),
        ("wake-before-release", |model| count::<WakeBeforeRelease>(model, 2)),
        ("wake-before-release-3", |model| count::<WakeBeforeRelease>(model, 3)),
        ("no-lock", |model| count::<NoLock>(model, 2)),
        ("todo", |_| todo!("write it")),
    ]);
}
