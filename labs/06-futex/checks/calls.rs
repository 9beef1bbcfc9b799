//! Part 1: the system call.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futex::{Wait, futex_wait, futex_wake};
use harness::{Check, Exploration, Model, Outcome, Shared, ensure};

use crate::sleepers::{asleep_on, interrupt, interruptible, times_asleep, wait, wake};

/// A `Wait` on its way from a worker.
fn number(wait: Wait) -> u8 {
    match wait {
        Wait::Woken => 0,
        Wait::ValueChanged => 1,
        Wait::Interrupted => 2,
        Wait::TimedOut => 3,
    }
}

fn name(number: u8) -> &'static str {
    ["Woken", "ValueChanged", "Interrupted", "TimedOut"][usize::from(number.min(3))]
}

/// The outcome must be this one.
fn same(wanted: Wait, got: u8, situation: &str) -> Outcome {
    ensure!(
        got == number(wanted),
        expected: "`futex_wait` {situation} returns `Wait::{wanted:?}`",
        observed: format!("it returned `Wait::{}`", name(got)),
        look: "`futex_wait`: the outcome is in errno: EAGAIN, EINTR, ETIMEDOUT, or none",
    );
    Ok(())
}

/// A word that is not as expected: no sleep.
pub fn wait_returns_when_the_value_differs(check: &mut Check) -> Outcome {
    let word = Shared::new(AtomicU32::new(0));
    let mut student = check
        .respondent("`futex_wait` on a word that is not as expected", |expected: u32| {
            number(futex_wait(&word, expected, None))
        })?;
    for _ in 0..50 {
        let value = check.rng().next_u64() as u32;
        let bit = 1 << check.rng().below(32);
        word.store(value, Ordering::SeqCst);
        let outcome = student.ask(value ^ bit)?;
        same(
            Wait::ValueChanged,
            outcome,
            &format!("with {:#x} expected on a word that is {value:#x}", value ^ bit),
        )?;
        let after = word.load(Ordering::SeqCst);
        ensure!(
            after == value,
            expected: "`futex_wait` leaves the word alone",
            observed: "it was {value:#x} and is {after:#x}",
            look: "`futex_wait`: the kernel compares, nobody writes",
        );
    }
    check.note("50 words that differ in one bit");
    Ok(())
}

/// Asleep in the kernel until somebody wakes it.
pub fn wait_sleeps_until_it_is_woken(check: &mut Check) -> Outcome {
    let word = Shared::new(AtomicU32::new(0)).named("the word");
    for timeout in [None, Some(Duration::MAX)] {
        let value = check.rng().next_u64() as u32;
        word.store(value, Ordering::SeqCst);
        let mut student = check.spawn("`futex_wait` on a word that is as expected", || {
            number(futex_wait(&word, value, timeout))
        })?;
        let mut ended = false;
        check.wait_until("`futex_wait` sleeps on the word", || {
            ended = student.ended();
            ended || asleep_on(student.pid(), &word)
        })?;
        if !ended {
            let woken = wake(&word, 1);
            ensure!(
                woken == 1,
                expected: "another process can wake whoever sleeps in `futex_wait`",
                observed: "a `FUTEX_WAKE` on the word reached nobody, although `futex_wait` was asleep there",
                look: "`futex_wait`: with `FUTEX_PRIVATE_FLAG` the kernel looks for sleepers of the same process only",
            );
        }
        let outcome = student.join()?;
        same(Wait::Woken, outcome, &format!("with a timeout of {timeout:?}, woken by another process,"))?;
    }
    Ok(())
}

