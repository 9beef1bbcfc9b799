//! What is asked of every lock: that it excludes, at once or by waiting, and takes its word atomically.

use super::*;

/// A lock, who is inside, and something that only its holder touches.
pub struct Room<L> {
    lock: L,
    inside: AtomicU32,
    visits: UnsafeCell<u32>,
}

// SAFETY: whether the lock keeps the visitors apart is what the checks are about.
unsafe impl<L: Sync> Sync for Room<L> {}

impl<L: RawLock> Room<L> {
    fn new(lock: L) -> Room<L> {
        Room { lock, inside: AtomicU32::new(0), visits: UnsafeCell::new(0) }
    }

    /// What a holder does.
    fn stay(&self) {
        let others = self.inside.fetch_add(1, Ordering::Relaxed);
        assert!(others == 0, "2 threads hold the lock at the same time");
        self.inside.fetch_sub(1, Ordering::Relaxed);
    }

    /// Writes to memory that has no other protection than the lock.
    fn sign(&self) {
        // SAFETY: this thread holds the lock.
        unsafe { *self.visits.get() += 1 };
    }
}

/// Explores two threads that take the lock and give it back, twice each: that they are never inside together, and that
/// each sees what the one before it has written.
pub fn exclusive<L: RawLock + Sync + 'static>(check: &Check, new: fn() -> L) -> Outcome {
    let turns = |model: &Model, room: &'static Room<L>, visit: fn(&Room<L>)| {
        let threads = ["thread 1", "thread 2"].map(|name| {
            model.spawn(name, move || {
                for _ in 0..2 {
                    room.lock.lock();
                    visit(room);
                    room.lock.unlock();
                }
            })
        });
        threads.into_iter().for_each(JoinHandle::join);
    };
    check.explore("two threads lock and unlock twice", Exploration::default(), |model: &Model| {
        turns(model, model.share(Room::new(new())), Room::stay);
    })?;
    check.explore("two threads write under the lock", Exploration::default(), |model: &Model| {
        turns(model, model.share(Room::new(new())), Room::sign);
    })?;
    // Three threads have many more interleavings than two, and waiters that back off more than others.
    let waiting = Exploration { bound: 2, executions: 2_500, ..Exploration::default() };
    check.explore("two threads wait for a lock that is held", waiting, |model: &Model| {
        let room = model.share(Room::new(new()));
        room.lock.lock();
        let threads = ["thread 1", "thread 2"].map(|name| {
            model.spawn(name, move || {
                room.lock.lock();
                room.stay();
                room.lock.unlock();
            })
        });
        // Both come to wait.
        std::thread::yield_now();
        room.lock.unlock();
        threads.into_iter().for_each(JoinHandle::join);
    })
}

/// The same for attempts that never wait; a refused one leaves the lock to its holder.
pub fn tries<L: RawLock + Sync + 'static>(check: &Check, new: fn() -> L) -> Outcome {
    check.explore("two threads try the lock twice", Exploration::default(), |model: &Model| {
        let room = model.share(Room::new(new()));
        let threads = ["thread 1", "thread 2"].map(|name| {
            model.spawn(name, move || {
                for _ in 0..2 {
                    if room.lock.try_lock() {
                        room.stay();
                        room.lock.unlock();
                    }
                }
            })
        });
        threads.into_iter().for_each(JoinHandle::join);
        assert!(room.lock.try_lock(), "`try_lock` says no although nobody holds the lock");
    })?;
    check.explore("two threads try a lock that is held", Exploration::default(), |model: &Model| {
        let room = model.share(Room::new(new()));
        assert!(room.lock.try_lock(), "`try_lock` says no to a lock that is free");
        let threads = ["thread 1", "thread 2"].map(|name| {
            model.spawn(name, move || {
                for _ in 0..2 {
                    assert!(!room.lock.try_lock(), "`try_lock` says yes although the lock is held");
                }
            })
        });
        threads.into_iter().for_each(JoinHandle::join);
        room.lock.unlock();
        assert!(room.lock.try_lock(), "`try_lock` says no although the lock was given back");
    })
}

/// Hands the first instruction that changes the lock to the grader, which decodes it.
pub fn changes_atomically<L: Sync>(
    check: &Check,
    lock: &Shared<L>,
    name: &str,
    take: impl Fn(&L),
) -> Outcome {
    let change = step::first_change(check, name, Watch::of(lock), || take(lock))?;
    let Some(change) = change else {
        return Err(Stop::failed(
            format!("{name} on a free lock changes the lock, so that others see it"),
            "the lock's bytes in shared memory stayed as they were",
            name,
        ));
    };
    change.report(check, "changes-lock-word");
    Ok(())
}
