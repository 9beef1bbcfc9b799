use std::sync::atomic::{AtomicU32, Ordering::*};

use explore::{Model, spawn};

use crate::futex::{wait, wake};
use crate::plain::Plain;
use crate::scenario::Scenario;

pub const ROWS: &[Scenario] = &[
    ("ri-right", |model| ring(model, "")),
    ("ri-publish-first", |model| ring(model, "publish-first")),
    ("ri-full-is-empty", |model| ring(model, "full-is-empty")),
    ("ri-two-producers", |model| ring(model, "two-producers")),
    ("ri-cached-head", |model| ring(model, "cached-head")),
    ("ri-sleep-lost", |model| ring(model, "sleep-lost")),
    ("ri-count-nonatomic", |model| counted(model, "count-nonatomic")),
    ("ri-count-right", |model| counted(model, "")),
    ("ri-index-advance-twice", |model| ring(model, "index-advance-twice")),
    ("ri-relaxed-publish", |model| ring(model, "relaxed-publish")),
    ("ri-relaxed-take", |model| ring(model, "relaxed-take")),
];

const CAPACITY: u32 = 2;

#[derive(Default)]
struct Ring {
    slots: [Plain; CAPACITY as usize],
    head: AtomicU32,
    tail: AtomicU32,
    /// The producer's copy of `head`.
    cached: AtomicU32,
}

impl Ring {
    fn push(&self, item: u64, bug: &str) {
        let tail = self.tail.load(Relaxed);
        let full = |head: u32| match bug {
            "full-is-empty" => false,
            "index-advance-twice" => tail.wrapping_sub(head) > CAPACITY,
            _ => tail.wrapping_sub(head) == CAPACITY,
        };
        while full(if bug == "cached-head" { self.cached.load(Relaxed) } else { self.head.load(Acquire) }) {}
        let next = if bug == "full-is-empty" { (tail + 1) % CAPACITY } else { tail + 1 };
        if bug == "publish-first" {
            self.tail.store(next, Release);
        }
        self.slots[(tail % CAPACITY) as usize].set(item);
        if bug != "publish-first" {
            self.tail.store(next, if bug == "relaxed-publish" { Relaxed } else { Release });
        }
        if bug == "sleep-lost" {
            wake(&self.tail, 1);
        }
    }

    fn pop(&self, bug: &str) -> u64 {
        let head = self.head.load(Relaxed);
        let order = if bug == "relaxed-take" { Relaxed } else { Acquire };
        while self.tail.load(order) == head {
            if bug == "sleep-lost" {
                wait(&self.tail, self.tail.load(Relaxed));
            }
        }
        let item = self.slots[(head % CAPACITY) as usize].get();
        let next = if bug == "full-is-empty" { (head + 1) % CAPACITY } else { head + 1 };
        self.head.store(next, Release);
        item
    }
}

fn ring(model: &Model, bug: &'static str) {
    let ring: &'static Ring = model.share(Ring::default());
    let produce = move |items: std::ops::Range<u64>| items.for_each(|item| ring.push(item, bug));
    let producers = match bug {
        "two-producers" => vec![spawn(move || produce(1..2)), spawn(move || produce(2..3))],
        _ => vec![spawn(move || produce(1..4))],
    };
    let count = if bug == "two-producers" { 2 } else { 3 };
    let mut sum = 0;
    for place in 1..=count {
        let item = ring.pop(bug);
        assert!(bug == "two-producers" || item == place, "item {item} came in place {place}");
        sum += item;
    }
    producers.into_iter().for_each(|handle| handle.join());
    assert_eq!(sum, (1..=count).sum::<u64>(), "an item was lost or taken twice");
}

#[derive(Default)]
struct Counted {
    slots: [Plain; 1],
    count: AtomicU32,
}

/// A ring of one slot that keeps a count of its items.
fn counted(model: &Model, bug: &'static str) {
    let ring: &'static Counted = model.share(Counted::default());
    let change = move |by: u32| {
        if bug == "count-nonatomic" {
            let count = ring.count.load(Acquire);
            std::hint::black_box(count);
            ring.count.store(count.wrapping_add(by), Release);
        } else {
            ring.count.fetch_add(by, AcqRel);
        }
    };
    let producer = spawn(move || {
        for item in 1..=2 {
            while ring.count.load(Acquire) == 2 {}
            if item == 1 {
                ring.slots[0].set(item);
            }
            change(1);
        }
    });
    let consumer = spawn(move || {
        for _ in 0..2 {
            while ring.count.load(Acquire) == 0 {}
            change(u32::MAX);
        }
    });
    producer.join();
    consumer.join();
    assert_eq!(ring.count.load(Relaxed), 0, "nothing is left");
}
