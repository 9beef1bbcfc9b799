//! Lab 08: the monitor, and readers and writers.

use std::hint::black_box;

use monitor_solution::{HoareMonitor, Monitor, ReadersWriters};

use crate::contest::Contest;
use crate::counter::{Counter, alone, contended, nanoseconds_of};
use crate::peers::PthreadRwLock;

/// The contests of monitors.
pub fn contests() -> Vec<Contest> {
    vec![uncontended(), by_threads(2), by_threads(4), readers()]
}

fn uncontended() -> Contest {
    Contest::new("enter, add 1, leave; one thread", "nanoseconds, less is better")
        .peer("std Mutex", alone(std::sync::Mutex::new(0)))
        .reference("08 `Monitor`", "std Mutex", alone(Monitor::<u64, 1>::new(0)))
        .reference("08 `HoareMonitor`", "std Mutex", alone(HoareMonitor::<u64, 1>::new(0)))
}

fn by_threads(threads: usize) -> Contest {
    Contest::new(
        format!("enter, add 1, leave; {threads} threads"),
        "millions a second together, more is better",
    )
    .peer("std Mutex", contended(std::sync::Mutex::new(0), threads))
    .reference("08 `Monitor`", "std Mutex", contended(Monitor::<u64, 1>::new(0), threads))
    .reference("08 `HoareMonitor`", "std Mutex", contended(HoareMonitor::<u64, 1>::new(0), threads))
}

fn readers() -> Contest {
    let ours = ReadersWriters::new();
    let std = std::sync::RwLock::new(0_u64);
    let parking_lot = parking_lot::RwLock::new(0_u64);
    let pthread = PthreadRwLock::new();
    Contest::new("begin to read, end; one thread", "nanoseconds, less is better")
        .peer("std RwLock", nanoseconds_of(move || drop(black_box(&std).read())))
        .peer("parking_lot RwLock", nanoseconds_of(move || drop(black_box(&parking_lot).read())))
        .peer("pthread_rwlock_t", nanoseconds_of(move || black_box(&pthread).read()))
        .reference(
            "08 `ReadersWriters`",
            "std RwLock",
            nanoseconds_of(move || {
                black_box(&ours).start_read();
                black_box(&ours).end_read();
            }),
        )
}

impl Counter for Monitor<u64, 1> {
    #[inline]
    fn add(&self) {
        self.enter(|number| **number += 1);
    }

    fn total(&self) -> u64 {
        self.enter(|number| **number)
    }
}

impl Counter for HoareMonitor<u64, 1> {
    #[inline]
    fn add(&self) {
        self.enter(|number| **number += 1);
    }

    fn total(&self) -> u64 {
        self.enter(|number| **number)
    }
}
