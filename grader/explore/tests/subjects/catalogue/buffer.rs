use explore::{Model, spawn};
use std::sync::atomic::{AtomicUsize, Ordering::*};

use crate::futex::{Condvar, Mutex, Semaphore};
use crate::plain::Plain;
use crate::scenario::Scenario;

pub const ROWS: &[Scenario] = &[
    ("bb-right-semaphores", |model| by_semaphores(model, "")),
    ("bb-no-mutex", |model| by_semaphores(model, "no-mutex")),
    ("bb-lock-then-sem", |model| by_semaphores(model, "lock-then-sem")),
    ("bb-forget-post", |model| by_semaphores(model, "forget-post")),
    ("bb-right-monitor", |model| by_monitor(model, "", 1)),
    ("bb-if", |model| by_monitor(model, "if", 2)),
    ("bb-single-cv", |model| by_monitor(model, "single-cv", 2)),
    ("bb-off-by-one", |model| by_monitor(model, "off-by-one", 1)),
    ("bb-read-after-unlock", |model| by_monitor(model, "read-after-unlock", 1)),
    ("bb-signal-wrong-cv", |model| by_monitor(model, "signal-wrong-cv", 1)),
];

struct Semaphores {
    slots: [Plain; 2],
    tail: AtomicUsize,
    head: AtomicUsize,
    mutex: Mutex,
    empty: Semaphore,
    full: Semaphore,
}

/// Two producers of one item each, one consumer.
fn by_semaphores(model: &Model, bug: &'static str) {
    let capacity = if bug == "no-mutex" { 2 } else { 1 };
    let buffer: &'static Semaphores = model.share(Semaphores {
        slots: Default::default(),
        tail: AtomicUsize::new(0),
        head: AtomicUsize::new(0),
        mutex: Mutex::default(),
        empty: Semaphore::new(capacity),
        full: Semaphore::new(0),
    });
    let produce = move |item: u64| {
        if bug == "lock-then-sem" {
            buffer.mutex.lock();
            buffer.empty.wait();
        } else {
            buffer.empty.wait();
            if bug != "no-mutex" {
                buffer.mutex.lock();
            }
        }
        let tail = buffer.tail.load(Relaxed);
        buffer.slots[tail % capacity as usize].set(item);
        buffer.tail.store(tail + 1, Relaxed);
        if bug != "no-mutex" {
            buffer.mutex.unlock();
        }
        buffer.full.post();
    };
    let producers = [spawn(move || produce(1)), spawn(move || produce(2))];
    let mut sum = 0;
    for _ in 0..2 {
        buffer.full.wait();
        buffer.mutex.lock();
        let head = buffer.head.load(Relaxed);
        sum += buffer.slots[head % capacity as usize].get();
        buffer.head.store(head + 1, Relaxed);
        buffer.mutex.unlock();
        if bug != "forget-post" {
            buffer.empty.post();
        }
    }
    producers.into_iter().for_each(|handle| handle.join());
    assert_eq!(sum, 3, "an item was lost or taken twice");
}

#[derive(Default)]
struct Monitor {
    mutex: Mutex,
    not_empty: Condvar,
    not_full: Condvar,
    slot: Plain,
    count: Plain,
}

/// Capacity one; one producer of two items and `consumers` consumers, and for two of them two items more.
fn by_monitor(model: &Model, bug: &'static str, consumers: u64) {
    let monitor: &'static Monitor = model.share(Monitor::default());
    let not_full = move || if bug == "single-cv" { &monitor.not_empty } else { &monitor.not_full };
    let full = move || if bug == "off-by-one" { monitor.count.get() > 1 } else { monitor.count.get() >= 1 };
    let put = move |item: u64| {
        monitor.mutex.lock();
        while full() {
            not_full().wait(&monitor.mutex);
        }
        assert_eq!(monitor.count.get(), 0, "put into a full buffer");
        monitor.slot.set(item);
        monitor.count.add(1);
        monitor.not_empty.signal();
        monitor.mutex.unlock();
    };
    let take = move || {
        monitor.mutex.lock();
        if bug == "if" {
            if monitor.count.get() == 0 {
                monitor.not_empty.wait(&monitor.mutex);
            }
        } else {
            while monitor.count.get() == 0 {
                monitor.not_empty.wait(&monitor.mutex);
            }
        }
        assert_eq!(monitor.count.get(), 1, "took from an empty buffer");
        let item = monitor.slot.get();
        monitor.count.set(0);
        match bug {
            "signal-wrong-cv" => monitor.not_empty.signal(),
            _ => not_full().signal(),
        }
        monitor.mutex.unlock();
        if bug == "read-after-unlock" { monitor.slot.get() } else { item }
    };
    let each = 2 / consumers;
    let handles: Vec<_> =
        (0..consumers).map(|_| spawn(move || (0..each).map(|_| take()).sum::<u64>())).collect();
    put(1);
    put(2);
    let sum: u64 = handles.into_iter().map(|handle| handle.join()).sum();
    assert_eq!(sum, 3, "an item was lost or taken twice");
}
