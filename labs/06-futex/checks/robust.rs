//! Part 6: the owner dies.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futex::{Locked, RobustMutex};
use harness::step::{Limit, Reached, Stepper, Watch, mark};
use harness::{Check, Ending, Outcome, Shared, Stop, Student, ensure, observe};

use crate::mutex::run_on;
use crate::sleepers::{falls_asleep, until};

/// How long the next locker may take to notice a death: twice what the contract says.
pub const NOTICED: Duration = Duration::from_secs(1);

/// A free mutex, by the contract: all bytes zero.
pub fn free_mutex() -> Shared<RobustMutex> {
    // SAFETY: plain words, for which zero is a value.
    unsafe { Shared::<RobustMutex>::zeroed() }.named("the mutex")
}

pub fn died(locked: Locked) -> bool {
    match locked {
        Locked::Clean => false,
        Locked::OwnerDied => true,
    }
}

fn word(died: bool) -> &'static str {
    if died { "OwnerDied" } else { "Clean" }
}

/// A worker that takes the mutex, says whether it was told of a death, gives it back, and does both again.
fn next_locker<'c>(check: &'c Check, mutex: &'c Shared<RobustMutex>) -> Result<Student<(bool, bool)>, Stop> {
    check.spawn("`RobustMutex::lock` after a death", || {
        let first = died(mutex.lock());
        mutex.unlock();
        let second = died(mutex.lock());
        mutex.unlock();
        (first, second)
    })
}

/// Where to look when the next locker waits for ever.
const WHO_WAKES: &str =
    "`RobustMutex::lock` and `unlock`: what does the word say, and who would wake the waiter?";

/// Waits for it; the first answer. The second must be `Clean`. The situation is what the owner does when it ends.
fn told(
    check: &Check,
    mut next: Student<(bool, bool)>,
    situation: &str,
    look: &'static str,
) -> Result<bool, Stop> {
    let (start, pid) = (Instant::now(), next.pid());
    let ended = check.wait_within("the next locker gets the mutex", NOTICED, &[pid], || next.ended())?;
    ensure!(
        ended,
        expected: "when the owner {situation}, the next locker gets the mutex",
        observed: format!("after {} ms it was still waiting", start.elapsed().as_millis()),
        look: look,
    );
    let (first, second) = next.join()?;
    ensure!(
        !second,
        expected: "one locker is told of a death; when it has given the mutex back, the next one gets `Clean`",
        observed: "the owner {situation}, and both the next one and the one after it got `OwnerDied`",
        look: "`RobustMutex::unlock`: the mark of the death must go",
    );
    Ok(first)
}

fn must_be(wanted: bool, got: bool, situation: &str) -> Outcome {
    ensure!(
        got == wanted,
        expected: format!("when the owner {situation}, the next locker gets `Locked::{}`", word(wanted)),
        observed: format!("it got `Locked::{}`", word(got)),
        look: "`RobustMutex::lock`: only `FUTEX_OWNER_DIED` in the word tells of a death",
    );
    Ok(())
}

