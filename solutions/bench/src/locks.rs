//! Labs 05 and 06: locks.

use futex_solution::{FutexMutex, OwnedMutex, RobustMutex};
use spinlock_solution::{SpinLock, TicketLock, TtasLock};

use crate::contest::Contest;
use crate::counter::{Counter, Exclusive, Under, alone, contended};
use crate::peers::{Kind, PthreadMutex, PthreadSpin};

/// The contests of locks.
pub fn contests() -> Vec<Contest> {
    vec![uncontended(), by_threads(2), by_threads(4)]
}

fn uncontended() -> Contest {
    Contest::new("lock, add 1, unlock; one thread", "nanoseconds, less is better")
        .peer("pthread_spinlock_t", alone(Under::new(PthreadSpin::new())))
        .reference("05 `SpinLock`", "pthread_spinlock_t", alone(Under::new(SpinLock::new())))
        .reference("05 `TtasLock`", "pthread_spinlock_t", alone(Under::new(TtasLock::new())))
        .reference("05 `TicketLock`", "pthread_spinlock_t", alone(Under::new(TicketLock::new())))
        .peer("std Mutex", alone(std::sync::Mutex::new(0)))
        .peer("parking_lot Mutex", alone(parking_lot::Mutex::new(0)))
        .peer("pthread_mutex_t", alone(Under::new(PthreadMutex::new(Kind::Plain))))
        .reference("06 `FutexMutex`", "std Mutex", alone(Under::new(FutexMutex::new())))
        .peer("pthread_mutex_t, errorcheck", alone(Under::new(PthreadMutex::new(Kind::ErrorCheck))))
        .reference("06 `OwnedMutex`", "pthread_mutex_t, errorcheck", alone(Under::new(OwnedMutex::new())))
        .peer("pthread_mutex_t, shared, robust", alone(Under::new(PthreadMutex::new(Kind::SharedRobust))))
        .reference(
            "06 `RobustMutex`",
            "pthread_mutex_t, shared, robust",
            alone(Under::new(RobustMutex::new())),
        )
}

fn by_threads(threads: usize) -> Contest {
    Contest::new(
        format!("lock, add 1, unlock; {threads} threads"),
        "millions a second together, more is better",
    )
    .peer("pthread_spinlock_t", contended(Under::new(PthreadSpin::new()), threads))
    .reference("05 `SpinLock`", "pthread_spinlock_t", contended(Under::new(SpinLock::new()), threads))
    .reference("05 `TtasLock`", "pthread_spinlock_t", contended(Under::new(TtasLock::new()), threads))
    .reference("05 `TicketLock`", "pthread_spinlock_t", contended(Under::new(TicketLock::new()), threads))
    .peer("std Mutex", contended(std::sync::Mutex::new(0), threads))
    .peer("parking_lot Mutex", contended(parking_lot::Mutex::new(0), threads))
    .peer("pthread_mutex_t", contended(Under::new(PthreadMutex::new(Kind::Plain)), threads))
    .reference("06 `FutexMutex`", "std Mutex", contended(Under::new(FutexMutex::new()), threads))
}

impl Counter for std::sync::Mutex<u64> {
    #[inline]
    fn add(&self) {
        *self.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) += 1;
    }

    fn total(&self) -> u64 {
        *self.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Counter for parking_lot::Mutex<u64> {
    #[inline]
    fn add(&self) {
        *self.lock() += 1;
    }

    fn total(&self) -> u64 {
        *self.lock()
    }
}

/// The locks of the labs have these two by name.
macro_rules! exclusive {
    ($($lock:ty),*) => {$(
        impl Exclusive for $lock {
            #[inline]
            fn lock(&self) {
                <$lock>::lock(self);
            }

            #[inline]
            fn unlock(&self) {
                <$lock>::unlock(self);
            }
        }
    )*};
}

exclusive!(SpinLock, TtasLock, TicketLock, FutexMutex, RobustMutex);

impl Exclusive for OwnedMutex {
    #[inline]
    fn lock(&self) {
        OwnedMutex::lock(self).expect("this thread does not hold it");
    }

    #[inline]
    fn unlock(&self) {
        OwnedMutex::unlock(self).expect("this thread holds it");
    }
}
