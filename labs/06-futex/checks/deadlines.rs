//! Part 4: attempts, and waiting with a deadline. Needs `lock` and `unlock` of part 2.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futex::FutexMutex;
use harness::step::{Stepper, Watch, mark};
use harness::{Check, Exploration, JoinHandle, Model, Outcome, ensure};

use crate::mutex::{holder, run_on, system_calls};
use crate::sleepers::{asleep_on, wake_for_nothing};

/// An attempt says no at once, and changes nothing for those who wait.
pub fn try_lock_never_waits(check: &mut Check) -> Outcome {
    check.explore("an attempt on a mutex that is held", Exploration::default(), |model: &Model| {
        let mutex = model.share(FutexMutex::new());
        mutex.lock();
        let attempt = model.spawn("attempt", move || mutex.try_lock());
        let got = attempt.join();
        assert!(!got, "`try_lock` on a mutex that another thread holds returned true");
        mutex.unlock();
        assert!(mutex.try_lock(), "`try_lock` on a free mutex returned false");
    })?;
    let exploration = Exploration { executions: 50_000, ..Exploration::default() };
    check.explore("an attempt beside a holder and a waiter", exploration, |model: &Model| {
        let mutex = model.share(FutexMutex::new());
        let inside = model.share(AtomicU32::new(0));
        let enter = move || {
            let others = inside.fetch_add(1, Ordering::Relaxed);
            assert_eq!(others, 0, "two threads hold the mutex at the same time");
            inside.fetch_sub(1, Ordering::Relaxed);
            mutex.unlock();
        };
        let turn = move || {
            mutex.lock();
            enter();
        };
        let attempt = move || {
            if mutex.try_lock() {
                enter();
            }
        };
        let threads =
            [model.spawn("thread A", turn), model.spawn("thread B", turn), model.spawn("attempt", attempt)];
        threads.into_iter().for_each(JoinHandle::join);
    })
}

/// Not before the deadline, even if it is woken before.
pub fn gives_up_at_the_deadline(check: &mut Check) -> Outcome {
    const TIME: Duration = Duration::from_millis(40);
    let mutex = check.shared("`FutexMutex::new`", FutexMutex::new)?;
    let mut holder = holder!(check, mutex)?;
    let free = check.ask("`FutexMutex::lock_until` with a deadline that is over, on a free mutex", || {
        mutex.lock_until(Instant::now()) && {
            mutex.unlock();
            true
        }
    })?;
    ensure!(
        free,
        expected: "a free mutex is taken even when the deadline is over",
        observed: "`lock_until` returned false",
        look: "`FutexMutex::lock_until`: try before looking at the clock",
    );
    holder.ask(true)?;
    let held = check.ask("`FutexMutex::lock_until` with a deadline that is over, on a held mutex", || {
        mutex.lock_until(Instant::now())
    })?;
    ensure!(
        !held,
        expected: "`lock_until` with a deadline that is over, on a mutex that another process holds, returns false",
        observed: "it returned true: two processes hold the mutex",
        look: "`FutexMutex::lock_until`",
    );
    for disturbed in [false, true] {
        let mut student = check.spawn("`FutexMutex::lock_until`", || {
            let deadline = Instant::now() + TIME;
            let got = mutex.lock_until(deadline);
            let now = Instant::now();
            (got, now >= deadline, deadline.saturating_duration_since(now).as_micros() as u64)
        })?;
        let pid = student.pid();
        let mut woken = 0;
        check.wait_until("`lock_until` gives up", || {
            if disturbed && woken < 3 && asleep_on(pid, &mutex) {
                woken += wake_for_nothing(&mutex);
            }
            student.ended()
        })?;
        let (got, late, early) = student.join()?;
        ensure!(
            !got,
            expected: "`lock_until` returns false when another process holds the mutex until after the deadline",
            observed: "it returned true: two processes hold the mutex",
            look: "`FutexMutex::lock_until`: a wake-up says nothing about the mutex",
        );
        let how = if disturbed { ", also if it is woken for no reason before" } else { "" };
        ensure!(
            late,
            expected: "`lock_until` waits until the deadline{how}",
            observed: "it gave up {early} µs before",
            look: "`FutexMutex::lock_until`: give up only when the clock says so",
        );
    }
    holder.ask(false)?;
    Ok(())
}

