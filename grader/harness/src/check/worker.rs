//! Several workers at once: pinned, released together, stopped at the first violation.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::deadline;
use crate::panics::Text;
use crate::rng::Rng;

/// What a stress run is: how many workers, for how long, doing what.
#[derive(Debug, Clone, Copy)]
pub struct Stress<'a> {
    /// Number of worker processes.
    pub workers: usize,
    /// How long they run when nothing goes wrong, on an idle machine.
    pub budget: Duration,
    /// What they do, for messages: "`lock` and `unlock`".
    pub what: &'a str,
}

/// What the workers of one group share.
pub(super) struct Group {
    arrived: AtomicU32,
    released: AtomicU32,
    awake: AtomicU32,
    stop: AtomicU32,
    /// 0 while nobody has reported, 1 while the text is being written, 2 when it is there.
    violated: AtomicU32,
    violation: Text<600>,
}

impl Group {
    pub(super) fn new() -> Group {
        Group {
            arrived: AtomicU32::new(0),
            released: AtomicU32::new(0),
            awake: AtomicU32::new(0),
            stop: AtomicU32::new(0),
            violated: AtomicU32::new(0),
            violation: Text::new(),
        }
    }

    /// The first violation, if one was reported.
    pub(super) fn violation(&self) -> Option<String> {
        (self.violated.load(Ordering::Acquire) == 2).then(|| self.violation.get())
    }

    /// Waits until all have arrived: asleep until the last one comes, then together.
    fn meet(&self, count: u32) {
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == count {
            self.released.store(1, Ordering::Release);
            futex(&self.released, libc::FUTEX_WAKE, i32::MAX as u32);
        }
        while self.released.load(Ordering::Acquire) == 0 {
            futex(&self.released, libc::FUTEX_WAIT, 0);
        }
        self.awake.fetch_add(1, Ordering::AcqRel);
        let start = Instant::now();
        while self.awake.load(Ordering::Acquire) < count && start.elapsed() < Duration::from_millis(2) {
            std::hint::spin_loop();
        }
    }
}

fn futex(word: &AtomicU32, operation: i32, value: u32) {
    // SAFETY: the word outlives the call; no timeout and no second word are used by these operations.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, value, 0usize, 0usize, 0) };
}

/// One worker of a group, as its closure sees it.
pub struct Worker<'a> {
    group: &'a Group,
    index: usize,
    count: usize,
    end: Option<Instant>,
    rng: RefCell<Rng>,
}

impl<'a> Worker<'a> {
    /// Waits for the others, then starts the clock.
    pub(super) fn start(
        group: &'a Group,
        index: usize,
        count: usize,
        budget: Option<Duration>,
        seed: u64,
    ) -> Worker<'a> {
        group.meet(count as u32);
        let rng = RefCell::new(Rng::new(seed ^ (index as u64 + 1).wrapping_mul(0x9e37_79b9)));
        Worker { group, index, count, end: budget.map(|budget| Instant::now() + budget), rng }
    }

    /// This worker's number, from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// How many workers there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// False once the time budget is used up or a violation was reported.
    pub fn running(&self) -> bool {
        self.group.stop.load(Ordering::Relaxed) == 0 && self.end.is_none_or(|end| Instant::now() < end)
    }

    /// Reports that the property was violated; the first report wins and stops all workers.
    pub fn violation(&self, text: &str) {
        let first = self.group.violated.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if first {
            self.group.violation.set(text);
            self.group.violated.store(2, Ordering::Release);
        }
        self.group.stop.store(1, Ordering::Relaxed);
    }

    /// Says that something got done: the deadline waits for a worker that moves.
    pub fn progress(&self) {
        deadline::progress();
    }

    /// A random number below `bound`, different for each worker, the same for the same seed.
    pub fn below(&self, bound: u64) -> u64 {
        self.rng.borrow_mut().below(bound)
    }

    /// This worker's own generator.
    pub fn rng(&self) -> std::cell::RefMut<'_, Rng> {
        self.rng.borrow_mut()
    }
}

/// Keeps the calling thread on the `index`-th processor that it may use.
pub(super) fn pin(index: usize) {
    use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
    let me = nix::unistd::Pid::from_raw(0);
    let Ok(allowed) = sched_getaffinity(me) else { return };
    let cpus: Vec<usize> = (0..CpuSet::count()).filter(|&cpu| allowed.is_set(cpu).unwrap_or(false)).collect();
    let mut one = CpuSet::new();
    if !cpus.is_empty() && one.set(cpus[index % cpus.len()]).is_ok() {
        let _ = sched_setaffinity(me, &one);
    }
}
