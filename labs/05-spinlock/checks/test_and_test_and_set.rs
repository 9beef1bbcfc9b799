//! Part 3: the test-and-test-and-set lock.

use super::*;

/// Never two holders of the test-and-test-and-set lock.
pub fn ttas_at_most_one_holder(check: &mut Check) -> Outcome {
    exclusive(check, TtasLock::new)
}

/// A waiter reads and pauses; it executes no locked instruction until the lock is free, and then gets in.
pub fn waiters_only_read(check: &mut Check) -> Outcome {
    const STEPS: usize = 1000;
    let name = "`TtasLock::lock`";
    let lock = check.shared("`TtasLock::lock`", || {
        let lock = TtasLock::new();
        lock.lock();
        lock
    })?;
    let mut waiter = Stepper::start(check, name, Watch::of(&lock), || {
        lock.lock();
        mark(1, 0);
    })?;
    let (mut locked, mut pauses) = (0, 0);
    let mut last = None;
    let reached = waiter.step(Limit::steps(STEPS), |step| {
        pauses += usize::from(step.instruction.is_pause());
        if step.instruction.is_locked() {
            locked += 1;
            last = Some(step.instruction.clone());
        }
    })?;
    ensure!(
        reached == Reached::Limit,
        expected: "`lock` waits while another process holds the lock",
        observed: "it returned although the lock was held",
        look: name,
    );
    if locked > 2 {
        if let Some(last) = last {
            last.report(check, "look-here");
        }
        return Err(Stop::failed(
            "a waiter reads until the lock looks free; while it is held, it executes no locked instruction \
             (two attempts at the beginning are let through)",
            format!("{locked} locked instructions in {STEPS} instructions of waiting"),
            "`TtasLock::lock`: the loop inside the loop",
        ));
    }
    ensure!(
        pauses > 0,
        expected: "a waiter tells the processor that it is spinning: `pause`",
        observed: "no `pause` in {STEPS} instructions of waiting",
        look: "`TtasLock::lock`: `core::hint::spin_loop()` in the loop that reads",
    );
    check.ask("`TtasLock::unlock`", || lock.unlock())?;
    let entered =
        matches!(waiter.step(Limit::steps(4000), |_| {})?, Reached::Mark(_)) || waiter.run(0.3)?.is_some();
    ensure!(
        entered,
        expected: "a waiter gets in after `unlock`",
        observed: "it went on waiting although the lock was free",
        look: "`TtasLock::lock` (is the word read anew each time?) and `TtasLock::unlock`",
    );
    check.note(format!("{STEPS} instructions of waiting: {locked} locked, {pauses} pauses"));
    Ok(())
}

/// The lock word goes from free to taken by an atomic instruction.
pub fn ttas_takes_the_lock_atomically(check: &mut Check) -> Outcome {
    check.instruction("no-std-atomics:spinlock::TtasLock", 0, &[]);
    let lock = check.shared("`TtasLock::new`", TtasLock::new)?;
    changes_atomically(check, &lock, "`TtasLock::lock`", TtasLock::lock)?;
    let lock = check.shared("`TtasLock::new`", TtasLock::new)?;
    changes_atomically(check, &lock, "`TtasLock::try_lock`", |lock| {
        lock.try_lock();
    })
}

/// `try_lock` says yes or no at once, and a refusal changes nothing.
pub fn ttas_try_lock_never_waits(check: &mut Check) -> Outcome {
    tries(check, TtasLock::new)
}