/// Not before the time is over, and then at once.
pub fn wait_ends_when_the_time_is_over(check: &mut Check) -> Outcome {
    // In the model a clock moves when it is looked at, by a microsecond, and when all sleep, to the next time that ends.
    const LOOKS: Duration = Duration::from_micros(10);
    let times = [Duration::ZERO, Duration::from_micros(999), Duration::new(2, 345_678_901)];
    let exploration = Exploration { spurious: false, ..Exploration::default() };
    check.explore("one waits for some time, and nobody wakes it", exploration, move |model: &Model| {
        let word = model.share(AtomicU32::new(7));
        for time in times {
            let start = Instant::now();
            let outcome = futex_wait(word, 7, Some(time));
            let took = start.elapsed();
            assert_eq!(outcome, Wait::TimedOut, "`futex_wait` with a timeout of {time:?}, and nobody wakes it");
            let right = time <= took && took < time + LOOKS;
            assert!(right, "`futex_wait` with a timeout of {time:?} returned after {took:?}; a `timespec` is whole seconds and nanoseconds");
        }
    })
}

/// A signal is an outcome of its own.
pub fn wait_tells_an_interruption(check: &mut Check) -> Outcome {
    let word = Shared::new(AtomicU32::new(7)).named("the word");
    for timeout in [None, Some(Duration::from_secs(3600))] {
        let mut student = check.spawn("`futex_wait`, interrupted by a signal", || {
            interruptible();
            number(futex_wait(&word, 7, timeout))
        })?;
        let mut ended = false;
        let mut sent: Option<u64> = None;
        check.wait_until("`futex_wait` returns after the signal", || {
            let pid = student.pid();
            if sent.is_none() && asleep_on(pid, &word) {
                sent = Some(times_asleep(pid));
                interrupt(pid);
            }
            ended = student.ended();
            // Asleep, and not still but again.
            let again = || sent.is_some_and(|before| asleep_on(pid, &word) && times_asleep(pid) > before);
            ended || again()
        })?;
        ensure!(
            ended,
            expected: "`futex_wait` returns `Wait::Interrupted` when a signal handler has run",
            observed: "it went back to sleep",
            look: "`futex_wait`: EINTR is for the caller to judge",
        );
        same(Wait::Interrupted, student.join()?, "that is interrupted by a signal handler")?;
    }
    Ok(())
}

/// As many as asked for, and the number is told.
pub fn wake_wakes_as_many_as_asked(check: &mut Check) -> Outcome {
    const SLEEPERS: usize = 6;
    let word = Shared::new(AtomicU32::new(7)).named("the word");
    let mut sleepers = Vec::new();
    for _ in 0..SLEEPERS {
        sleepers.push(check.spawn("the check's own sleeper", || wait(&word, 7))?);
    }
    let pids: Vec<i32> = sleepers.iter().map(harness::Student::pid).collect();
    check.wait_until("the sleepers sleep", || pids.iter().all(|&pid| asleep_on(pid, &word)))?;
    let mut student = check.respondent("`futex_wake`", |count: u32| futex_wake(&word, count))?;
    let mut asleep = SLEEPERS as u32;
    for count in [1, 2, u32::MAX, 1] {
        let told = student.ask(count)?;
        // The kernel has made them ready to run before the call returned.
        let now = pids.iter().filter(|&&pid| asleep_on(pid, &word)).count() as u32;
        let (woken, wanted) = (asleep - now, asleep.min(count));
        ensure!(
            woken == wanted,
            expected: "`futex_wake(word, {count})` with {asleep} sleepers wakes {wanted} of them",
            observed: "it woke {woken}",
            look: if woken == 0 {
                "`futex_wake`: with `FUTEX_PRIVATE_FLAG` the kernel looks for sleepers of the same process only"
            } else {
                "`futex_wake`: the kernel takes the count as a signed int"
            },
        );
        ensure!(
            told == woken,
            expected: "`futex_wake(word, {count})` that has woken {woken} returns {woken}",
            observed: "it returned {told}",
            look: "`futex_wake`: the system call returns the number",
        );
        asleep = now;
    }
    for sleeper in sleepers {
        sleeper.join()?;
    }
    Ok(())
}
