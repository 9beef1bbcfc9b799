//! Part 4: attempts, and waiting with a deadline. Needs `lock` and `unlock` of part 2.

use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futex::FutexMutex;
use harness::step::{Stepper, Watch, mark};
use harness::{Check, Exploration, JoinHandle, Model, Outcome, ensure};

use crate::mutex::{run_on, system_calls};
use crate::sleepers::asleep_on;

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

// In the model a clock moves when it is looked at, by a microsecond, and when all sleep, to the next time that ends.

/// Wakes everybody who sleeps on a word of the mutex, for no reason.
fn wake_all(mutex: &FutexMutex) {
    let first = ptr::from_ref(mutex).cast::<u32>();
    for index in 0..size_of::<FutexMutex>() / 4 {
        // SAFETY: a word of the mutex; waking changes no memory.
        unsafe { libc::syscall(libc::SYS_futex, first.add(index), libc::FUTEX_WAKE, i32::MAX) };
    }
}

/// Not before the deadline, even if it is woken before.
pub fn gives_up_at_the_deadline(check: &mut Check) -> Outcome {
    check.explore("a deadline that is over", Exploration::default(), |model: &Model| {
        let mutex = model.share(FutexMutex::new());
        let now = Instant::now();
        assert!(
            mutex.lock_until(now),
            "`lock_until` on a free mutex returned false: it looks at the clock before it tries"
        );
        let hurried = model.spawn("hurried", move || mutex.lock_until(now));
        assert!(!hurried.join(), "`lock_until` on a mutex that another thread holds returned true");
        mutex.unlock();
    })?;
    check.explore("woken for no reason before the deadline", Exploration::default(), |model: &Model| {
        let mutex = model.share(FutexMutex::new());
        mutex.lock();
        let hurried = model.spawn("hurried", move || {
            let deadline = Instant::now() + Duration::from_micros(100);
            let got = mutex.lock_until(deadline);
            assert!(!got, "`lock_until` on a mutex that another thread holds returned true");
            let early = deadline.saturating_duration_since(Instant::now());
            assert!(
                early.is_zero(),
                "`lock_until` was woken for no reason, and gave up {early:?} before the deadline"
            );
        });
        std::thread::sleep(Duration::from_micros(50));
        wake_all(mutex);
        hurried.join();
        mutex.unlock();
    })
}

/// Woken again and again for no reason: the deadline stays where it is.
pub fn wake_ups_do_not_extend_the_time(check: &mut Check) -> Outcome {
    const DEADLINE: Duration = Duration::from_micros(100);
    const PAUSE: Duration = Duration::from_micros(60);
    const LIMIT: Duration = Duration::from_micros(400);
    // Nobody is preempted: who is held up between the look at the clock and the call sleeps too long, and cannot help it.
    let exploration = Exploration { bound: 0, ..Exploration::default() };
    for (rounds, why) in [(0, "although nobody woke it"), (10, "because each needless wake-up put it off")] {
        let what = format!("one waits with a deadline and is woken {rounds} times for no reason");
        check.explore(&what, exploration, move |model: &Model| {
            let mutex = model.share(FutexMutex::new());
            mutex.lock();
            let start = Instant::now();
            let hurried = model.spawn("hurried", move || {
                let got = mutex.lock_until(start + DEADLINE);
                assert!(!got, "`lock_until` on a mutex that another thread holds returned true");
                let took = start.elapsed();
                assert!(
                    took < LIMIT,
                    "`lock_until` with a deadline in {DEADLINE:?} gave up after {took:?}, {why}"
                );
            });
            for _ in 0..rounds {
                std::thread::sleep(PAUSE);
                wake_all(mutex);
            }
            hurried.join();
        })?;
    }
    Ok(())
}

/// A wake-up that meets somebody who gives up must reach another one.
pub fn giving_up_loses_no_wake_up(check: &mut Check) -> Outcome {
    // Time enough for one look at the clock, or for many.
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
    let give_up = || {
        check.ask("`FutexMutex::lock_until`", || mutex.lock_until(Instant::now() + Duration::from_millis(5)))
    };
    ensure!(
        !give_up()?,
        expected: "`lock_until` returns false while another process holds the mutex",
        observed: "it returned true",
        look: "`FutexMutex::lock_until`: only a word that was free, and that this call has changed, is a mutex taken",
    );
    ensure!(
        !give_up()?,
        expected: "`lock_until` returns false while another process holds the mutex, as often as it is called",
        observed: "it returned false, and true when it was called again: one process holds the mutex, and another one got it",
        look: "`FutexMutex::lock_until`: what does it leave in the words when it gives up? The mutex is not its own",
    );
    run_on(&mut worker, what)?;
    let calls = system_calls(&mut worker, what)?;
    ensure!(
        calls == 0,
        expected: "once the mutex has been given back, `lock` and `unlock` make no system call although two have given up waiting before",
        observed: "system calls counted, single-stepped: {calls}",
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
