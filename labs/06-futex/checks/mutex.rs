//! Part 2: the mutex.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futex::FutexMutex;
use harness::step::{Limit, Mark, Reached, Stepper, Watch, mark};
use harness::{Check, Exploration, JoinHandle, Model, Outcome, Shared, Stop, Student, ensure, observe};

use crate::sleepers::{
    asleep_on, falls_asleep, interrupt, interruptible, times_asleep, until, wake_for_nothing,
};

/// `count` model threads that lock and unlock `turns` times; never two inside.
fn take_turns(model: &Model, count: usize, turns: usize) {
    let mutex = model.share(FutexMutex::new());
    let inside = model.share(AtomicU32::new(0));
    let threads: Vec<_> = (0..count)
        .map(|index| {
            model.spawn(&format!("thread {}", ["A", "B", "C"][index]), move || {
                for _ in 0..turns {
                    mutex.lock();
                    let others = inside.fetch_add(1, Ordering::Relaxed);
                    assert_eq!(others, 0, "two threads hold the mutex at the same time");
                    inside.fetch_sub(1, Ordering::Relaxed);
                    mutex.unlock();
                }
            })
        })
        .collect();
    threads.into_iter().for_each(JoinHandle::join);
}

/// Never two holders, in any interleaving of two threads that come twice.
pub fn at_most_one_holder(check: &mut Check) -> Outcome {
    check.explore("two threads lock and unlock twice", Exploration::default(), |model: &Model| {
        take_turns(model, 2, 2);
    })
}

/// Nobody sleeps for ever, in any interleaving of three threads.
pub fn every_waiter_gets_in(check: &mut Check) -> Outcome {
    let exploration = Exploration { executions: 50_000, ..Exploration::default() };
    check.explore("three threads lock and unlock", exploration, |model: &Model| {
        take_turns(model, 3, 1);
    })
}

/// A number without any protection but the mutex.
struct Plain(UnsafeCell<u64>);

// SAFETY: reached under the mutex only; if that does not help, it is what the check is to find.
unsafe impl Sync for Plain {}

/// What one holder wrote, the next one sees: no data race.
pub fn the_next_holder_sees_everything(check: &mut Check) -> Outcome {
    check.explore(
        "two threads add to a plain number under the mutex",
        Exploration::default(),
        |model: &Model| {
            let mutex = model.share(FutexMutex::new());
            let sum = model.share(Plain(UnsafeCell::new(0)));
            let add = move || {
                mutex.lock();
                // SAFETY: the mutex is held.
                unsafe { *sum.0.get() += 1 };
                mutex.unlock();
            };
            let threads = [model.spawn("thread A", add), model.spawn("thread B", add)];
            threads.into_iter().for_each(JoinHandle::join);
            // SAFETY: the threads have ended.
            assert_eq!(unsafe { *sum.0.get() }, 2, "an addition was lost");
        },
    )
}

/// The system calls that a stepped worker makes until it comes to its next mark.
pub fn system_calls(worker: &mut Stepper<'_>, what: &str) -> Result<usize, Stop> {
    let mut calls = 0;
    let reached = worker.step(Limit::steps(50_000), |step| {
        calls += usize::from(step.instruction.is_system_call());
    })?;
    match reached {
        Reached::Mark(_) => Ok(calls),
        Reached::Spinning | Reached::Limit => Err(Stop::failed(
            format!("{what} is done in a few instructions when nobody else is there"),
            "after 50,000 instructions it was not done",
            what,
        )),
    }
}

/// Lets a stepped worker run at full speed to its next mark.
pub fn run_on(worker: &mut Stepper<'_>, what: &str) -> Result<Mark, Stop> {
    worker.run(2.0)?.ok_or_else(|| {
        Stop::failed(format!("{what} returns"), "it was still running after 2 s of processor time", what)
    })
}

