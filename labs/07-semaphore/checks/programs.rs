//! Small programs for the explorer that must hold for every counting semaphore, the weak and the strong one.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU32, Ordering};

use harness::{Check, Exploration, JoinHandle, Model, Outcome};
use semaphore::{Semaphore, StrongSemaphore};

/// What both semaphores can do.
pub trait Counting: Sync + 'static {
    fn with(count: u32) -> Self;
    fn wait(&self);
    fn try_wait(&self) -> bool;
    fn post(&self);
}

macro_rules! counting {
    ($($semaphore:ident)*) => {$(
        impl Counting for $semaphore {
            fn with(count: u32) -> Self {
                $semaphore::new(count)
            }
            fn wait(&self) {
                $semaphore::wait(self);
            }
            fn try_wait(&self) -> bool {
                $semaphore::try_wait(self)
            }
            fn post(&self) {
                $semaphore::post(self);
            }
        }
    )*};
}

counting!(Semaphore StrongSemaphore);

/// A number without any protection of its own.
pub struct Plain(pub UnsafeCell<i64>);

// SAFETY: reached in critical sections only; if these are none, it is what the check is to find.
unsafe impl Sync for Plain {}

impl Plain {
    pub fn new(value: i64) -> Plain {
        Plain(UnsafeCell::new(value))
    }

    /// `count++` or `count--`.
    pub fn add(&self, step: i64) {
        // SAFETY: as above.
        unsafe { *self.0.get() += step };
    }

    pub fn get(&self) -> i64 {
        // SAFETY: as above.
        unsafe { *self.0.get() }
    }
}

pub fn within(executions: u64) -> Exploration {
    Exploration { executions, ..Exploration::default() }
}

/// For programs with many steps.
pub fn bounded(bound: u8, executions: u64) -> Exploration {
    Exploration { bound, ..within(executions) }
}

/// A binary semaphore around `count++` and `count--`; and two places for three threads.
pub fn exclusion<S: Counting>(check: &Check) -> Outcome {
    check.explore("`count++` and `count--` behind a semaphore of 1", within(50_000), |model: &Model| {
        let semaphore = model.share(S::with(1));
        let count = model.share(Plain::new(5));
        let turns = move |step: i64| {
            move || {
                for _ in 0..2 {
                    semaphore.wait();
                    count.add(step);
                    semaphore.post();
                }
            }
        };
        let threads = [model.spawn("count++", turns(1)), model.spawn("count--", turns(-1))];
        threads.into_iter().for_each(JoinHandle::join);
        assert_eq!(
            count.get(),
            5,
            "`count` was 5; after 2 times `count++` and `count--` in critical sections"
        );
    })?;
    check.explore(
        "three threads, one of which only tries, and two places",
        within(20_000),
        |model: &Model| {
            let semaphore = model.share(S::with(2));
            let inside = model.share(AtomicU32::new(0));
            let visit = move || {
                let others = inside.fetch_add(1, Ordering::Relaxed);
                assert!(others < 2, "{} threads are inside, and the semaphore was made with 2", others + 1);
                inside.fetch_sub(1, Ordering::Relaxed);
                semaphore.post();
            };
            let turn = move || {
                semaphore.wait();
                visit();
            };
            let attempt = move || {
                if semaphore.try_wait() {
                    visit();
                }
            };
            let threads =
                [model.spawn("thread A", turn), model.spawn("thread B", turn), model.spawn("tries", attempt)];
            threads.into_iter().for_each(JoinHandle::join);
            assert!(
                semaphore.try_wait() && semaphore.try_wait(),
                "all have left, and the count is not 2 again"
            );
            assert!(!semaphore.try_wait(), "all have left, and the count is more than 2");
        },
    )
}

/// As many are let in as there were posts, and see what was written before.
pub fn signals<S: Counting>(check: &Check) -> Outcome {
    check.explore("two threads wait, one posts twice", within(50_000), |model: &Model| {
        let semaphore = model.share(S::with(0));
        let waiters = ["thread A", "thread B"].map(|name| model.spawn(name, move || semaphore.wait()));
        semaphore.post();
        semaphore.post();
        waiters.into_iter().for_each(JoinHandle::join);
        assert!(!semaphore.try_wait(), "two posts have let three in");
    })?;
    check.explore("two threads post, one waits twice", within(50_000), |model: &Model| {
        let semaphore = model.share(S::with(0));
        let posters = ["thread A", "thread B"].map(|name| model.spawn(name, move || semaphore.post()));
        semaphore.wait();
        semaphore.wait();
        posters.into_iter().for_each(JoinHandle::join);
    })?;
    check.explore(
        "one thread writes and posts, another one tries and reads",
        within(5_000),
        |model: &Model| {
            let semaphore = model.share(S::with(0));
            let number = model.share(Plain::new(1));
            let writer = model.spawn("writer", move || {
                number.add(1);
                semaphore.post();
            });
            if semaphore.try_wait() {
                assert_eq!(
                    number.get(),
                    2,
                    "a number was 1, was made 2 before `post`, and is after a `try_wait` that got in"
                );
            }
            writer.join();
        },
    )
}
