//! Part 2: the test-and-set lock.

use super::*;

/// Never two holders, wherever one is interrupted.
pub fn at_most_one_holder(check: &mut Check) -> Outcome {
    exclusive(check, SpinLock::new)
}

/// The lock word goes from free to taken by an atomic instruction.
pub fn takes_the_lock_atomically(check: &mut Check) -> Outcome {
    check.instruction("no-std-atomics:spinlock::SpinLock", 0, &[]);
    let lock = check.shared("`SpinLock::new`", SpinLock::new)?;
    changes_atomically(check, &lock, "`SpinLock::lock`", SpinLock::lock)?;
    let lock = check.shared("`SpinLock::new`", SpinLock::new)?;
    changes_atomically(check, &lock, "`SpinLock::try_lock`", |lock| {
        lock.try_lock();
    })
}

/// `try_lock` says yes or no at once, and a refusal changes nothing.
pub fn try_lock_never_waits(check: &mut Check) -> Outcome {
    tries(check, SpinLock::new)
}

/// Two processes on two processors count under the lock; no count is lost. One comes while the other is inside, and then chance decides.
pub fn holds_under_stress(check: &mut Check) -> Outcome {
    let lock = check.shared("`SpinLock::new`", SpinLock::new)?;
    let inside = Shared::new(AtomicU32::new(0));
    let comer = Shared::new(AtomicI32::new(0));
    let counts = Shared::new([AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0)]);
    let stress =
        Stress { workers: 2, budget: Duration::from_millis(100), what: "`SpinLock::lock` and `unlock`" };
    let violation = check.stress(stress, |worker| {
        let visit = |stay: fn(&AtomicI32)| {
            lock.lock();
            if inside.fetch_add(1, Ordering::SeqCst) != 0 {
                worker.violation("2 processes held the lock at the same time");
            }
            // Two steps on purpose: what the lock protects.
            counts[2].store(counts[2].load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            stay(&comer);
            inside.fetch_sub(1, Ordering::SeqCst);
            lock.unlock();
        };
        if worker.index() == 0 {
            visit(until_it_has_tried);
        } else {
            until(|| inside.load(Ordering::SeqCst) != 0);
            comer.store(std::process::id().cast_signed(), Ordering::SeqCst);
            visit(|_| ());
        }
        let mut mine = 1;
        while worker.running() {
            for _ in 0..50 {
                visit(|_| ());
                mine += 1;
            }
            worker.progress();
        }
        counts[worker.index()].store(mine, Ordering::Relaxed);
    })?;
    let expected = "at most one process holds the lock at any time";
    if let Some(violation) = violation {
        return Err(Stop::failed(expected, violation, "`SpinLock::lock` and `SpinLock::unlock`"));
    }
    let [first, second, together] = [0, 1, 2].map(|index: usize| counts[index].load(Ordering::Relaxed));
    ensure!(
        first + second == together,
        expected: "two processes that added {first} and {second} to one number under the lock leave their sum",
        observed: "the number was {together}",
        look: "`SpinLock::lock` and `SpinLock::unlock`",
    );
    check.note(format!("{together} turns of two processes"));
    Ok(())
}

/// Waits in a worker for a fact.
fn until(mut fact: impl FnMut() -> bool) {
    while !fact() {
        std::thread::sleep(Duration::from_micros(20));
    }
}

/// Stays inside until the other one has come and been at it for long enough to get in as well, if nothing keeps it out; or until it
/// sleeps, or is no more.
fn until_it_has_tried(comer: &AtomicI32) {
    /// Processor time: hundreds of times what it takes to get in.
    const ENOUGH: Duration = Duration::from_micros(200);
    until(|| comer.load(Ordering::SeqCst) != 0);
    let pid = comer.load(Ordering::SeqCst);
    let used = || observe::cpu_time_of(pid).unwrap_or_default();
    let before = used();
    until(|| used() > before + ENOUGH || matches!(observe::state_of(pid), None | Some('S' | 'Z')));
}
