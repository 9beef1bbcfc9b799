//! What the lab about locks asks for.

use std::cell::UnsafeCell;

use harness::{Check, Exploration, JoinHandle, Model, Outcome};
use locks::Lock;

harness::checks! {
    "is-free-at-first" => is_free_at_first,
    "at-most-one-holder" => at_most_one_holder,
}

/// A new lock can be taken.
fn is_free_at_first(check: &mut Check) -> Outcome {
    check.ask("`lock` and `unlock`", || {
        let lock = Lock::default();
        lock.lock();
        lock.unlock();
    })
}

/// A counter that only the holder of the lock touches.
#[derive(Default)]
struct Counter(Lock, UnsafeCell<u32>);

// SAFETY: that is what the check is about.
unsafe impl Sync for Counter {}

/// Two threads count under the lock.
fn at_most_one_holder(check: &mut Check) -> Outcome {
    check.explore("two threads lock and unlock", Exploration::default(), |model: &Model| {
        let counter = model.share(Counter::default());
        let count = move || {
            counter.0.lock();
            // SAFETY: this thread holds the lock.
            unsafe { *counter.1.get() += 1 };
            counter.0.unlock();
        };
        let threads = [model.spawn("thread 1", count), model.spawn("thread 2", count)];
        threads.into_iter().for_each(JoinHandle::join);
        // SAFETY: no other thread is left.
        assert_eq!(unsafe { *counter.1.get() }, 2, "a count was lost");
    })
}
