use std::sync::atomic::{AtomicU32, Ordering, Ordering::*, fence};

use explore::{Model, spawn};

use crate::futex::{wait, wake};
use crate::plain::Plain;
use crate::scenario::Scenario;

pub const ROWS: &[Scenario] = &[
    ("fm-right", |model| sections(model, "", 2)),
    ("fm-right-3", |model| sections(model, "", 3)),
    ("fm-no-state-2", |model| sections(model, "no-state-2", 2)),
    ("fm-reacquire-1", |model| sections(model, "reacquire-1", 3)),
    ("fm-wake-before-release", |model| sections(model, "wake-before-release", 2)),
    ("fm-no-wake", |model| sections(model, "no-wake", 2)),
    ("fm-wait-current-value", |model| sections(model, "wait-current-value", 2)),
    ("fm-no-recheck", |model| sections(model, "no-recheck", 2)),
    ("fm-dec-no-store", |model| sections(model, "dec-no-store", 2)),
    ("fm-swap-ignored", |model| sections(model, "swap-ignored", 2)),
    ("fm-relaxed-unlock", |model| sections(model, "relaxed-unlock", 2)),
    ("fm-relaxed-lock", |model| sections(model, "relaxed-lock", 2)),
    ("fm-drepper-1", |model| drepper(model, "counts")),
    ("fm-drepper-2-right", |model| drepper(model, "")),
    ("fm-counts-right", |model| counted(model, SeqCst, None, SeqCst, SeqCst)),
    ("fm-counts-fence-right", |model| counted(model, Release, Some(SeqCst), Relaxed, Relaxed)),
    ("fm-counts-relaxed-right", |model| counted(model, SeqCst, None, SeqCst, Relaxed)),
    ("fm-counts-release", |model| counted(model, Release, None, Relaxed, SeqCst)),
    ("fm-counts-release-sequential", |model| counted(model, Release, None, SeqCst, SeqCst)),
    ("fm-counts-weak-fence", |model| counted(model, Release, Some(AcqRel), Relaxed, SeqCst)),
    ("fm-shared-wake", |model| sections(model, "shared-wake", 2)),
];

#[derive(Default)]
struct Lock {
    word: AtomicU32,
    value: Plain,
}

impl Lock {
    fn lock(&self, bug: &str) {
        let acquire = if bug == "relaxed-lock" { Relaxed } else { Acquire };
        if self.word.compare_exchange(0, 1, acquire, Relaxed).is_ok() {
            return;
        }
        match bug {
            "no-state-2" => {
                while self.word.swap(1, Acquire) != 0 {
                    wait(&self.word, 1);
                }
            }
            "reacquire-1" => {
                while self.word.compare_exchange(0, 1, Acquire, Relaxed).is_err() {
                    if self.word.compare_exchange(1, 2, Relaxed, Relaxed) != Err(0) {
                        wait(&self.word, 2);
                    }
                }
            }
            "wait-current-value" => {
                while self.word.swap(2, Acquire) != 0 {
                    wait(&self.word, self.word.load(Relaxed));
                }
            }
            "no-recheck" => {
                if self.word.swap(2, Acquire) != 0 {
                    wait(&self.word, 2);
                }
            }
            "swap-ignored" => {
                if self.word.swap(2, Acquire) != 0 {
                    wait(&self.word, 2);
                    self.word.swap(2, Acquire);
                }
            }
            "dec-no-store" => {
                while self.word.swap(2, Acquire) != 0 {
                    wait(&self.word, 2);
                }
            }
            _ => {
                while self.word.swap(2, acquire) != 0 {
                    wait(&self.word, 2);
                }
            }
        }
    }

    fn unlock(&self, bug: &str) {
        match bug {
            "wake-before-release" => {
                if self.word.load(Relaxed) == 2 {
                    wake(&self.word, 1);
                }
                self.word.store(0, Release);
            }
            "no-wake" => self.word.store(0, Release),
            "dec-no-store" => {
                if self.word.fetch_sub(1, Release) == 2 {
                    wake(&self.word, 1);
                }
            }
            "relaxed-unlock" => {
                if self.word.swap(0, Relaxed) == 2 {
                    wake(&self.word, 1);
                }
            }
            "shared-wake" => {
                if self.word.swap(0, Release) == 2 {
                    unsafe { libc::syscall(libc::SYS_futex, self.word.as_ptr(), libc::FUTEX_WAKE, 1) };
                }
            }
            _ => {
                if self.word.swap(0, Release) == 2 {
                    wake(&self.word, 1);
                }
            }
        }
    }
}

fn sections(model: &Model, bug: &'static str, threads: usize) {
    let shared: &'static Lock = model.share(Lock::default());
    let body = move || {
        shared.lock(bug);
        shared.value.add(1);
        shared.unlock(bug);
    };
    let handles: Vec<_> = (0..threads).map(|_| spawn(body)).collect();
    handles.into_iter().for_each(|handle| handle.join());
    assert_eq!(shared.value.get(), threads as u64, "an update was lost");
}

/// Drepper's first mutex counts its waiters in the word on which they wait, so that they keep each other awake; his second
/// one does not. A wait may fail when the lock was released meanwhile, and for nothing else.
fn drepper(model: &Model, bug: &'static str) {
    let word: &'static AtomicU32 = model.share(AtomicU32::new(0));
    let released: &'static AtomicU32 = model.share(AtomicU32::new(0));
    let body = move || {
        let mut refused = 0;
        if bug == "counts" {
            loop {
                let before = word.fetch_add(1, Acquire);
                if before == 0 {
                    break;
                }
                refused += u32::from(found_another_value(word, before + 1));
            }
        } else if word.compare_exchange(0, 1, Acquire, Relaxed).is_err() {
            while word.swap(2, Acquire) != 0 {
                refused += u32::from(found_another_value(word, 2));
            }
        }
        // A read-modify-write, which sees the newest value.
        assert!(refused <= released.fetch_add(0, Relaxed), "waiters keep each other awake");
        released.fetch_add(1, Relaxed);
        word.store(0, Release);
        wake(word, 1);
    };
    let handles: Vec<_> = (0..3).map(|_| spawn(body)).collect();
    handles.into_iter().for_each(|handle| handle.join());
}

/// Waits; true when the wait failed at once.
fn found_another_value(word: &AtomicU32, expected: u32) -> bool {
    wait(word, expected) != 0 && std::io::Error::last_os_error().raw_os_error() == Some(libc::EAGAIN)
}

/// A mutex that counts its waiters, so that who unlocks calls nobody when nobody waits. Between the release and the look at
/// the number there must be a full barrier, as the kernel has one between the number and its look at the word.
fn counted(model: &Model, release: Ordering, between: Option<Ordering>, look: Ordering, count: Ordering) {
    let word: &'static AtomicU32 = model.share(AtomicU32::new(0));
    let waiters: &'static AtomicU32 = model.share(AtomicU32::new(0));
    let value: &'static Plain = model.share(Plain::default());
    let body = move || {
        while word.compare_exchange(0, 1, Acquire, Relaxed).is_err() {
            waiters.fetch_add(1, count);
            wait(word, 1);
            waiters.fetch_sub(1, count);
        }
        value.add(1);
        word.store(0, release);
        between.into_iter().for_each(fence);
        if waiters.load(look) > 0 {
            wake(word, 1);
        }
    };
    let handles = [spawn(body), spawn(body)];
    handles.into_iter().for_each(|handle| handle.join());
    assert_eq!(value.get(), 2, "an update was lost");
}
