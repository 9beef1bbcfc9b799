//! The programs, written over the few operations that `crate::sync` has for each explorer. A bug is named by a word; the
//! empty one is none.

use std::sync::atomic::Ordering::{self, *};

use crate::sync::{Data, JoinHandle, Shared, Word, spawn, spin};

/// A named program.
pub type Program = (&'static str, fn());

/// Right programs, for speed.
pub const SPEED: &[Program] = &[
    ("futex mutex, 2 threads", || mutex("", 2)),
    ("futex mutex, 3 threads", || mutex("", 3)),
    ("ticket lock, 2 threads", || ticket("")),
    ("MPSC queue, 2 producers", || queue("")),
    ("condition variable, 3 threads", || condvar("", 2)),
];

/// Wrong programs, for finding.
pub const CATALOGUE: &[Program] = &[
    ("spinlock: load then store", || spinlock("load-store")),
    ("spinlock: Relaxed unlock", || spinlock("relaxed-unlock")),
    ("spinlock: Relaxed lock", || spinlock("relaxed-lock")),
    ("ticket: load then store", || ticket("not-atomic")),
    ("Peterson: Release and Acquire only", || peterson(Release, Acquire)),
    ("futex mutex: no state 2", || mutex("no-state-2", 2)),
    ("futex mutex: wakes before it releases", || mutex("wake-first", 2)),
    ("futex mutex: takes it as 1 after a sleep", || mutex("takes-1", 3)),
    ("futex mutex: does not look again", || mutex("no-recheck", 2)),
    ("futex mutex: Relaxed unlock", || mutex("relaxed-unlock", 2)),
    ("semaphore: post in two steps", || semaphore("two-steps")),
    ("semaphore: wakes before it adds", || semaphore("wake-first")),
    ("condition variable: reads its counter late", || condvar("late", 1)),
    ("condition variable: wakes one of two", || condvar("one", 2)),
    ("message: Relaxed flag", message),
    ("queue: ready before written", || queue("ready-first")),
    ("two locks: A B and B A", two_locks),
];

fn join(handles: Vec<JoinHandle>) {
    for handle in handles {
        handle.join();
    }
}

struct Mutex {
    word: Word,
    bug: &'static str,
}

impl Mutex {
    fn new(bug: &'static str) -> Mutex {
        Mutex { word: Word::new(0), bug }
    }

    fn lock(&self) {
        if self.bug == "no-state-2" {
            while self.word.swap(1, Acquire) != 0 {
                self.word.wait(1);
            }
            return;
        }
        if self.word.compare_exchange(0, 1, Acquire, Relaxed).is_ok() {
            return;
        }
        match self.bug {
            "takes-1" => loop {
                if self.word.compare_exchange(1, 2, Relaxed, Relaxed) != Err(0) {
                    self.word.wait(2);
                }
                if self.word.compare_exchange(0, 1, Acquire, Relaxed).is_ok() {
                    return;
                }
            },
            "no-recheck" => {
                if self.word.swap(2, Acquire) != 0 {
                    self.word.wait(2);
                }
            }
            _ => {
                while self.word.swap(2, Acquire) != 0 {
                    self.word.wait(2);
                }
            }
        }
    }

    fn unlock(&self) {
        match self.bug {
            "wake-first" => {
                if self.word.load(Relaxed) == 2 {
                    self.word.wake(1);
                }
                self.word.store(0, Release);
            }
            bug => {
                let order = if bug == "relaxed-unlock" { Relaxed } else { Release };
                if self.word.swap(0, order) == 2 {
                    self.word.wake(1);
                }
            }
        }
    }
}

fn mutex(bug: &'static str, threads: usize) {
    let shared = Shared::new((Mutex::new(bug), Data::new(0)));
    let handles = (0..threads).map(|_| {
        let shared = shared.clone();
        spawn(move || {
            shared.0.lock();
            shared.1.set(shared.1.get() + 1);
            shared.0.unlock();
        })
    });
    join(handles.collect());
    assert_eq!(shared.1.get(), threads as u64);
}

fn spinlock(bug: &'static str) {
    let shared = Shared::new((Word::new(0), Data::new(0)));
    let handles = (0..2).map(|_| {
        let shared = shared.clone();
        spawn(move || {
            let word = &shared.0;
            match bug {
                "load-store" => {
                    while word.load(Acquire) != 0 {
                        spin();
                    }
                    word.store(1, Relaxed);
                }
                _ => {
                    let order = if bug == "relaxed-lock" { Relaxed } else { Acquire };
                    while word.swap(1, order) != 0 {
                        spin();
                    }
                }
            }
            shared.1.set(shared.1.get() + 1);
            word.store(0, if bug == "relaxed-unlock" { Relaxed } else { Release });
        })
    });
    join(handles.collect());
    assert_eq!(shared.1.get(), 2);
}

fn ticket(bug: &'static str) {
    let shared = Shared::new((Word::new(0), Word::new(0), Data::new(0)));
    let handles = (0..2).map(|_| {
        let shared = shared.clone();
        spawn(move || {
            let (next, serving) = (&shared.0, &shared.1);
            let mine = if bug == "not-atomic" {
                let mine = next.load(Relaxed);
                next.store(mine + 1, Relaxed);
                mine
            } else {
                next.fetch_add(1, Relaxed)
            };
            while serving.load(Acquire) != mine {
                spin();
            }
            shared.2.set(shared.2.get() + 1);
            serving.store(mine + 1, Release);
        })
    });
    join(handles.collect());
    assert_eq!(shared.2.get(), 2);
}

fn peterson(store: Ordering, load: Ordering) {
    let shared = Shared::new(([Word::new(0), Word::new(0)], Word::new(0), Data::new(0)));
    let handles = (0..2usize).map(|me| {
        let shared = shared.clone();
        spawn(move || {
            let (flags, turn) = (&shared.0, &shared.1);
            flags[me].store(1, store);
            turn.store(1 - me as u32, store);
            while flags[1 - me].load(load) == 1 && turn.load(load) == 1 - me as u32 {
                spin();
            }
            shared.2.set(shared.2.get() + 1);
            flags[me].store(0, Release);
        })
    });
    join(handles.collect());
    assert_eq!(shared.2.get(), 2);
}

fn semaphore(bug: &'static str) {
    let shared = Shared::new(Word::new(0));
    let post = move |value: &Word| match bug {
        "two-steps" => {
            let seen = value.load(Relaxed);
            value.store(seen + 1, Release);
            value.wake(1);
        }
        _ => {
            value.wake(1);
            value.fetch_add(1, Release);
        }
    };
    let handles = (0..2).map(|_| {
        let shared = shared.clone();
        spawn(move || post(&shared))
    });
    let handles: Vec<JoinHandle> = handles.collect();
    for _ in 0..2 {
        loop {
            let seen = shared.load(Relaxed);
            if seen == 0 {
                shared.wait(0);
            } else if shared.compare_exchange(seen, seen - 1, Acquire, Relaxed).is_ok() {
                break;
            }
        }
    }
    join(handles);
}

/// `waiters` threads wait until the first thread has set `ready`.
fn condvar(bug: &'static str, waiters: usize) {
    let shared = Shared::new((Mutex::new(""), Word::new(0), Data::new(0)));
    let handles = (0..waiters).map(|_| {
        let shared = shared.clone();
        spawn(move || {
            let (mutex, sequence, ready) = (&shared.0, &shared.1, &shared.2);
            mutex.lock();
            while ready.get() == 0 {
                if bug == "late" {
                    mutex.unlock();
                    sequence.wait(sequence.load(Relaxed));
                } else {
                    let seen = sequence.load(Relaxed);
                    mutex.unlock();
                    sequence.wait(seen);
                }
                mutex.lock();
            }
            mutex.unlock();
        })
    });
    let handles: Vec<JoinHandle> = handles.collect();
    let (mutex, sequence, ready) = (&shared.0, &shared.1, &shared.2);
    mutex.lock();
    ready.set(1);
    mutex.unlock();
    sequence.fetch_add(1, Relaxed);
    sequence.wake(if bug == "one" { 1 } else { u32::MAX });
    join(handles);
}

fn message() {
    let shared = Shared::new((Data::new(0), Word::new(0)));
    let sender = shared.clone();
    let handle = spawn(move || {
        sender.0.set(42);
        sender.1.store(1, Relaxed);
    });
    if shared.1.load(Acquire) == 1 {
        assert_eq!(shared.0.get(), 42);
    }
    handle.join();
}

/// Producers take a slot each; the consumer takes them in order.
fn queue(bug: &'static str) {
    let slots = || [Word::new(0), Word::new(0)];
    let shared = Shared::new((Word::new(0), slots(), [Data::new(0), Data::new(0)]));
    let handles = (1..=2u64).map(|value| {
        let shared = shared.clone();
        spawn(move || {
            let slot = shared.0.fetch_add(1, Relaxed) as usize;
            if bug == "ready-first" {
                shared.1[slot].store(1, Release);
                shared.2[slot].set(value);
            } else {
                shared.2[slot].set(value);
                shared.1[slot].store(1, Release);
            }
        })
    });
    let handles: Vec<JoinHandle> = handles.collect();
    let mut sum = 0;
    for slot in 0..2 {
        while shared.1[slot].load(Acquire) == 0 {
            spin();
        }
        sum += shared.2[slot].get();
    }
    assert_eq!(sum, 3);
    join(handles);
}

fn two_locks() {
    let shared = Shared::new((Mutex::new(""), Mutex::new("")));
    let handles = [true, false].map(|straight| {
        let shared = shared.clone();
        spawn(move || {
            let (first, second) = if straight { (&shared.0, &shared.1) } else { (&shared.1, &shared.0) };
            first.lock();
            second.lock();
            second.unlock();
            first.unlock();
        })
    });
    join(handles.into());
}