/// Woken again and again for no reason: the deadline stays where it is.
pub fn wake_ups_do_not_extend_the_time(check: &mut Check) -> Outcome {
    const DEADLINE: Duration = Duration::from_micros(1_000);
    const ROUND: u32 = 600;
    const ROUNDS: u32 = 3;
    let exploration = Exploration { bound: 2, ..Exploration::default() };
    check.explore("one waits with a deadline and is woken for no reason", exploration, |model: &Model| {
        let mutex = model.share(FutexMutex::new());
        mutex.lock();
        let start = Instant::now();
        let hurried = model.spawn("hurried", move || {
            let got = mutex.lock_until(start + DEADLINE);
            assert!(!got, "`lock_until` returned true while another thread holds the mutex");
            start.elapsed()
        });
        for _ in 0..ROUNDS {
            // In the model each look at the clock takes a microsecond, and nothing else takes any time.
            for _ in 0..ROUND {
                let _ = Instant::now();
            }
            let first = (&raw const *mutex).cast::<u32>();
            for index in 0..size_of::<FutexMutex>() / 4 {
                // SAFETY: a word of the mutex; waking changes no memory.
                unsafe { libc::syscall(libc::SYS_futex, first.add(index), libc::FUTEX_WAKE, i32::MAX) };
            }
        }
        let took = hurried.join();
        let limit = Duration::from_micros((ROUND * ROUNDS).into()) + DEADLINE / 2;
        assert!(
            took < limit,
            "`lock_until` with a deadline in 1 ms was woken for no reason every 0.6 ms for 1.8 ms, and gave up after {took:?}"
        );
    })
}

/// A wake-up that meets somebody who gives up must reach another one.
pub fn giving_up_loses_no_wake_up(check: &mut Check) -> Outcome {
    // In the model each look at the clock takes a microsecond, so these end before, during and after the wait.
    for micros in [2, 1000] {
        let what = format!("one waits without a deadline, one for {micros} µs");
        let exploration = Exploration { executions: 10_000, ..Exploration::default() };
        check.explore(&what, exploration, move |model: &Model| {
            let mutex = model.share(FutexMutex::new());
            mutex.lock();
            let patient = model.spawn("patient", move || {
                mutex.lock();
                mutex.unlock();
            });
            let hurried = model.spawn("hurried", move || {
                if mutex.lock_until(Instant::now() + Duration::from_micros(micros)) {
                    mutex.unlock();
                }
            });
            mutex.unlock();
            patient.join();
            hurried.join();
        })?;
    }
    Ok(())
}

/// Afterwards all is as if it had never waited.
pub fn giving_up_leaves_no_trace(check: &mut Check) -> Outcome {
    let mutex = check.shared("`FutexMutex::new`", FutexMutex::new)?;
    let what = "`lock` and `unlock`";
    let mut worker = Stepper::start(check, what, Watch::of(&mutex), || {
        mutex.lock();
        mark(1, 0);
        mutex.unlock();
        mark(2, 0);
        mutex.lock();
        mutex.unlock();
        mark(3, 0);
    })?;
    run_on(&mut worker, what)?;
    for _ in 0..2 {
        let got = check.ask("`FutexMutex::lock_until`", || {
            mutex.lock_until(Instant::now() + Duration::from_millis(5))
        })?;
        ensure!(
            !got,
            expected: "`lock_until` returns false while another process holds the mutex",
            observed: "it returned true",
            look: "`FutexMutex::lock_until`",
        );
    }
    run_on(&mut worker, what)?;
    let calls = system_calls(&mut worker, what)?;
    ensure!(
        calls == 0,
        expected: "once the mutex has been given back, `lock` and `unlock` make no system call although two have given up waiting before",
        observed: "{calls} system calls were counted, single-stepped",
        look: "`FutexMutex::lock_until`: what does it leave in the words when it gives up?",
    );
    let mut next = check.spawn("`FutexMutex::lock`", || {
        mutex.lock();
        mutex.unlock();
    })?;
    let pid = next.pid();
    check.wait_until("the next one gets in", || next.ended() || asleep_on(pid, &mutex))?;
    ensure!(
        next.ended(),
        expected: "the mutex is free after all that",
        observed: "the next process that wanted it went to sleep, and nobody is there to wake it",
        look: "`FutexMutex::lock_until`: what does it leave in the words when it gives up?",
    );
    next.join()
}
