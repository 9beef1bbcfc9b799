use std::sync::atomic::{AtomicU32, Ordering::*};

use explore::{Model, spawn};

use crate::futex::{ALL, Mutex, wait, wake};
use crate::plain::Plain;
use crate::scenario::Scenario;

pub const ROWS: &[Scenario] = &[
    ("cv-right", |model| one_waiter(model, "")),
    ("cv-right-3", |model| two_waiters(model, "")),
    ("cv-lost-wakeup", |model| one_waiter(model, "lost-wakeup")),
    ("cv-if", |model| two_waiters(model, "if")),
    ("cv-signal-before-set", |model| one_waiter(model, "signal-before-set")),
    ("cv-set-without-lock", |model| one_waiter(model, "set-without-lock")),
    ("cv-notify-one-two-preds", |model| two_predicates(model, "notify-one")),
    ("cv-two-preds-right", |model| two_predicates(model, "")),
    ("cv-no-relock", |model| one_waiter(model, "no-relock")),
    ("cv-no-unlock", |model| one_waiter(model, "no-unlock")),
    ("cv-sequence-wraps-right", |model| wrapping(model, "")),
    ("cv-sequence-wraps", |model| wrapping(model, "less")),
    ("cv-relaxed-flag", |model| wrapping(model, "relaxed")),
    ("cv-broadcast-one", |model| two_waiters(model, "broadcast-one")),
];

#[derive(Default)]
struct Monitor {
    mutex: Mutex,
    sequence: AtomicU32,
    ready: Plain,
    other: Plain,
}

impl Monitor {
    fn wait(&self, bug: &str) {
        match bug {
            "lost-wakeup" => {
                self.mutex.unlock();
                let sequence = self.sequence.load(Relaxed);
                wait(&self.sequence, sequence);
                self.mutex.lock();
            }
            "no-relock" => {
                let sequence = self.sequence.load(Relaxed);
                self.mutex.unlock();
                wait(&self.sequence, sequence);
            }
            "no-unlock" => {
                let sequence = self.sequence.load(Relaxed);
                wait(&self.sequence, sequence);
            }
            _ => {
                let sequence = self.sequence.load(Relaxed);
                self.mutex.unlock();
                wait(&self.sequence, sequence);
                self.mutex.lock();
            }
        }
    }
    fn notify(&self, count: i32) {
        self.sequence.fetch_add(1, Relaxed);
        wake(&self.sequence, count);
    }
}

fn one_waiter(model: &Model, bug: &'static str) {
    let monitor: &'static Monitor = model.share(Monitor::default());
    let waiter = spawn(move || {
        monitor.mutex.lock();
        while monitor.ready.get() == 0 {
            monitor.wait(bug);
        }
        monitor.ready.set(2);
        if bug != "no-relock" {
            monitor.mutex.unlock();
        }
    });
    let setter = spawn(move || match bug {
        "signal-before-set" => {
            monitor.notify(1);
            monitor.mutex.lock();
            monitor.ready.set(1);
            monitor.mutex.unlock();
        }
        "set-without-lock" => {
            monitor.ready.set(1);
            monitor.notify(1);
        }
        _ => {
            monitor.mutex.lock();
            monitor.ready.set(1);
            monitor.notify(1);
            monitor.mutex.unlock();
        }
    });
    waiter.join();
    setter.join();
}

/// Two consumers of one item each time, woken together.
fn two_waiters(model: &Model, bug: &'static str) {
    let monitor: &'static Monitor = model.share(Monitor::default());
    let consume = move || {
        monitor.mutex.lock();
        if bug == "if" {
            if monitor.ready.get() == 0 {
                monitor.wait(bug);
            }
        } else {
            while monitor.ready.get() == 0 {
                monitor.wait(bug);
            }
        }
        assert!(monitor.ready.get() > 0, "woken, but there is nothing to take");
        monitor.ready.set(monitor.ready.get() - 1);
        monitor.mutex.unlock();
    };
    let handles = [spawn(consume), spawn(consume)];
    let produce = |count: u64, wakes: i32| {
        monitor.mutex.lock();
        monitor.ready.set(monitor.ready.get() + count);
        monitor.notify(wakes);
        monitor.mutex.unlock();
    };
    match bug {
        "broadcast-one" => produce(2, 1),
        "if" => {
            produce(1, ALL);
            produce(1, ALL);
        }
        _ => produce(2, ALL),
    }
    handles.into_iter().for_each(|handle| handle.join());
}

/// Two threads wait for different things on one condition variable.
fn two_predicates(model: &Model, bug: &'static str) {
    let monitor: &'static Monitor = model.share(Monitor::default());
    let until = move |predicate: &'static Plain| {
        monitor.mutex.lock();
        while predicate.get() == 0 {
            monitor.wait(bug);
        }
        monitor.mutex.unlock();
    };
    let handles = [spawn(move || until(&monitor.ready)), spawn(move || until(&monitor.other))];
    let wakes = if bug == "notify-one" { 1 } else { ALL };
    for predicate in [&monitor.other, &monitor.ready] {
        monitor.mutex.lock();
        predicate.set(1);
        monitor.notify(wakes);
        monitor.mutex.unlock();
    }
    handles.into_iter().for_each(|handle| handle.join());
}

/// A sequence number near its end: whoever asks whether it grew, instead of whether it changed, waits for ever.
fn wrapping(model: &Model, bug: &'static str) {
    let sequence: &'static AtomicU32 = model.share(AtomicU32::new(u32::MAX));
    let message: &'static Plain = model.share(Plain::default());
    let waiter = spawn(move || {
        let order = if bug == "relaxed" { Relaxed } else { Acquire };
        let first = u32::MAX;
        loop {
            let now = sequence.load(order);
            if if bug == "less" { now > first } else { now != first } {
                break;
            }
            wait(sequence, now);
        }
        assert_eq!(message.get(), 1, "the message was there");
    });
    message.set(1);
    sequence.fetch_add(1, Release);
    wake(sequence, ALL);
    waiter.join();
}