/// No system call while nobody has to wait; neither before nor after somebody had to.
pub fn uncontended_makes_no_system_call(check: &mut Check) -> Outcome {
    let mutex = check.shared("`FutexMutex::new`", FutexMutex::new)?;
    let what = "`lock` and `unlock`";
    let mut worker = Stepper::start(check, what, Watch::of(&mutex), || {
        let pair = || {
            mutex.lock();
            mutex.unlock();
        };
        mark(1, 0);
        pair();
        pair();
        mark(2, 0);
        mutex.lock();
        mark(3, 0);
        mutex.unlock();
        mark(4, 0);
        pair();
        mark(5, 0);
        pair();
        mark(6, 0);
    })?;
    run_on(&mut worker, what)?;
    let calls = system_calls(&mut worker, what)?;
    ensure!(
        calls == 0,
        expected: "two times `lock` and `unlock` with nobody else there: no system call",
        observed: "{calls} system calls were counted, single-stepped",
        look: "`FutexMutex::unlock`: how does it know that nobody sleeps?",
    );
    run_on(&mut worker, what)?;
    let passed = Shared::new(AtomicU32::new(0));
    let waiter = check.spawn("`FutexMutex::lock`", || {
        mutex.lock();
        passed.store(1, Ordering::SeqCst);
        mutex.unlock();
    })?;
    falls_asleep(check, &waiter, &mutex, &passed, "`FutexMutex::lock`")?;
    run_on(&mut worker, what)?;
    waiter.join()?;
    // The last one of those who have waited may make one call too many.
    run_on(&mut worker, what)?;
    let calls = system_calls(&mut worker, what)?;
    ensure!(
        calls == 0,
        expected: "once those who waited have come and gone, `lock` and `unlock` make no system call again",
        observed: "{calls} system calls were counted, single-stepped",
        look: "`FutexMutex::unlock`: the word should forget its waiters when the last one has gone",
    );
    Ok(())
}

/// A process that locks and unlocks when it is told to.
macro_rules! holder {
    ($check:expr, $mutex:expr) => {
        $check.respondent("`FutexMutex::lock` and `unlock`", |lock: bool| {
            if lock { $mutex.lock() } else { $mutex.unlock() }
        })
    };
}

/// Asleep, and not a moment awake, for as long as the mutex is held.
pub fn waiters_sleep(check: &mut Check) -> Outcome {
    let mutex = check.shared("`FutexMutex::new`", FutexMutex::new)?;
    let passed = Shared::new(AtomicU32::new(0));
    let mut holder = holder!(check, mutex)?;
    holder.ask(true)?;
    let waiter = check.spawn("`FutexMutex::lock`", || {
        mutex.lock();
        passed.store(1, Ordering::SeqCst);
        mutex.unlock();
    })?;
    falls_asleep(check, &waiter, &mutex, &passed, "`FutexMutex::lock`")?;
    let look = || (observe::cpu_time_of(waiter.pid()).unwrap_or_default(), times_asleep(waiter.pid()));
    let before = look();
    // Nothing is waited for here: this is how long it is watched.
    std::thread::sleep(Duration::from_millis(40));
    let after = look();
    let used = after.0.saturating_sub(before.0);
    ensure!(
        after.1 == before.1,
        expected: "whoever waits sleeps until it is woken",
        observed: format!("in 40 ms it woke up {} times by itself and used {} µs of processor time", after.1 - before.1, used.as_micros()),
        look: "`FutexMutex::lock`: the kernel wakes it when the word is given back; there is nothing to look after",
    );
    holder.ask(false)?;
    waiter.join()?;
    check.note(format!("asleep for 40 ms, with {} µs of processor time", used.as_micros()));
    Ok(())
}

