use std::sync::atomic::{AtomicU32, Ordering::*};

use explore::{Model, spawn};

use crate::futex::{ALL, Semaphore, wait, wake};
use crate::plain::Plain;
use crate::scenario::Scenario;

pub const ROWS: &[Scenario] = &[
    ("ba-right", |model| phases(model, "", 2)),
    ("ba-right-3", |model| once(model, "", 3)),
    ("ba-no-generation", |model| phases(model, "no-generation", 2)),
    ("ba-count-nonatomic", |model| phases(model, "count-nonatomic", 2)),
    ("ba-wake-one", |model| once(model, "wake-one", 3)),
    ("ba-off-by-one", |model| once(model, "off-by-one", 3)),
    ("ba-late-generation", |model| phases(model, "late-generation", 2)),
    ("ba-spurious-no-loop", |model| phases(model, "spurious-no-loop", 2)),
    ("ba-one-turnstile", |model| turnstile(model)),
    ("ba-sense-shared", |model| phases(model, "sense-shared", 2)),
    ("ba-relaxed-arrival", |model| phases(model, "relaxed-arrival", 2)),
];

#[derive(Default)]
struct Barrier {
    arrived: AtomicU32,
    generation: AtomicU32,
}

impl Barrier {
    fn arrive(&self, count: u32, bug: &str) {
        let mut generation = self.generation.load(Acquire);
        let arrived = match bug {
            "count-nonatomic" => {
                let arrived = self.arrived.load(Acquire);
                self.arrived.store(arrived + 1, Release);
                arrived
            }
            "relaxed-arrival" => self.arrived.fetch_add(1, Relaxed),
            _ => self.arrived.fetch_add(1, AcqRel),
        };
        if bug == "late-generation" {
            generation = self.generation.load(Acquire);
        }
        let last = if bug == "off-by-one" { count - 2 } else { count - 1 };
        if arrived == last {
            match bug {
                "sense-shared" => {
                    self.generation.fetch_add(1, Release);
                    self.arrived.store(0, Relaxed);
                }
                "no-generation" => self.arrived.store(0, Release),
                _ => {
                    self.arrived.store(0, Relaxed);
                    self.generation.fetch_add(1, Release);
                }
            }
            let word = if bug == "no-generation" { &self.arrived } else { &self.generation };
            wake(word, if bug == "wake-one" { 1 } else { ALL });
            return;
        }
        match bug {
            "no-generation" => {
                while self.arrived.load(Acquire) != 0 {}
            }
            "spurious-no-loop" => {
                wait(&self.generation, self.generation.load(Acquire));
            }
            _ => {
                while self.generation.load(Acquire) == generation {
                    wait(&self.generation, generation);
                }
            }
        }
    }
}

#[derive(Default)]
struct Work {
    barrier: Barrier,
    cells: [Plain; 3],
}

/// Each thread writes its own cell, and after the barrier reads the next thread's; twice.
fn phases(model: &Model, bug: &'static str, count: u32) {
    let work: &'static Work = model.share(Work::default());
    let body = move |me: usize| {
        for round in 1..=2 {
            work.cells[me].set(round);
            work.barrier.arrive(count, bug);
            assert_eq!(work.cells[(me + 1) % count as usize].get(), round, "passed before all had arrived");
            work.barrier.arrive(count, bug);
        }
    };
    let handles: Vec<_> = (0..count as usize).map(|me| spawn(move || body(me))).collect();
    handles.into_iter().for_each(|handle| handle.join());
}

fn once(model: &Model, bug: &'static str, count: u32) {
    let work: &'static Work = model.share(Work::default());
    let body = move |me: usize| {
        work.cells[me].set(1);
        work.barrier.arrive(count, bug);
        assert_eq!(work.cells[(me + 1) % count as usize].get(), 1, "passed before all had arrived");
    };
    let handles: Vec<_> = (0..count as usize).map(|me| spawn(move || body(me))).collect();
    handles.into_iter().for_each(|handle| handle.join());
}

/// Two semaphores would do; with one, the fast thread takes the slow one's permit of the round before.
fn turnstile(model: &Model) {
    let arrived: &'static AtomicU32 = model.share(AtomicU32::new(0));
    let gate: &'static Semaphore = model.share(Semaphore::new(0));
    let cells: &'static [Plain; 2] = model.share(Default::default());
    let body = move |me: usize| {
        for round in 1..=2 {
            cells[me].set(round);
            if arrived.fetch_add(1, AcqRel) == 1 {
                arrived.store(0, Relaxed);
                gate.post();
                gate.post();
            }
            gate.wait();
            assert_eq!(cells[1 - me].get(), round, "passed before all had arrived");
        }
    };
    let handles = [spawn(move || body(0)), spawn(move || body(1))];
    handles.into_iter().for_each(|handle| handle.join());
}
