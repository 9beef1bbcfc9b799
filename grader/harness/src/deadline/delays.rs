//! What the machine has kept this process and its workers from doing so far.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A nap of ours that ends so much too late was followed by a wait for a processor.
const LATE: Duration = Duration::from_millis(50);
/// Nobody waits this long for a processor: the machine was suspended, or its host had no time for it. A machine cannot see
/// that in any other way.
const STOOD_STILL: Duration = Duration::from_secs(1);

/// A time that grows; in nanoseconds.
pub(super) struct Total(AtomicU64);

/// By how much naps have ended too late.
static LATENESS: Total = Total(AtomicU64::new(0));
/// Of this, the time in which the machine stood still.
static STILL: Total = Total(AtomicU64::new(0));
/// How long workers that have ended were ready to run and did not get a processor.
pub(super) static STARVED: Total = Total(AtomicU64::new(0));

impl Total {
    pub(super) fn add(&self, time: Duration) {
        self.0.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }

    fn get(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// Says that a worker has ended, which has not been waited for yet.
pub(crate) fn ended(pid: i32) {
    STARVED.add(waited_for_cpu(&format!("/proc/{pid}")).unwrap_or_default());
}

/// Says how long a nap took that was to end after `longest`.
pub(crate) fn napped(longest: Duration, took: Duration) {
    let late = took.saturating_sub(longest);
    if late >= LATE {
        LATENESS.add(late);
    }
    STILL.add(stood_still(longest, took));
}

/// How long the whole machine stood still during a nap that was to end after `longest`. Zero if it is not known to have.
pub fn stood_still(longest: Duration, took: Duration) -> Duration {
    let late = took.saturating_sub(longest);
    if late >= STOOD_STILL { late } else { Duration::ZERO }
}

/// All of it, up to some moment or since one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Delays {
    /// How long this process was ready to run and did not get a processor.
    waited: Duration,
    lateness: Duration,
    /// How long the machine stood still.
    pub(super) still: Duration,
    starved: Duration,
}

impl Delays {
    pub(super) fn now() -> Delays {
        Delays {
            waited: waited_for_cpu("/proc/self").unwrap_or_default(),
            lateness: LATENESS.get(),
            still: STILL.get(),
            starved: STARVED.get(),
        }
    }

    pub(super) fn since(self, before: Delays) -> Delays {
        Delays {
            waited: self.waited.saturating_sub(before.waited),
            lateness: self.lateness.saturating_sub(before.lateness),
            still: self.still.saturating_sub(before.still),
            starved: self.starved.saturating_sub(before.starved),
        }
    }

    /// How long this process and the workers that have ended got no processor, the machine not standing still. Until a process is
    /// there to be waited for, this one had to run.
    pub(super) fn starved(&self) -> Duration {
        self.starved + self.waited.max(self.lateness.saturating_sub(self.still))
    }
}

/// Time spent on the run queue of a processor, a wait that goes on not included: the second figure of `schedstat`, in
/// nanoseconds.
pub(super) fn waited_for_cpu(folder: &str) -> Option<Duration> {
    let figures = fs::read_to_string(format!("{folder}/schedstat")).ok()?;
    figures.split_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
}
