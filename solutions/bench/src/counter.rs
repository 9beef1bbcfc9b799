//! What locks are measured with: a number that only the holder touches. One thread with nobody in its way, or several at once.

use std::cell::UnsafeCell;
use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use crate::machine;

/// A number under a lock.
pub trait Counter: Sync {
    /// Takes the lock, adds 1, and gives the lock back.
    fn add(&self);

    /// The number.
    fn total(&self) -> u64;
}

/// A lock that knows nothing of what it protects.
pub trait Exclusive: Sync {
    fn lock(&self);
    fn unlock(&self);
}

/// A number under such a lock.
pub struct Under<L> {
    lock: L,
    number: UnsafeCell<u64>,
}

// SAFETY: the number is touched under the lock only.
unsafe impl<L: Exclusive> Sync for Under<L> {}

impl<L> Under<L> {
    pub const fn new(lock: L) -> Self {
        Self { lock, number: UnsafeCell::new(0) }
    }
}

impl<L: Exclusive> Counter for Under<L> {
    #[inline]
    fn add(&self) {
        self.lock.lock();
        // SAFETY: the lock is held.
        unsafe { *self.number.get() += 1 };
        self.lock.unlock();
    }

    fn total(&self) -> u64 {
        self.lock.lock();
        // SAFETY: the lock is held.
        let number = unsafe { *self.number.get() };
        self.lock.unlock();
        number
    }
}

/// So that no two contestants meet in a cache line.
#[repr(align(128))]
struct Apart<T>(T);

/// How many times a lone thread does it in a round.
const OPERATIONS: u32 = 1_000_000;

/// Nanoseconds of processor time for each time.
pub fn nanoseconds_of(mut operation: impl FnMut()) -> impl FnMut() -> f64 {
    move || {
        machine::pin(0);
        let start = machine::processor_time();
        (0..OPERATIONS).for_each(|_| operation());
        let figure = (machine::processor_time() - start).as_nanos() as f64 / f64::from(OPERATIONS);
        machine::unpin();
        figure
    }
}

/// Nanoseconds to lock, add and unlock, with nobody in the way.
pub fn alone(counter: impl Counter) -> impl FnMut() -> f64 {
    let counter = Apart(counter);
    nanoseconds_of(move || black_box(&counter.0).add())
}

/// How long several threads are at it in a round.
const SLICE: Duration = Duration::from_millis(50);

/// Millions of additions in a second by `threads` threads together, spread over the processors.
pub fn contended(counter: impl Counter, threads: usize) -> impl FnMut() -> f64 {
    let counter = Apart(counter);
    move || {
        let before = counter.0.total();
        let (start, stop) = (Barrier::new(threads + 1), AtomicBool::new(false));
        let adding = |index: usize| {
            machine::pin(index);
            start.wait();
            while !stop.load(Relaxed) {
                black_box(&counter.0).add();
            }
        };
        let elapsed = thread::scope(|scope| {
            let adding = &adding;
            let threads: Vec<_> = (0..threads).map(|index| scope.spawn(move || adding(index))).collect();
            start.wait();
            let start = Instant::now();
            thread::sleep(SLICE);
            stop.store(true, Relaxed);
            threads.into_iter().for_each(|thread| thread.join().expect("it only adds"));
            start.elapsed()
        });
        (counter.0.total() - before) as f64 / elapsed.as_secs_f64() / 1e6
    }
}
