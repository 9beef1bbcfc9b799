//! Part 1: a race as it happens, and the counting semaphore.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use harness::{Check, JoinHandle, Model, Outcome, Shared, Stop, ensure, observe};
use semaphore::{Runs, Semaphore, order_that_ends_with};

use crate::programs::{self, within};
use crate::sleepers::{Sleeper, asleep, interrupt, interruptible, times_asleep, wake_for_nothing};

/// Orders that end with the wanted value, run here step by step.
pub fn an_order_loses_an_update(check: &mut Check) -> Outcome {
    let mut student = check.respondent("`order_that_ends_with`", |(start, end): (i32, i32)| {
        order_that_ends_with(start, end).map(|order| order.map(|runs| runs == Runs::Up).to_vec())
    })?;
    let mut starts = vec![0, i32::MAX, i32::MIN];
    starts.extend((0..5).map(|_| check.rng().below(1000) as i32 - 500));
    for start in starts {
        for distance in [0, 1, -1, 2, -2, 7] {
            let Some(end) = start.checked_add(distance) else { continue };
            let call = format!("`order_that_ends_with({start}, {end})`");
            let look = "`order_that_ends_with`: who has loaded the old value, and who stores last?";
            let Some(order) = student.ask((start, end))? else {
                ensure!(
                    distance.abs() > 1,
                    expected: "{call} finds an order of the six steps",
                    observed: "it returned None",
                    look: "{look}",
                );
                continue;
            };
            let names: Vec<&str> = order.iter().map(|&up| if up { "Up" } else { "Down" }).collect();
            let names = names.join(", ");
            ensure!(
                order.iter().filter(|&&up| up).count() == 3,
                expected: "{call} returns an order with three steps of each thread",
                observed: "it returned [{names}]",
                look: "{look}",
            );
            let result = run_in_order(start, &order);
            ensure!(
                result == end.into(),
                expected: "{call} returns an order after which `count` is {end}, or None if there is none",
                observed: "with [{names}] it is {result}",
                look: "{look}",
            );
        }
    }
    Ok(())
}

/// `count++` (true) and `count--`, three steps each: load, compute, store.
fn run_in_order(start: i32, order: &[bool]) -> i64 {
    let mut count = i64::from(start);
    let (mut registers, mut steps) = ([0_i64; 2], [0; 2]);
    for &up in order {
        let thread = usize::from(up);
        match steps[thread] {
            0 => registers[thread] = count,
            1 => registers[thread] += if up { 1 } else { -1 },
            _ => count = registers[thread],
        }
        steps[thread] += 1;
    }
    count
}

/// A sequence of calls by one process, against a number.
pub fn counts_down_to_zero_and_no_further(check: &mut Check) -> Outcome {
    let mut semaphore = None;
    let mut student = check.respondent("`Semaphore`", move |(call, count): (u8, u32)| {
        let semaphore = semaphore.get_or_insert_with(|| Semaphore::new(count));
        match call {
            0 => *semaphore = Semaphore::new(count),
            1 => semaphore.wait(),
            2 => semaphore.post(),
            3 => return semaphore.try_wait(),
            _ => return semaphore.wait_until(Instant::now()),
        }
        true
    })?;
    let mut count = 0;
    for step in 0..300 {
        let mut call = check.rng().below(5) as u8;
        if step % 60 == 0 {
            call = 0;
            count = check.rng().below(4) as u32;
        } else if call == 0 || call == 1 && count == 0 {
            call = 3;
        }
        let got = student.ask((call, count))?;
        let (name, wanted) = match call {
            2 => ("`post`", true),
            3 => ("`try_wait`", count > 0),
            4 => ("`wait_until` with a deadline that is over", count > 0),
            _ => ("`wait`", true),
        };
        ensure!(
            got == wanted,
            expected: "{name} returns {wanted} when the count is {count}",
            observed: "it returned {got}",
            look: "{name}",
        );
        match call {
            0 => {}
            2 => count += 1,
            _ => count = count.saturating_sub(1),
        }
    }
    check.note("300 calls");
    Ok(())
}

/// Binary and counting: never more inside than the semaphore was made with.
pub fn no_more_inside_than_the_count(check: &mut Check) -> Outcome {
    programs::exclusion::<Semaphore>(check)
}

/// Every post lets one in.
pub fn no_signal_is_lost(check: &mut Check) -> Outcome {
    programs::signals::<Semaphore>(check)
}

/// A signal that meets somebody who gives up must be there for another one.
pub fn giving_up_loses_no_signal(check: &mut Check) -> Outcome {
    // In the model each look at the clock takes a microsecond, so these end before, during and after the wait.
    for micros in [2, 1000] {
        let what = format!("one waits without a deadline, one for {micros} µs");
        check.explore(&what, within(15_000), move |model: &Model| {
            let semaphore = model.share(Semaphore::new(0));
            let patient = model.spawn("patient", move || semaphore.wait());
            let hurried = model.spawn("hurried", move || {
                let got = semaphore.wait_until(Instant::now() + Duration::from_micros(micros));
                if got {
                    // For the other one.
                    semaphore.post();
                }
            });
            semaphore.post();
            [patient, hurried].into_iter().for_each(JoinHandle::join);
            assert!(!semaphore.try_wait(), "one post has let two in");
        })?;
    }
    Ok(())
}

