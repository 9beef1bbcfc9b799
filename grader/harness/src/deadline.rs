//! Fair time: a deadline that counts the time the processes could have used, not the time they
//! waited for a processor that other work had.

use std::fs;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::observe;
use crate::shared::Shared;

/// However slow the machine, a check ends after this many times its deadline.
const LONGEST: u32 = 3;

static PROGRESS: OnceLock<Shared<AtomicU64>> = OnceLock::new();

/// Makes the progress counter. Call once, before the first worker.
pub(crate) fn install() {
    PROGRESS.get_or_init(|| Shared::new(AtomicU64::new(0)));
}

/// Says that a worker got something done.
pub(crate) fn progress() {
    if let Some(progress) = PROGRESS.get() {
        progress.fetch_add(1, Ordering::Relaxed);
    }
}

fn steps() -> u64 {
    PROGRESS.get().map_or(0, |progress| progress.load(Ordering::Relaxed))
}

/// A running deadline.
#[derive(Debug, Clone)]
pub(crate) struct Deadline {
    start: Instant,
    limit: Duration,
    steps: u64,
    moved: Instant,
}

impl Deadline {
    /// Starts now.
    pub(crate) fn new(limit: Duration) -> Deadline {
        let now = Instant::now();
        Deadline { start: now, limit, steps: steps(), moved: now }
    }

    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    /// Whether the time is up for these processes and their descendants.
    pub(crate) fn is_over(&mut self, pids: &[i32]) -> bool {
        let elapsed = self.start.elapsed();
        if elapsed < self.limit {
            return false;
        }
        if elapsed > self.limit * LONGEST {
            return true;
        }
        let now = steps();
        if now != self.steps {
            self.steps = now;
            self.moved = Instant::now();
        }
        let moving = self.moved > self.start && self.moved.elapsed() < self.limit / 2;
        !moving && elapsed.saturating_sub(starved(pids)) >= self.limit
    }
}

/// The longest time that one of the processes, or of their descendants, was ready to run and did not get a processor.
fn starved(pids: &[i32]) -> Duration {
    let everybody = pids.iter().flat_map(|&pid| observe::descendants_of(pid).into_iter().chain([pid]));
    everybody.filter_map(waited_for_cpu).max().unwrap_or_default()
}

/// Time spent on the run queue of a processor: the second figure of `/proc/PID/schedstat`, in nanoseconds.
fn waited_for_cpu(pid: i32) -> Option<Duration> {
    let figures = fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
    figures.split_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
}