/// Killed, exited, or only a thread: `OwnerDied`, once. A child that ends is not the owner.
pub fn the_next_locker_is_told(check: &mut Check) -> Outcome {
    let mutex = free_mutex();
    let ending = check.ending("a process that is killed while it holds the mutex", || {
        mutex.lock();
        // SAFETY: ends this process.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    })?;
    debug_assert!(matches!(ending, Ending::Signalled(libc::SIGKILL) | Ending::Returned(())));
    let got = told(check, next_locker(check, &mutex)?, "is killed in the critical section", WHO_WAKES)?;
    must_be(true, got, "was killed in the critical section")?;

    check.ending::<()>("a process that exits while it holds the mutex", || {
        mutex.lock();
        std::process::exit(0);
    })?;
    let got = told(check, next_locker(check, &mutex)?, "exits while it holds the mutex", WHO_WAKES)?;
    must_be(true, got, "has exited without giving the mutex back")?;

    check
        .ask("a thread that ends while it holds the mutex, in a process that goes on", || {
            let _ = std::thread::scope(|scope| scope.spawn(|| died(mutex.lock())).join());
            // The owner is the thread.
            let first = died(mutex.lock());
            mutex.unlock();
            first
        })
        .and_then(|got| must_be(true, got, "was a thread that has ended, in a process that goes on"))?;

    // The parent goes on: it is not the owner, and its own end must not be what sets the mutex free.
    let forked = Shared::new([AtomicU32::new(0), AtomicU32::new(0)]);
    let parent = check.spawn("a process that forks a child, which ends while it holds the mutex", || {
        mutex.lock();
        mutex.unlock();
        // SAFETY: the child calls the submission's function and ends.
        match unsafe { libc::fork() } {
            0 => {
                mutex.lock();
                // SAFETY: ends the child.
                unsafe { libc::_exit(0) }
            }
            // SAFETY: our own child.
            child => unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) },
        };
        forked[0].store(1, Ordering::SeqCst);
        until(&forked[1]);
    })?;
    check.wait_until("the forked child has ended", || forked[0].load(Ordering::SeqCst) == 1)?;
    let got = told(
        check,
        next_locker(check, &mutex)?,
        "ends while it holds the mutex, and is a forked child of a process that had used the mutex before",
        "`RobustMutex::lock`: a forked child has a thread id of its own and no robust list, but all its parent's variables",
    )?;
    forked[1].store(1, Ordering::SeqCst);
    parent.join()?;
    must_be(true, got, "was a forked child of a process that had used the mutex before")?;

    let stage = Shared::new([AtomicU32::new(0), AtomicU32::new(0)]);
    let holder = check.spawn("a holder whose child ends", || {
        mutex.lock();
        // SAFETY: the child does nothing.
        match unsafe { libc::fork() } {
            // SAFETY: ends the child.
            0 => unsafe { libc::_exit(0) },
            // SAFETY: our own child.
            child => unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) },
        };
        stage[0].store(1, Ordering::SeqCst);
        until(&stage[1]);
        mutex.unlock();
    })?;
    check.wait_until("the holder's child has ended", || stage[0].load(Ordering::SeqCst) == 1)?;
    let passed = Shared::new(AtomicU32::new(0));
    let waiter = check.spawn("`RobustMutex::lock`", || {
        let locked = mutex.lock();
        passed.store(1, Ordering::SeqCst);
        mutex.unlock();
        died(locked)
    })?;
    falls_asleep(check, &waiter, &mutex, &passed, "`RobustMutex::lock`")?;
    stage[1].store(1, Ordering::SeqCst);
    holder.join()?;
    must_be(false, waiter.join()?, "has forked a child, which ended, and then gave the mutex back")
}

/// Whoever sleeps when the owner dies is woken, also when nobody has waited for the dead process yet.
pub fn a_sleeper_is_told(check: &mut Check) -> Outcome {
    let mutex = free_mutex();
    let held = Shared::new(AtomicU32::new(0));
    let holder = check.spawn("the owner", || {
        mutex.lock();
        held.store(1, Ordering::SeqCst);
        until(&AtomicU32::new(0));
    })?;
    check.wait_until("the owner holds the mutex", || held.load(Ordering::SeqCst) == 1)?;
    let passed = Shared::new(AtomicU32::new(0));
    let sleepers = (0..2)
        .map(|_| {
            let sleeper = check.spawn("`RobustMutex::lock`", || {
                let locked = mutex.lock();
                passed.fetch_add(1, Ordering::SeqCst);
                mutex.unlock();
                died(locked)
            })?;
            falls_asleep(check, &sleeper, &mutex, &passed, "`RobustMutex::lock`")?;
            Ok(sleeper)
        })
        .collect::<Result<Vec<_>, Stop>>()?;
    let pid = holder.pid();
    // SAFETY: our own child, which stays a zombie until the end of this check.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    let start = Instant::now();
    let pids: Vec<i32> = sleepers.iter().map(Student::pid).collect();
    let both = || passed.load(Ordering::SeqCst) == 2;
    let both = check.wait_within("both sleepers get the mutex", NOTICED, &pids, both)?;
    ensure!(
        both,
        expected: "when the owner is killed, both processes that sleep get the mutex within half a second, one after the other",
        observed: format!("after {} ms {} of them had got it (the dead owner is a zombie: state {})", start.elapsed().as_millis(), passed.load(Ordering::SeqCst), observe::state_of(pid).unwrap_or('-')),
        look: "`RobustMutex::lock`: who notices the death? The kernel wakes a sleeper only if the word has `FUTEX_WAITERS`; and a zombie still answers to `kill(pid, 0)`",
    );
    let mut told = 0;
    for sleeper in sleepers {
        told += u32::from(sleeper.join()?);
    }
    ensure!(
        told == 1,
        expected: "one locker is told of the death",
        observed: "{told} of the two sleepers got `Locked::OwnerDied`",
        look: "`RobustMutex::lock` and `unlock`: who takes the mark of the death away, and when?",
    );
    drop(holder);
    Ok(())
}