/// Asleep, and not a moment awake but for needless wake-ups.
pub fn whoever_waits_sleeps(check: &mut Check) -> Outcome {
    let semaphore = check.shared("`Semaphore::new`", || Semaphore::new(0))?;
    let passed = Shared::new(AtomicU32::new(0));
    let waiter = check.spawn("`Semaphore::wait`", || {
        interruptible();
        semaphore.wait();
        passed.store(1, Ordering::SeqCst);
    })?;
    let pid = waiter.pid();
    let sleeper = Sleeper { function: "`Semaphore::wait`", because: "the count is 0", passed: &passed };
    sleeper.falls_asleep(check, pid)?;
    let look = || (observe::cpu_time_of(pid).unwrap_or_default(), times_asleep(pid));
    let before = look();
    // Nothing is waited for here: this is how long it is watched.
    std::thread::sleep(Duration::from_millis(30));
    let after = look();
    ensure!(
        after.1 == before.1,
        expected: "whoever waits sleeps until it is woken",
        observed: format!("in 30 ms it woke up {} times by itself and used {} µs of processor time", after.1 - before.1, after.0.saturating_sub(before.0).as_micros()),
        look: "`Semaphore::wait`: `post` wakes it; there is nothing to look after",
    );
    for round in 0..10 {
        let how = if round % 2 == 0 { "woken for no reason" } else { "interrupted by a signal" };
        if round % 2 == 0 {
            wake_for_nothing(&semaphore);
        } else {
            interrupt(pid);
        }
        check.wait_until("the waiter sleeps again", || passed.load(Ordering::SeqCst) == 1 || asleep(pid))?;
        ensure!(
            passed.load(Ordering::SeqCst) == 0,
            expected: "a waiter that is {how} while the count is 0 goes on waiting",
            observed: "`wait` returned",
            look: "`Semaphore::wait`: a return from `futex_wait` says nothing about the count; look again, in a loop",
        );
    }
    check.ask("`Semaphore::post`", || semaphore.post())?;
    sleeper.goes_on(check, pid, "a `post` by another process")?;
    waiter.join()
}

/// No owner: the one who posts need not be the one who waited.
pub fn anyone_may_post(check: &mut Check) -> Outcome {
    let semaphore = check.shared("`Semaphore::new`", || Semaphore::new(1))?;
    let got = check.ask("`Semaphore::try_wait`", || semaphore.try_wait())?;
    ensure!(got, expected: "the first one takes the 1", observed: "`try_wait` returned false", look: "`Semaphore::try_wait`");
    check.ask("`Semaphore::post` by a process that has not waited", || semaphore.post())?;
    let got = check.ask("a thread posts, another one waits", || {
        let first = semaphore.try_wait();
        std::thread::scope(|scope| {
            scope.spawn(|| semaphore.post());
        });
        let second = semaphore.try_wait();
        (first, second)
    })?;
    for (who, got) in [("process", got.0), ("thread", got.1)] {
        ensure!(
            got,
            expected: "a `post` by a {who} that has not waited before counts like any other",
            observed: "the count was still 0 afterwards",
            look: "`Semaphore::post`: a semaphore has no owner; that is what makes it fit for signals",
        );
    }
    Ok(())
}

/// Not before the deadline, even if it is woken before.
pub fn gives_up_at_the_deadline(check: &mut Check) -> Outcome {
    const TIME: Duration = Duration::from_millis(30);
    let semaphore = check.shared("`Semaphore::new`", || Semaphore::new(0))?;
    let mut woken = 0;
    for round in 0..10 {
        let disturbed = round > 0;
        if woken > 0 {
            return Ok(());
        }
        let mut student = check.spawn("`Semaphore::wait_until`", || {
            let deadline = Instant::now() + TIME;
            let got = semaphore.wait_until(deadline);
            let now = Instant::now();
            (got, now >= deadline, deadline.saturating_duration_since(now).as_micros() as u64)
        })?;
        let pid = student.pid();
        check.wait_until("`wait_until` gives up", || {
            if disturbed && woken < 3 && asleep(pid) {
                woken += wake_for_nothing(&semaphore);
            }
            student.ended()
        })?;
        let (got, late, early) = student.join()?;
        ensure!(
            !got,
            expected: "`wait_until` returns false when nobody posts before the deadline",
            observed: "it returned true",
            look: "`Semaphore::wait_until`: a wake-up says nothing about the count",
        );
        let how = if disturbed { ", also if it is woken for no reason before" } else { "" };
        ensure!(
            late,
            expected: "`wait_until` waits until the deadline{how}",
            observed: "it gave up {early} µs before",
            look: "`Semaphore::wait_until`: give up only when the clock says so",
        );
    }
    Err(Stop::inconclusive("this machine is too busy to wake a process within 30 ms"))
}
