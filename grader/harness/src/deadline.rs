//! Fair time: a deadline that counts the time the processes could have used, not the time they waited for a processor
//! or a disk that other work had, nor the time in which the whole machine stood still.

use std::fs;
use std::mem::MaybeUninit;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::observe::{self, is_held_up};
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

/// A nap of ours that ends so much too late was followed by a wait for a processor.
const LATE: Duration = Duration::from_millis(50);
/// Nobody waits this long for a processor: the machine was suspended, or its host had no time for it. A machine cannot see
/// that in any other way.
const STOOD_STILL: Duration = Duration::from_secs(1);

/// Nanoseconds that this process's naps took longer than they were to.
static LOST: AtomicU64 = AtomicU64::new(0);
/// Of these, the ones in which the machine stood still.
static STILL: AtomicU64 = AtomicU64::new(0);

/// Nanoseconds that workers which have ended were ready to run and did not get a processor.
static STARVED: AtomicU64 = AtomicU64::new(0);

/// Says that a worker has ended, which has not been waited for yet.
pub(crate) fn ended(pid: i32) {
    let waited = waited_for_cpu(&format!("/proc/{pid}")).unwrap_or_default();
    STARVED.fetch_add(waited.as_nanos() as u64, Ordering::Relaxed);
}

/// Says how long a nap took that was to end after `longest`.
pub(crate) fn napped(longest: Duration, took: Duration) {
    let late = took.saturating_sub(longest);
    let add = |total: &AtomicU64| total.fetch_add(late.as_nanos() as u64, Ordering::Relaxed);
    if late >= LATE {
        add(&LOST);
    }
    if late >= STOOD_STILL {
        add(&STILL);
    }
}

fn total(of: &AtomicU64) -> Duration {
    Duration::from_nanos(of.load(Ordering::Relaxed))
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
    /// This process's own wait for a processor, when it started.
    waited: Duration,
    /// [`LOST`], [`STILL`] and [`STARVED`] when it started.
    lost: Duration,
    still: Duration,
    starved: Duration,
    /// Processor time of the processes that had ended when it started.
    used: Duration,
    /// Since when every look has found them held up.
    denied: Option<Instant>,
}

