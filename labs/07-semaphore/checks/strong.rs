//! Part 2: the strong semaphore.

use std::sync::atomic::{AtomicU32, Ordering};

use harness::{Check, Model, Outcome, Shared, Stop, Student};
use semaphore::StrongSemaphore;

use crate::programs::{self, within};
use crate::sleepers::{Sleeper, asleep, until};

/// Until so many are in the queue.
fn until_waiting(semaphore: &StrongSemaphore, count: u32) {
    while semaphore.waiting() != count {
        std::thread::yield_now();
    }
}

/// One comes after the other; each post is for the first of those who are there.
pub fn served_in_the_order_of_arrival(check: &mut Check) -> Outcome {
    check.explore(
        "two threads queue up one after the other, then two posts",
        within(15_000),
        |model: &Model| {
            let semaphore = model.share(StrongSemaphore::new(0));
            let posted = model.share(AtomicU32::new(0));
            let first = model.spawn("first", move || semaphore.wait());
            until_waiting(semaphore, 1);
            let second = model.spawn("second", move || {
                semaphore.wait();
                assert_eq!(
                    posted.load(Ordering::SeqCst),
                    2,
                    "the second in the queue was let in by the first post"
                );
            });
            until_waiting(semaphore, 2);
            semaphore.post();
            assert_eq!(semaphore.waiting(), 1, "two were in the queue and one post has come: `waiting`");
            first.join();
            posted.store(2, Ordering::SeqCst);
            semaphore.post();
            second.join();
            assert_eq!(semaphore.waiting(), 0, "both have been let in: `waiting`");
        },
    )
}

/// What was posted for somebody in the queue, nobody else gets.
pub fn nobody_overtakes_the_queue(check: &mut Check) -> Outcome {
    check.explore("one waits; another one posts and tries at once", within(15_000), |model: &Model| {
        let semaphore = model.share(StrongSemaphore::new(0));
        let waiter = model.spawn("waiter", move || semaphore.wait());
        until_waiting(semaphore, 1);
        semaphore.post();
        assert!(!semaphore.try_wait(), "`try_wait` took what was posted for the one in the queue");
        waiter.join();
    })?;
    check.explore("one waits; another one posts and waits at once", within(15_000), |model: &Model| {
        let semaphore = model.share(StrongSemaphore::new(1));
        let turns = model.share(AtomicU32::new(0));
        semaphore.wait();
        let waiter = model.spawn("waiter", move || {
            semaphore.wait();
            turns.fetch_add(1, Ordering::SeqCst);
            semaphore.post();
        });
        until_waiting(semaphore, 1);
        semaphore.post();
        semaphore.wait();
        let turns = turns.load(Ordering::SeqCst);
        assert_eq!(turns, 1, "the one who posted came back before the one in the queue had its turn");
        semaphore.post();
        waiter.join();
    })
}

/// Strictness costs nothing else: exclusion, and no signal lost.
pub fn strong_counts_as_well(check: &mut Check) -> Outcome {
    programs::exclusion::<StrongSemaphore>(check)?;
    programs::signals::<StrongSemaphore>(check)
}

/// Real processes: they sleep, and are let in one by one in the order in which they came, round after round.
pub fn processes_are_served_in_order(check: &mut Check) -> Outcome {
    const COUNT: usize = 5;
    let semaphore = check.shared("`StrongSemaphore::new`", || StrongSemaphore::new(3))?;
    // As if many had come and gone.
    check.ask("`StrongSemaphore::wait` and `post`", || {
        for _ in 0..1_000 {
            semaphore.wait();
            semaphore.post();
        }
        (0..3).for_each(|_| semaphore.wait());
    })?;
    let passed = Shared::slice(COUNT, |_| AtomicU32::new(0));
    let leave = Shared::new(AtomicU32::new(0));
    let function = "`StrongSemaphore::wait`";
    let mut waiters: Vec<Student<()>> = Vec::new();
    for index in 0..COUNT {
        let waiter = check.spawn(function, || {
            semaphore.wait();
            passed[index].store(1, Ordering::SeqCst);
            until(&leave);
        })?;
        let sleeper = Sleeper { function, because: "the count is 0", passed: &passed[index] };
        sleeper.falls_asleep(check, waiter.pid())?;
        waiters.push(waiter);
    }
    for turn in 0..COUNT {
        check.ask("`StrongSemaphore::post`", || semaphore.post())?;
        let who =
            || (0..COUNT).filter(|&index| passed[index].load(Ordering::SeqCst) == 1).collect::<Vec<_>>();
        check.wait_until("one of those who wait gets in", || {
            who().len() > turn || waiters.iter().skip(turn).all(|waiter| asleep(waiter.pid()))
        })?;
        let inside = who();
        if inside.len() <= turn {
            return Err(Stop::failed(
                format!("{COUNT} processes sleep; after {} posts {} of them are in", turn + 1, turn + 1),
                format!("{} are in, and all the others sleep on", inside.len()),
                "`StrongSemaphore::post`: whom does its wake-up call reach? Sleepers of other processes as well (no FUTEX_PRIVATE_FLAG)?",
            ));
        }
        if inside != (0..=turn).collect::<Vec<_>>() {
            let let_in: Vec<usize> = inside.iter().map(|index| index + 1).collect();
            return Err(Stop::failed(
                format!(
                    "{COUNT} processes came one after the other and sleep; after {} posts the first {} are in",
                    turn + 1,
                    turn + 1
                ),
                format!("those who are in came as number {let_in:?}"),
                "`StrongSemaphore::wait` and `post`: in which order does the kernel wake, and who may take what was posted?",
            ));
        }
    }
    leave.store(1, Ordering::SeqCst);
    waiters.into_iter().try_for_each(Student::join)?;
    check.note(format!("{COUNT} processes, let in one by one"));
    Ok(())
}
