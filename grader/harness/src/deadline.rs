//! Fair time: a deadline that counts the time the processes could have used, not the time they waited for a processor
//! or a disk that other work had, nor the time in which the whole machine stood still.

mod delays;

use std::mem::MaybeUninit;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::observe::{self, is_held_up};
use crate::shared::Shared;

pub use self::delays::stood_still;
use self::delays::{Delays, waited_for_cpu};
pub(crate) use self::delays::{ended, napped};

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

/// Of what a deadline allows, this part of processor time must have been used before a process that is held up
/// is taken to be stuck: the kernel counts the wait for a processor only when it is over, and a wait for the disk not at all.
const USED: u32 = 4;

/// What a deadline says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Time {
    /// There is some left.
    Left,
    /// It is over.
    Over,
    /// It is over, and the machine gave the processes hardly any of its time.
    Denied,
}

/// A running deadline.
#[derive(Debug, Clone)]
pub(crate) struct Deadline {
    start: Instant,
    /// When the wait began that it is looked at for.
    asked: Instant,
    limit: Duration,
    steps: u64,
    moved: Instant,
    /// What there had been of them when it started.
    delays: Delays,
    /// Processor time of the processes that had ended when it started.
    used: Duration,
    /// Since when every look has found them held up.
    denied: Option<Instant>,
}

impl Deadline {
    /// Starts now.
    pub(crate) fn new(limit: Duration) -> Deadline {
        let now = Instant::now();
        let (delays, used) = (Delays::now(), used_by_ended());
        Deadline { start: now, asked: now, limit, steps: steps(), moved: now, delays, used, denied: None }
    }

    /// The same one, for a wait that begins now.
    pub(crate) fn for_another_wait(&self) -> Deadline {
        Deadline { asked: Instant::now(), ..self.clone() }
    }

    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    /// Whether the time is up for these processes and their descendants.
    pub(crate) fn time_for(&mut self, pids: &[i32]) -> Time {
        // Cheap, for nearly all looks.
        if self.start.elapsed() < self.limit {
            return Time::Left;
        }
        let delays = Delays::now().since(self.delays);
        let elapsed = self.start.elapsed().saturating_sub(delays.still);
        if elapsed < self.limit {
            return Time::Left;
        }
        let everybody: Vec<i32> =
            pids.iter().flat_map(|&pid| observe::descendants_of(pid).into_iter().chain([pid])).collect();
        let has_used_little = self.used(&everybody) < self.limit / USED;
        let denied = has_used_little && everybody.iter().any(|&pid| has_held_up(pid));
        // Whoever naps is ready now and then; whoever gets no processor is ready all the time.
        self.denied = denied.then(|| self.denied.unwrap_or_else(Instant::now));
        let is_over = elapsed.saturating_sub(starved(&everybody) + delays.starved()) >= self.limit;
        if elapsed > self.limit * LONGEST {
            let all_the_time = self.denied.is_some_and(|since| since.elapsed() >= self.limit);
            return if all_the_time || has_used_little && !is_over { Time::Denied } else { Time::Over };
        }
        let now = steps();
        if now != self.steps {
            self.steps = now;
            self.moved = Instant::now();
        }
        let moving = self.moved > self.start && self.moved.elapsed() < self.limit / 2;
        // Nobody is to blame for what those before him have used up.
        let has_just_begun = self.asked.elapsed() < self.limit / USED;
        if denied || moving || has_just_begun || !is_over {
            return Time::Left;
        }
        Time::Over
    }

    /// Processor time used since the start, by these processes and those that have ended.
    fn used(&self, pids: &[i32]) -> Duration {
        let alive: Duration = pids.iter().filter_map(|&pid| observe::cpu_time_of(pid)).sum();
        alive + used_by_ended().saturating_sub(self.used)
    }
}

fn has_held_up(pid: i32) -> bool {
    observe::threads_of(pid).into_iter().any(|tid| is_held_up(pid, tid))
}

/// Processor time of the children that have ended and were waited for.
fn used_by_ended() -> Duration {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` is valid for writing, and zeroed, so that it is a value even after a failure.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr());
        usage.assume_init()
    };
    let time = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    time(usage.ru_utime) + time(usage.ru_stime)
}

/// The longest time that a thread of one of the processes was ready to run and did not get a processor.
fn starved(pids: &[i32]) -> Duration {
    let threads =
        pids.iter().flat_map(|&pid| observe::threads_of(pid).into_iter().map(move |tid| (pid, tid)));
    threads
        .filter_map(|(pid, tid)| waited_for_cpu(&format!("/proc/{pid}/task/{tid}")))
        .max()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