impl Deadline {
    /// Starts now.
    pub(crate) fn new(limit: Duration) -> Deadline {
        let now = Instant::now();
        let (waited, used) = (waited_here(), used_by_ended());
        let (lost, still, starved) = (total(&LOST), total(&STILL), total(&STARVED));
        let (steps, denied) = (steps(), None);
        Deadline {
            start: now,
            asked: now,
            limit,
            steps,
            moved: now,
            waited,
            lost,
            still,
            starved,
            used,
            denied,
        }
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
        let still = total(&STILL).saturating_sub(self.still);
        let elapsed = self.start.elapsed().saturating_sub(still);
        if elapsed < self.limit {
            return Time::Left;
        }
        let everybody: Vec<i32> =
            pids.iter().flat_map(|&pid| observe::descendants_of(pid).into_iter().chain([pid])).collect();
        let has_used_little = self.used(&everybody) < self.limit / USED;
        let denied = has_used_little && everybody.iter().any(|&pid| has_held_up(pid));
        // Whoever naps is ready now and then; whoever gets no processor is ready all the time.
        self.denied = denied.then(|| self.denied.unwrap_or_else(Instant::now));
        // Until a process is there to be waited for, this one had to run.
        let lost = total(&LOST).saturating_sub(self.lost).saturating_sub(still);
        let starved = starved(&everybody)
            + total(&STARVED).saturating_sub(self.starved)
            + lost.max(waited_here().saturating_sub(self.waited));
        let is_over = elapsed.saturating_sub(starved) >= self.limit;
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

fn waited_here() -> Duration {
    waited_for_cpu("/proc/self").unwrap_or_default()
}

/// Time spent on the run queue of a processor, a wait that goes on not included: the second figure of `schedstat`, in
/// nanoseconds.
fn waited_for_cpu(folder: &str) -> Option<Duration> {
    let figures = fs::read_to_string(format!("{folder}/schedstat")).ok()?;
    figures.split_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command};
    use std::sync::{Mutex, MutexGuard, PoisonError};

    const LIMIT: Duration = Duration::from_millis(100);

    /// What ended children have used is known for all of them together.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

    fn alone() -> MutexGuard<'static, ()> {
        ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn decided(pids: &[i32]) -> Time {
        let mut deadline = Deadline::new(LIMIT);
        loop {
            match deadline.time_for(pids) {
                Time::Left => std::thread::yield_now(),
                time => break time,
            }
        }
    }

    /// What a deadline says about a child in the end.
    fn in_the_end(mut child: Child) -> Time {
        let time = decided(&[child.id().cast_signed()]);
        child.kill().unwrap();
        child.wait().unwrap();
        time
    }

    /// A loop on the first of our processors, under a scheduling policy.
    fn busy(policy: libc::c_int) -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", "while :; do :; done"]);
        // SAFETY: plain system calls only; an empty `cpu_set_t` is all zeros.
        unsafe {
            command.pre_exec(move || {
                let mut all: libc::cpu_set_t = std::mem::zeroed();
                let mut one: libc::cpu_set_t = std::mem::zeroed();
                libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut all);
                let first = (0..libc::CPU_SETSIZE as usize).find(|&cpu| libc::CPU_ISSET(cpu, &all));
                libc::CPU_SET(first.unwrap_or(0), &mut one);
                let parameter = libc::sched_param { sched_priority: 0 };
                if libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const one) != 0
                    || libc::sched_setscheduler(0, policy, &raw const parameter) != 0
                {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            })
        };
        command.spawn().unwrap()
    }

    #[test]
    fn who_gets_no_processor_is_not_stuck() {
        let _alone = alone();
        let mut hog = busy(libc::SCHED_OTHER);
        while observe::cpu_time_of(hog.id() as i32) < Some(Duration::from_millis(5)) {
            std::thread::yield_now();
        }
        let time = in_the_end(busy(libc::SCHED_IDLE));
        hog.kill().unwrap();
        hog.wait().unwrap();
        assert_eq!(time, Time::Denied);
    }

    #[test]
    fn who_naps_is_stuck() {
        let _alone = alone();
        let mut command = Command::new("sh");
        command.args(["-c", "while :; do sleep 0.001; done"]);
        // A session of its own, so that the last nap goes as well.
        let child = command.process_group(0).spawn().unwrap();
        let group = child.id() as i32;
        let time = in_the_end(child);
        // SAFETY: plain system call.
        unsafe { libc::kill(-group, libc::SIGKILL) };
        assert_eq!(time, Time::Over);
    }

    /// Its state is `D`, as that of somebody who waits for the disk.
    #[test]
    fn who_waits_for_its_vfork_is_stuck() {
        let _alone = alone();
        // Without `CLONE_VM`: the child has a stack of its own, as after fork.
        let flags = libc::CLONE_VFORK | libc::SIGCHLD;
        let mut command = Command::new("true");
        // SAFETY: plain system calls only.
        unsafe {
            command.pre_exec(move || {
                if libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) == 0 {
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                    loop {
                        libc::pause();
                    }
                }
                Ok(())
            })
        };
        // It does not get to its exec, for which `spawn` waits.
        let spawner = std::thread::spawn(move || command.spawn());
        let child = loop {
            let me = std::process::id().cast_signed();
            let children = observe::children_of(me);
            if let Some(child) = children.into_iter().find(|&pid| observe::state_of(pid) == Some('D')) {
                break child;
            }
            std::thread::yield_now();
        };
        let time = decided(&[child]);
        // SAFETY: our own child, which `spawn` waits for.
        unsafe { libc::kill(child, libc::SIGKILL) };
        let _ = spawner.join();
        assert_eq!(time, Time::Over);
    }

    #[test]
    fn nobody_is_blamed_for_a_machine_that_stood_still() {
        let _alone = alone();
        let sleeper = Sleeper::new();
        let mut deadline = Deadline::new(Duration::from_secs(10));
        // As if the clock had gone on by ten times the deadline meanwhile.
        let asleep = Duration::from_secs(100);
        deadline.shift(asleep);
        napped(Duration::from_millis(10), asleep);
        assert_eq!(deadline.time_for(&sleeper.pids()), Time::Left);
        deadline.shift(asleep / 5);
        assert_eq!(deadline.time_for(&sleeper.pids()), Time::Over);
    }

    impl Deadline {
        /// As if it had started so much earlier.
        fn shift(&mut self, by: Duration) {
            for moment in [&mut self.start, &mut self.asked, &mut self.moved] {
                *moment -= by;
            }
        }
    }

    /// A process that sleeps; ended when dropped.
    struct Sleeper(Child);

    impl Sleeper {
        fn new() -> Sleeper {
            let sleeper = Sleeper(Command::new("sleep").arg("1000").spawn().unwrap());
            let pid = sleeper.pids()[0];
            while observe::name_of(pid).as_deref() != Some("sleep") || observe::state_of(pid) != Some('S') {
                std::thread::yield_now();
            }
            sleeper
        }

        fn pids(&self) -> [i32; 1] {
            [self.0.id().cast_signed()]
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_wait_that_has_just_begun_is_not_over() {
        let _alone = alone();
        let sleeper = Sleeper::new();
        let pids = sleeper.pids();
        let mut of_the_check = Deadline::new(Duration::from_secs(10));
        of_the_check.shift(Duration::from_secs(20));
        let mut of_a_wait = of_the_check.for_another_wait();
        assert_eq!(of_a_wait.time_for(&pids), Time::Left);
        of_a_wait.asked -= Duration::from_secs(3);
        assert_eq!(of_a_wait.time_for(&pids), Time::Over);
    }

    #[test]
    fn nobody_is_blamed_for_the_starved_before_him() {
        let _alone = alone();
        let sleeper = Sleeper::new();
        let pids = sleeper.pids();
        let mut deadline = Deadline::new(Duration::from_secs(10));
        let mut later = |by: u64, starved: u64| {
            deadline.shift(Duration::from_secs(by));
            STARVED.fetch_add(starved * 1_000_000_000, Ordering::Relaxed);
            deadline.time_for(&pids)
        };
        assert_eq!(later(20, 15), Time::Left);
        assert_eq!(later(15, 15), Time::Denied);
        assert_eq!(later(15, 0), Time::Over);
    }

    #[test]
    fn the_wait_for_a_processor_of_one_that_has_ended_can_be_read() {
        let _alone = alone();
        let mut child = Command::new("true").spawn().unwrap();
        let pid = child.id() as i32;
        while observe::state_of(pid) != Some('Z') {
            std::thread::yield_now();
        }
        assert!(waited_for_cpu(&format!("/proc/{pid}")).is_some());
        child.wait().unwrap();
    }

    #[test]
    fn who_sleeps_is_stuck() {
        let _alone = alone();
        let sleeper = Sleeper::new();
        assert_eq!(decided(&sleeper.pids()), Time::Over);
    }
}
