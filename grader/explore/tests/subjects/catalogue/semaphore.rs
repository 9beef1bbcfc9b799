use std::sync::atomic::{AtomicU32, Ordering::*};

use explore::{Model, spawn};

use crate::futex::{wait, wake};
use crate::plain::Plain;
use crate::scenario::Scenario;

pub const ROWS: &[Scenario] = &[
    ("se-right", |model| exclusion(model, "")),
    ("se-right-signal", |model| signal(model, "")),
    ("se-test-then-dec", |model| exclusion(model, "test-then-dec")),
    ("se-wake-before-post", |model| exclusion(model, "wake-before-post")),
    ("se-wake-only-if-zero", |model| signal(model, "wake-only-if-zero")),
    ("se-stale-expected", |model| exclusion(model, "stale-expected")),
    ("se-post-nonatomic", |model| signal(model, "post-nonatomic")),
    ("se-if-not-while", |model| exclusion(model, "if-not-while")),
    ("se-cas-retry-no-zero", |model| exclusion(model, "cas-retry-no-zero")),
    ("se-relaxed-post", |model| exclusion(model, "relaxed-post")),
];

struct Semaphore(AtomicU32);

impl Semaphore {
    fn wait(&self, bug: &str) {
        match bug {
            "test-then-dec" => loop {
                if self.0.load(Acquire) > 0 {
                    self.0.fetch_sub(1, Acquire);
                    return;
                }
                wait(&self.0, 0);
            },
            "stale-expected" => loop {
                let value = self.0.load(Relaxed);
                if value > 0 && self.0.compare_exchange(value, value - 1, Acquire, Relaxed).is_ok() {
                    return;
                }
                wait(&self.0, self.0.load(Relaxed));
            },
            "if-not-while" => {
                if self.0.load(Acquire) == 0 {
                    wait(&self.0, 0);
                }
                self.0.fetch_sub(1, Acquire);
            }
            "cas-retry-no-zero" => {
                let mut value = self.0.load(Relaxed);
                while value == 0 {
                    wait(&self.0, 0);
                    value = self.0.load(Relaxed);
                }
                while let Err(found) = self.0.compare_exchange(value, value.wrapping_sub(1), Acquire, Relaxed) {
                    value = found;
                }
            }
            _ => loop {
                let value = self.0.load(Relaxed);
                if value == 0 {
                    wait(&self.0, 0);
                } else if self.0.compare_exchange(value, value - 1, Acquire, Relaxed).is_ok() {
                    return;
                }
            },
        }
    }

    fn post(&self, bug: &str) {
        match bug {
            "wake-before-post" => {
                wake(&self.0, 1);
                self.0.fetch_add(1, Release);
            }
            "wake-only-if-zero" => {
                if self.0.fetch_add(1, Release) == 0 {
                    wake(&self.0, 1);
                }
            }
            "post-nonatomic" => {
                let value = self.0.load(Relaxed);
                self.0.store(value + 1, Release);
                wake(&self.0, 1);
            }
            "relaxed-post" => {
                self.0.fetch_add(1, Relaxed);
                wake(&self.0, 1);
            }
            _ => {
                self.0.fetch_add(1, Release);
                wake(&self.0, 1);
            }
        }
    }
}

/// One permit, two threads: a critical section.
fn exclusion(model: &Model, bug: &'static str) {
    let semaphore: &'static Semaphore = model.share(Semaphore(AtomicU32::new(1)));
    let value: &'static Plain = model.share(Plain::default());
    let body = move || {
        for _ in 0..2 {
            semaphore.wait(bug);
            value.add(1);
            semaphore.post(bug);
        }
    };
    let handles = [spawn(body), spawn(body)];
    handles.into_iter().for_each(|handle| handle.join());
    assert_eq!(value.get(), 4, "an update was lost");
}

/// No permit, two that wait, and the first thread posts twice; or two that post, and the first thread waits twice.
fn signal(model: &Model, bug: &'static str) {
    let semaphore: &'static Semaphore = model.share(Semaphore(AtomicU32::new(0)));
    if bug == "post-nonatomic" {
        let handles = [spawn(move || semaphore.post(bug)), spawn(move || semaphore.post(bug))];
        semaphore.wait(bug);
        semaphore.wait(bug);
        handles.into_iter().for_each(|handle| handle.join());
        return;
    }
    let handles = [spawn(move || semaphore.wait(bug)), spawn(move || semaphore.wait(bug))];
    let poster = spawn(move || {
        semaphore.post(bug);
        semaphore.post(bug);
    });
    handles.into_iter().for_each(|handle| handle.join());
    poster.join();
}