/// One `unlock`, one sleeper awake.
pub fn unlock_wakes_one(check: &mut Check) -> Outcome {
    const WAITERS: usize = 3;
    let mutex = check.shared("`FutexMutex::new`", FutexMutex::new)?;
    let inside = Shared::slice(WAITERS, |_| AtomicU32::new(0));
    let leave = Shared::slice(WAITERS, |_| AtomicU32::new(0));
    let mut holder = holder!(check, mutex)?;
    holder.ask(true)?;
    let mut waiters: Vec<Student<()>> = Vec::new();
    for index in 0..WAITERS {
        let (inside, leave, mutex) = (&inside[index], &leave[index], &mutex);
        let waiter = check.spawn("`FutexMutex::lock`", move || {
            mutex.lock();
            inside.store(1, Ordering::SeqCst);
            until(leave);
            mutex.unlock();
        })?;
        falls_asleep(check, &waiter, mutex, inside, "`FutexMutex::lock`")?;
        waiters.push(waiter);
    }
    let pids: Vec<i32> = waiters.iter().map(Student::pid).collect();
    let count = || pids.iter().map(|&pid| times_asleep(pid)).collect::<Vec<u64>>();
    let mut before = count();
    holder.ask(false)?;
    for turn in 0..WAITERS {
        let is_inside = |index: &usize| inside[*index].load(Ordering::SeqCst) == 1;
        check.wait_until("one of those who waited gets in", || {
            (0..WAITERS).filter(is_inside).count() > turn
        })?;
        let waiting: Vec<usize> = (0..WAITERS).filter(|index| !is_inside(index)).collect();
        ensure!(
            waiting.len() == WAITERS - turn - 1,
            expected: "one process holds the mutex",
            observed: format!("after turn {turn}, {} of {WAITERS} processes were still waiting", waiting.len()),
            look: "`FutexMutex::lock`: to be woken is not to hold it; look at the word again",
        );
        check.wait_until("the others sleep again", || {
            waiting.iter().all(|&index| asleep_on(pids[index], &mutex))
        })?;
        let disturbed = waiting.iter().filter(|&&index| times_asleep(pids[index]) != before[index]).count();
        ensure!(
            disturbed == 0,
            expected: format!("`unlock` with {} processes asleep wakes one of them", WAITERS - turn),
            observed: format!("{} processes were woken; {disturbed} of them found the mutex taken and had to go back to sleep", disturbed + 1),
            look: "`FutexMutex::unlock`: how many does it wake?",
        );
        before = count();
        for index in (0..WAITERS).filter(|index| !waiting.contains(index)) {
            leave[index].store(1, Ordering::SeqCst);
        }
    }
    for waiter in waiters {
        waiter.join()?;
    }
    Ok(())
}

/// Woken for no reason, or by a signal: back to sleep.
pub fn needless_wake_ups_change_nothing(check: &mut Check) -> Outcome {
    let mutex = check.shared("`FutexMutex::new`", FutexMutex::new)?;
    let passed = Shared::new(AtomicU32::new(0));
    let mut holder = holder!(check, mutex)?;
    holder.ask(true)?;
    let waiter = check.spawn("`FutexMutex::lock`", || {
        interruptible();
        mutex.lock();
        passed.store(1, Ordering::SeqCst);
        mutex.unlock();
    })?;
    falls_asleep(check, &waiter, &mutex, &passed, "`FutexMutex::lock`")?;
    let mut woken = 0;
    for round in 0..20 {
        let how = if round % 2 == 0 { "woken for no reason" } else { "interrupted by a signal" };
        if round % 2 == 0 {
            woken += wake_for_nothing(&mutex);
        } else {
            interrupt(waiter.pid());
        }
        check.wait_until("the waiter sleeps again", || {
            passed.load(Ordering::SeqCst) == 1 || asleep_on(waiter.pid(), &mutex)
        })?;
        ensure!(
            passed.load(Ordering::SeqCst) == 0,
            expected: "a waiter that is {how} while the mutex is held goes on waiting",
            observed: "`lock` returned: two processes hold the mutex",
            look: "`FutexMutex::lock`: a return from `futex_wait` says nothing about the word; look again, in a loop",
        );
    }
    holder.ask(false)?;
    waiter.join()?;
    check.note(format!("{woken} wake-ups for nothing, 10 signals"));
    Ok(())
}