/// Killed just before and just after each change of the mutex and each system call, in `lock` and in `unlock`.
pub fn death_is_survived_at_every_step(check: &mut Check) -> Outcome {
    let lock = killed_in(check, &Killing { function: "`lock`", unlocking: false })?;
    let unlock = killed_in(check, &Killing { function: "`unlock`", unlocking: true })?;
    check.note(format!("killed at {lock} places in `lock`, and at {unlock} in `unlock` with a sleeper"));
    Ok(())
}

/// In which call a process is killed: `lock`, or `unlock` while another process sleeps.
struct Killing {
    function: &'static str,
    unlocking: bool,
}

impl Killing {
    /// A worker that stands before the call.
    fn start<'c>(&self, check: &'c Check, mutex: &Shared<RobustMutex>) -> Result<Stepper<'c>, Stop> {
        let mut worker = Stepper::start(check, self.function, Watch::of(mutex), || {
            // Whatever is done once in a thread is done here.
            mutex.lock();
            mutex.unlock();
            mark(1, 0);
            mutex.lock();
            mark(2, 0);
            mutex.unlock();
            mark(3, 0);
        })?;
        run_on(&mut worker, self.function)?;
        if self.unlocking {
            run_on(&mut worker, self.function)?;
        }
        Ok(worker)
    }

    /// After how many instructions of the call it is killed: around all that another process or the kernel can see.
    fn places(&self, check: &Check) -> Result<Vec<usize>, Stop> {
        let mutex = free_mutex();
        let mut worker = self.start(check, &mutex)?;
        let (mut done, mut places) = (0, vec![0]);
        let reached = worker.step(Limit::steps(100_000), |step| {
            if step.changed || step.instruction.is_system_call() {
                places.extend([done, done + 1]);
            }
            done += 1;
        })?;
        places.push(done);
        places.dedup();
        match reached {
            Reached::Mark(_) if places.len() <= 60 => Ok(places),
            Reached::Mark(_) | Reached::Spinning | Reached::Limit => Err(Stop::inconclusive(format!(
                "{} takes {done} instructions or more, with {} places where it could be killed: too many",
                self.function,
                places.len()
            ))),
        }
    }
}

/// One process after another, killed a little later each time; in how many places.
fn killed_in(check: &Check, killing: &Killing) -> Result<usize, Stop> {
    let places = killing.places(check)?;
    let last = places.len() - 1;
    for (index, &place) in places.iter().enumerate() {
        let mutex = free_mutex();
        let mut worker = killing.start(check, &mutex)?;
        let passed = Shared::new(AtomicU32::new(0));
        let sleeper = if killing.unlocking {
            let sleeper = next_locker(check, &mutex)?;
            falls_asleep(check, &sleeper, &mutex, &passed, "`RobustMutex::lock`")?;
            Some(sleeper)
        } else {
            None
        };
        worker.step(Limit::steps(place), |_| {})?;
        drop(worker);
        let next = match sleeper {
            Some(sleeper) => sleeper,
            None => next_locker(check, &mutex)?,
        };
        let situation =
            format!("is killed after {place} of {} instructions of {}", places[last], killing.function);
        let got = told(check, next, &situation, WHO_WAKES)?;
        // It was in the critical section after `lock` and before `unlock`.
        if index == if killing.unlocking { 0 } else { last } {
            must_be(true, got, "was killed in the critical section")?;
        }
        if killing.unlocking && index == last {
            must_be(false, got, "had given the mutex back before it was killed")?;
        }
    }
    Ok(places.len())
}
