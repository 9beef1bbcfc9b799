//! Part 1: the condition variable.

use std::time::{Duration, Instant};

use harness::{Check, Exploration, JoinHandle, Model, Outcome, Shared, Stop, ensure, note};
use monitor::{Condvar, Mutex};

use crate::actors::{Actors, Flags, Plain, sleeps_for_ever};

/// A condition variable and its mutex.
struct Pair {
    mutex: Mutex,
    condvar: Condvar,
}

impl Pair {
    fn new() -> Pair {
        Pair { mutex: Mutex::new(), condvar: Condvar::new() }
    }
}

fn pair(check: &Check) -> Result<Shared<Pair>, Stop> {
    check.shared("Condvar and Mutex", Pair::new)
}

/// How a change is announced.
#[derive(Clone, Copy)]
enum Announce {
    Inside,
    Outside,
    Broadcast,
}

/// Nobody sleeps for ever beside a condition that has come true.
pub fn no_wake_up_is_lost(check: &mut Check) -> Outcome {
    for (how, what) in [
        (Announce::Inside, "one waits, one signals with the mutex held"),
        (Announce::Outside, "one waits, one signals after giving the mutex back"),
        (Announce::Broadcast, "one waits, one broadcasts"),
    ] {
        check.explore(what, Exploration::default(), move |model: &Model| {
            let pair = model.share(Pair::new());
            let ready = model.share(Plain::new(0));
            let waiter = model.spawn("waiter", move || {
                pair.mutex.lock();
                while ready.get() == 0 {
                    pair.condvar.wait(&pair.mutex);
                }
                ready.set(2);
                pair.mutex.unlock();
            });
            pair.mutex.lock();
            ready.set(1);
            match how {
                Announce::Inside => pair.condvar.signal(),
                Announce::Broadcast => pair.condvar.broadcast(),
                Announce::Outside => {}
            }
            pair.mutex.unlock();
            if let Announce::Outside = how {
                pair.condvar.signal();
            }
            waiter.join();
        })?;
    }
    Ok(())
}

/// All go on, and each of them holds the mutex.
pub fn broadcast_reaches_everybody(check: &mut Check) -> Outcome {
    let exploration = Exploration { bound: 2, ..Exploration::default() };
    check.explore("two wait, one broadcasts", exploration, |model: &Model| {
        let pair = model.share(Pair::new());
        let ready = model.share(Plain::new(0));
        let gone_on = model.share(Plain::new(0));
        let wait = move || {
            pair.mutex.lock();
            while ready.get() == 0 {
                pair.condvar.wait(&pair.mutex);
            }
            gone_on.set(gone_on.get() + 1);
            pair.mutex.unlock();
        };
        let waiters = [model.spawn("waiter A", wait), model.spawn("waiter B", wait)];
        pair.mutex.lock();
        ready.set(1);
        pair.condvar.broadcast();
        pair.mutex.unlock();
        waiters.into_iter().for_each(JoinHandle::join);
        assert_eq!(gone_on.get(), 2, "two waiters went on, each with the mutex held");
    })
}

/// Waits once for a signal; then it is through.
fn waits_once(pair: &Shared<Pair>) -> impl Fn(&Flags) {
    |flags| {
        pair.mutex.lock();
        pair.condvar.wait(&pair.mutex);
        pair.mutex.unlock();
        flags.through();
    }
}

/// One signal, one waiter; a broadcast, all the others.
pub fn signal_lets_one_go_on(check: &mut Check) -> Outcome {
    const WAITERS: usize = 4;
    let pair = pair(check)?;
    let mut actors = Actors::new(check);
    for _ in 0..WAITERS {
        actors.comes("`Condvar::wait`", waits_once(&pair))?;
    }
    for signals in 0..=2 {
        if signals > 0 {
            check.ask("`Condvar::signal`", || pair.condvar.signal())?;
            actors.settle("`Condvar::signal`")?;
        }
        let gone_on = actors.through();
        ensure!(
            gone_on == signals,
            expected: "{WAITERS} processes sleep, and each signal lets one of them go on: {signals} so far",
            observed: "{gone_on} have gone on",
            look: "`Condvar::signal` and `wait`",
        );
    }
    check.ask("`Condvar::broadcast`", || pair.condvar.broadcast())?;
    actors.settle("`Condvar::broadcast`")?;
    let gone_on = actors.through();
    ensure!(
        gone_on == WAITERS,
        expected: "after a broadcast all {WAITERS} processes have gone on",
        observed: "{gone_on} have gone on",
        look: "`Condvar::broadcast`",
    );
    actors.all_leave()
}

/// Signals to nobody are lost.
pub fn a_signal_is_not_remembered(check: &mut Check) -> Outcome {
    let pair = pair(check)?;
    check.ask("`Condvar::signal` with nobody waiting", || {
        for _ in 0..3 {
            pair.condvar.signal();
        }
        pair.condvar.broadcast();
    })?;
    let mut actors = Actors::new(check);
    // The second one comes when signals have been used as well.
    for turn in ["3 signals and a broadcast", "one more signal, which went to somebody else,"] {
        let waiter = actors.comes("`Condvar::wait`", waits_once(&pair))?;
        ensure!(
            !actors.is_through(waiter),
            expected: "{turn} came before a process begins to wait: it waits for the next one",
            observed: "`wait` returned without a signal",
            look: "`Condvar::signal`: with nobody waiting it leaves nothing behind",
        );
        check.ask("`Condvar::signal`", || pair.condvar.signal())?;
        actors.settle("`Condvar::signal`")?;
        ensure!(
            actors.is_through(waiter),
            expected: "the next signal lets the waiter go on",
            observed: "it sleeps on",
            look: "`Condvar::signal` and `wait`",
        );
    }
    actors.all_leave()
}

