use std::sync::atomic::{AtomicU32, Ordering::*};

use explore::{Model, spawn};

use crate::futex::{ALL, wait_bits, wake_bits};
use crate::plain::Plain;
use crate::scenario::Scenario;

pub const ROWS: &[Scenario] = &[
    ("rw-right", |model| reader_and_writer(model, "")),
    ("rw-writer-check-then-set", |model| reader_and_writer(model, "writer-check-then-set")),
    ("rw-reader-check-then-inc", |model| reader_and_writer(model, "reader-check-then-inc")),
    ("rw-last-reader-no-wake", |model| reader_and_writer(model, "last-reader-no-wake")),
    ("rw-writer-wakes-one", |model| writer_and_readers(model, "writer-wakes-one")),
    ("rw-right-3", |model| writer_and_readers(model, "")),
    ("rw-upgrade-deadlock", |model| upgrade(model, "both")),
    ("rw-downgrade-gap", |model| downgrade(model, "gap")),
    ("rw-downgrade-right", |model| downgrade(model, "")),
    ("rw-writer-store-zero", |model| reader_and_writer(model, "writer-store-zero")),
    ("rw-try-upgrade-keeps-read", |model| upgrade(model, "keeps-read")),
    ("rw-relaxed-read-unlock", |model| reader_and_writer(model, "relaxed-read-unlock")),
];

const WRITER: u32 = 1 << 31;

/// Who sleeps: bits of `FUTEX_WAIT_BITSET`.
const READERS: u32 = 1;
const WRITERS: u32 = 2;
const BOTH: u32 = READERS | WRITERS;

/// The number of readers, or `WRITER`; every change of the state that lets somebody in is followed by a wake-up.
#[derive(Default)]
struct Lock {
    state: AtomicU32,
    value: Plain,
    copy: Plain,
}

impl Lock {
    fn read(&self, bug: &str) {
        loop {
            let state = self.state.load(Acquire);
            if state & WRITER != 0 {
                wait_bits(&self.state, state, READERS);
            } else if bug == "reader-check-then-inc" || bug == "writer-store-zero" {
                let before = self.state.fetch_add(1, Acquire);
                if bug == "reader-check-then-inc" || before & WRITER == 0 {
                    return;
                }
                self.state.fetch_sub(1, Release);
            } else if self.state.compare_exchange(state, state + 1, Acquire, Relaxed).is_ok() {
                return;
            }
        }
    }
    fn read_unlock(&self, bug: &str) {
        let order = if bug == "relaxed-read-unlock" { Relaxed } else { Release };
        if self.state.fetch_sub(1, order) == 1 && bug != "last-reader-no-wake" {
            wake_bits(&self.state, 1, WRITERS);
        }
    }
    fn write(&self, bug: &str) {
        loop {
            let state = self.state.load(Acquire);
            if state != 0 {
                wait_bits(&self.state, state, WRITERS);
            } else if bug == "writer-check-then-set" {
                self.state.store(WRITER, Relaxed);
                return;
            } else if self.state.compare_exchange(0, WRITER, Acquire, Relaxed).is_ok() {
                return;
            }
        }
    }
    fn write_unlock(&self, bug: &str) {
        if bug == "writer-store-zero" {
            self.state.store(0, Release);
        } else {
            self.state.fetch_and(!WRITER, Release);
        }
        wake_bits(&self.state, if bug == "writer-wakes-one" { 1 } else { ALL }, BOTH);
    }
    fn set(&self, value: u64) {
        self.value.set(value);
        self.copy.set(value);
    }
    fn check(&self) {
        assert_eq!(self.value.get(), self.copy.get(), "read while a writer wrote");
    }
}

fn reader_and_writer(model: &Model, bug: &'static str) {
    let lock: &'static Lock = model.share(Lock::default());
    let reader = spawn(move || {
        lock.read(bug);
        lock.check();
        lock.read_unlock(bug);
    });
    let writer = spawn(move || {
        lock.write(bug);
        lock.set(1);
        lock.write_unlock(bug);
    });
    reader.join();
    writer.join();
    assert_eq!(lock.state.load(Relaxed), 0, "the lock is free at the end");
}

fn writer_and_readers(model: &Model, bug: &'static str) {
    let lock: &'static Lock = model.share(Lock::default());
    let read = move || {
        lock.read(bug);
        lock.check();
        lock.read_unlock(bug);
    };
    lock.write(bug);
    let readers = [spawn(read), spawn(read)];
    lock.set(1);
    lock.write_unlock(bug);
    readers.into_iter().for_each(|handle| handle.join());
}

/// Two readers that each want to become the writer.
fn upgrade(model: &Model, bug: &'static str) {
    let lock: &'static Lock = model.share(Lock::default());
    let body = move || {
        lock.read("");
        if bug == "keeps-read" {
            // Waits for all readers to go, itself among them.
            lock.write("");
        } else {
            while lock.state.compare_exchange(1, WRITER, Acquire, Relaxed).is_err() {}
        }
        lock.value.add(1);
        lock.write_unlock("");
    };
    let handles: Vec<_> = (0..if bug == "both" { 2 } else { 1 }).map(|_| spawn(body)).collect();
    handles.into_iter().for_each(|handle| handle.join());
}

/// A writer that goes on as a reader sees what it wrote.
fn downgrade(model: &Model, bug: &'static str) {
    let lock: &'static Lock = model.share(Lock::default());
    let body = move |value: u64| {
        lock.write("");
        lock.set(value);
        if bug == "gap" {
            lock.write_unlock("");
            lock.read("");
        } else {
            lock.state.store(1, Release);
            wake_bits(&lock.state, ALL, READERS);
        }
        assert_eq!(lock.value.get(), value, "another writer came in between");
        lock.read_unlock("");
    };
    let handles = [spawn(move || body(1)), spawn(move || body(2))];
    handles.into_iter().for_each(|handle| handle.join());
}