/// Not before the deadline, with the mutex in any case, and true when there was a signal.
pub fn waiting_ends_at_the_deadline(check: &mut Check) -> Outcome {
    const TIME: Duration = Duration::from_millis(30);
    let pair = pair(check)?;
    for (time, rule) in [
        (TIME, "nobody signals until the deadline"),
        (Duration::ZERO, "the deadline is over from the beginning"),
    ] {
        let call = format!("`Condvar::wait_until` when {rule}");
        let mut waiter = check.spawn(&call, || {
            pair.mutex.lock();
            let deadline = Instant::now() + time;
            let signalled = pair.condvar.wait_until(&pair.mutex, deadline);
            let early = deadline.saturating_duration_since(Instant::now());
            // The mutex stays held.
            (signalled, early.as_micros() as u64)
        })?;
        let pid = waiter.pid();
        let mut asleep = false;
        check.wait_until(&format!("{call} has returned"), || {
            asleep = sleeps_for_ever(pid);
            asleep || waiter.ended()
        })?;
        ensure!(
            !asleep,
            expected: "{rule}: `wait_until` sleeps at most until then",
            observed: "it sleeps in the futex call without a time limit, and nobody is going to wake it",
            look: "`Condvar::wait_until`: the timeout that the futex call gets, also when no time is left",
        );
        let (signalled, early) = waiter.join()?;
        ensure!(
            !signalled,
            expected: "{rule}: `wait_until` returns false",
            observed: "it returned true",
            look: "`Condvar::wait_until`",
        );
        ensure!(
            early == 0,
            expected: "{rule}: `wait_until` waits until then",
            observed: "it returned {early} µs before",
            look: "`Condvar::wait_until`: how long may it sleep?",
        );
        let mut actors = Actors::new(check);
        let next = actors.comes("`Mutex::lock` after `wait_until`", |flags| {
            pair.mutex.lock();
            pair.mutex.unlock();
            flags.through();
        })?;
        ensure!(
            !actors.is_through(next),
            expected: "when `wait_until` returns false, the caller holds the mutex again",
            observed: "the mutex was free: another process could take it",
            look: "`Condvar::wait_until`: take the mutex on every way out",
        );
        check.ask("`Mutex::unlock`", || pair.mutex.unlock())?;
        actors.all_leave()?;
    }
    let mut actors = Actors::new(check);
    let waiter = actors.comes("`Condvar::wait_until`", |flags| {
        pair.mutex.lock();
        if pair.condvar.wait_until(&pair.mutex, Instant::now() + Duration::from_secs(3600)) {
            flags.through();
        }
        pair.mutex.unlock();
    })?;
    check.ask("`Condvar::signal`", || pair.condvar.signal())?;
    actors.settle("`Condvar::signal`")?;
    ensure!(
        actors.is_through(waiter),
        expected: "a signal an hour before the deadline: `wait_until` returns true",
        observed: "it sleeps on, or returned false",
        look: "`Condvar::wait_until`",
    );
    actors.all_leave()
}

/// One signal, and of two waiters one whose time is over: somebody gets the signal.
pub fn a_deadline_swallows_no_signal(check: &mut Check) -> Outcome {
    // In the model each look at the clock takes a microsecond, so these end about when the signal comes, and after it.
    for micros in [2, 1000] {
        let what = format!("one waits without a deadline, one for {micros} µs, and there is one signal");
        let exploration = Exploration { bound: 2, ..Exploration::default() };
        check.explore(&what, exploration, move |model: &Model| {
            let pair = model.share(Pair::new());
            let items = model.share(Plain::new(0));
            let patient = model.spawn("patient", move || {
                pair.mutex.lock();
                while items.get() == 0 {
                    pair.condvar.wait(&pair.mutex);
                }
                items.set(items.get() - 1);
                pair.mutex.unlock();
            });
            let hurried = model.spawn("hurried", move || {
                pair.mutex.lock();
                let deadline = Instant::now() + Duration::from_micros(micros);
                let mut waits = true;
                while waits && items.get() == 0 {
                    waits = pair.condvar.wait_until(&pair.mutex, deadline);
                }
                // Who is told that there was no signal takes nothing.
                if waits {
                    items.set(items.get() - 1);
                } else {
                    note("gives up: `wait_until` returned false");
                }
                pair.mutex.unlock();
                waits
            });
            let put = || {
                pair.mutex.lock();
                items.set(items.get() + 1);
                pair.condvar.signal();
                pair.mutex.unlock();
            };
            put();
            if hurried.join() {
                put();
            }
            patient.join();
        })?;
    }
    Ok(())
}
