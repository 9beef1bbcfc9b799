//! Part 5: Hoare's signals.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use harness::{Check, Exploration, JoinHandle, Model, Outcome, Shared, ensure, note};
use monitor::HoareMonitor;

use crate::actors::{Actors, Flag, wake_for_nothing};

/// What the programs below keep in the monitor.
#[derive(Default)]
struct State {
    /// What is signalled.
    ready: bool,
    /// Somebody waits for it.
    waiting: bool,
    /// Who waited has gone on.
    gone_on: bool,
    /// The signaller has not come back yet.
    signalling: bool,
}

const READY: usize = 0;
const AGAIN: usize = 1;

fn exploration() -> Exploration {
    Exploration { executions: 50_000, ..Exploration::default() }
}

/// Nobody between the signal and the signalled, who therefore needs no loop.
pub fn the_signalled_goes_first(check: &mut Check) -> Outcome {
    check.explore("one waits with `if`, one signals, one comes between", exploration(), |model: &Model| {
        let monitor = model.share(HoareMonitor::<State, 1>::new(State::default()));
        let waiter = model.spawn("waiter", move || {
            monitor.enter(|state| {
                if !state.ready {
                    state.waiting = true;
                    state.wait(READY);
                    state.waiting = false;
                }
                assert!(state.ready, "`wait` returned, and what was signalled is not true any more: somebody else was inside first");
                state.gone_on = true;
            });
        });
        let between = model.spawn("newcomer", move || {
            monitor.enter(|state| {
                if state.waiting {
                    state.ready = false;
                }
            });
        });
        monitor.enter(|state| {
            state.ready = true;
            state.signal(READY);
        });
        waiter.join();
        between.join();
    })
}

/// The signaller waits in the urgent queue, and comes before all who are outside.
pub fn the_signaller_goes_before_newcomers(check: &mut Check) -> Outcome {
    check.explore("one waits, one signals, one wants to enter", exploration(), |model: &Model| {
        let monitor = model.share(HoareMonitor::<State, 1>::new(State::default()));
        let waiter = model.spawn("waiter", move || {
            monitor.enter(|state| {
                if !state.ready {
                    state.waiting = true;
                    state.wait(READY);
                }
                state.gone_on = true;
            });
        });
        let outside = model.spawn("newcomer", move || {
            monitor.enter(|state| {
                assert!(!state.signalling, "a newcomer is inside while a signaller waits to go on");
            });
        });
        monitor.enter(|state| {
            state.ready = true;
            if state.waiting {
                state.signalling = true;
                state.signal(READY);
                state.signalling = false;
                assert!(state.gone_on, "`signal` returned before the signalled one has been inside");
            }
        });
        waiter.join();
        outside.join();
    })?;
    check.explore(
        "a waiter that waits again gives the monitor to the signaller",
        exploration(),
        |model: &Model| {
            let monitor = model.share(HoareMonitor::<State, 2>::new(State::default()));
            let waiter = model.spawn("waiter", move || {
                monitor.enter(|state| {
                    if !state.ready {
                        state.waiting = true;
                        state.wait(READY);
                        state.gone_on = true;
                        state.wait(AGAIN);
                    }
                });
            });
            monitor.enter(|state| {
                state.ready = true;
                if state.waiting {
                    state.signal(READY);
                    assert!(state.gone_on, "`signal` returned before the signalled one has been inside");
                    state.signal(AGAIN);
                }
            });
            waiter.join();
        },
    )
}

/// The monitor of the notes, for one slot.
#[derive(Default)]
struct Slot {
    item: u64,
    count: usize,
}

const SLOTAVAIL: usize = 0;
const ITEMAVAIL: usize = 1;

type Notes = HoareMonitor<Slot, 2>;

/// `PutItem` of the notes, with `if`; the signal is the last thing it does.
fn put_item(monitor: &Notes, item: u64) {
    note(&format!("puts item {item}"));
    monitor.enter_and_signal(|slot| {
        if slot.count == 1 {
            slot.wait(SLOTAVAIL);
        }
        assert_eq!(
            slot.count, 0,
            "`wait(slotavail)` returned, and there is no slot: somebody else was inside first"
        );
        slot.item = item;
        slot.count = 1;
        ((), Some(ITEMAVAIL))
    });
}

/// `GetItem` of the notes, with `if`; the signal is the last thing inside, by `last` or by `signal`.
fn get_item(monitor: &Notes, last: bool) -> u64 {
    monitor.enter_and_signal(|slot| {
        if slot.count == 0 {
            slot.wait(ITEMAVAIL);
        }
        assert_eq!(
            slot.count, 1,
            "`wait(itemavail)` returned, and there is no item: somebody else was inside first"
        );
        slot.count = 0;
        let item = slot.item;
        if !last {
            slot.signal(SLOTAVAIL);
        }
        (item, last.then_some(SLOTAVAIL))
    })
}

/// `if` instead of `while`, and yet right.
pub fn the_program_of_the_notes_is_right(check: &mut Check) -> Outcome {
    for last in [true, false] {
        let how = if last { "`enter_and_signal`" } else { "`signal`" };
        let what = format!("`PutItem` and `GetItem` of the notes with {how}, two consumers");
        let exploration = Exploration { bound: 2, executions: 50_000, ..Exploration::default() };
        check.explore(&what, exploration, move |model: &Model| {
            let monitor = model.share(Notes::new(Slot::default()));
            let consumers =
                ["consumer A", "consumer B"].map(|name| model.spawn(name, move || get_item(monitor, last)));
            put_item(monitor, 1);
            put_item(monitor, 2);
            let [a, b] = consumers.map(JoinHandle::join);
            assert!([a, b] == [1, 2] || [a, b] == [2, 1], "items 1 and 2 were put, {a} and {b} were taken");
        })?;
    }
    Ok(())
}

/// Who signals last is gone.
pub fn a_last_signal_does_not_wait(check: &mut Check) -> Outcome {
    check.explore("one is let in by `enter_and_signal`, and stays inside", exploration(), |model: &Model| {
        let monitor = model.share(HoareMonitor::<State, 1>::new(State::default()));
        let returned = model.share(Flag::new());
        let waiter = model.spawn("waiter", move || {
            monitor.enter(|state| {
                if !state.ready {
                    state.wait(READY);
                }
                assert!(state.ready, "`wait` returned, and what was signalled is not true any more: somebody else was inside first");
                // Inside until the signaller has returned.
                returned.wait();
            });
        });
        monitor.enter_and_signal(|state| {
            state.ready = true;
            ((), Some(READY))
        });
        returned.set();
        waiter.join();
    })
}

/// Asleep until a signal comes after the wait has begun, whatever happens before and meanwhile.
pub fn waits_for_a_signal_and_nothing_else(check: &mut Check) -> Outcome {
    let monitor = check.shared("HoareMonitor", || HoareMonitor::<u64, 2>::new(0))?;
    check.ask("`signal` with nobody waiting", || {
        monitor.enter(|inside| {
            inside.signal(0);
            inside.signal(0);
        });
        monitor.enter_and_signal(|_| ((), Some(0)));
    })?;
    let mut actors = Actors::new(check);
    for round in 0..2 {
        let waiter = actors.comes("`HoareInside::wait`", |flags| {
            monitor.enter(|inside| {
                inside.wait(0);
                **inside += 1;
            });
            flags.through();
        })?;
        let before = if round == 0 { "signals to nobody" } else { "a signal to somebody else" };
        ensure!(
            !actors.is_through(waiter),
            expected: "{before} came before a process begins to wait: it waits for the next one",
            observed: "`wait` returned without a signal",
            look: "`HoareInside::signal` and `enter_and_signal`: with nobody waiting they leave nothing behind",
        );
        for what in [
            "a wake-up call for no reason",
            "a signal of another condition, and a wake-up call for no reason",
        ] {
            if what.starts_with("a signal") {
                check.ask("`HoareInside::signal` with nobody waiting", || {
                    monitor.enter(|inside| inside.signal(1))
                })?;
            }
            wake_for_nothing(&monitor);
            actors.settle("`HoareInside::wait`")?;
            ensure!(
                !actors.is_through(waiter),
                expected: "{what}: `wait` goes on waiting",
                observed: "it returned",
                look: "`HoareInside::wait`: a return from `futex_wait` says nothing; has somebody handed the monitor over?",
            );
        }
        let seen = Shared::new(AtomicU64::new(0));
        let signaller = actors.comes("`HoareInside::signal`", |flags| {
            monitor.enter(|inside| {
                inside.signal(0);
                seen.store(**inside, Ordering::SeqCst);
            });
            flags.through();
        })?;
        ensure!(
            actors.is_through(waiter),
            expected: "a signal lets the waiter go on",
            observed: "it sleeps on",
            look: "`HoareInside::signal` and `wait`",
        );
        ensure!(
            actors.is_through(signaller),
            expected: "the signaller goes on when the one it let in has left",
            observed: "the signaller sleeps in the urgent queue, and nobody is there to wake it",
            look: "`HoareMonitor::enter`: who is next when a procedure ends?",
        );
        let seen = seen.load(Ordering::SeqCst);
        ensure!(
            seen == round + 1,
            expected: format!("the signaller sees what the one it let in has done: {}", round + 1),
            observed: "it saw {seen}",
            look: "`HoareInside::signal`: when does it return?",
        );
    }
    actors.all_leave()
}

/// A panic is a way out like any other: the urgent queue goes first.
pub fn a_panic_hands_the_monitor_on(check: &mut Check) -> Outcome {
    let monitor = check.shared("HoareMonitor", || HoareMonitor::<u64, 1>::new(0))?;
    let mut actors = Actors::new(check);
    actors.comes("`HoareInside::wait`", |_| {
        // `resume_unwind` panics without a message: the panic is ours, not the submission's.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            monitor.enter(|inside| {
                inside.wait(0);
                resume_unwind(Box::new(()));
            });
        }));
    })?;
    let signaller = actors.comes("`HoareInside::signal`", |flags| {
        monitor.enter(|inside| inside.signal(0));
        flags.through();
    })?;
    ensure!(
        actors.is_through(signaller),
        expected: "a process that panics after it was let in by a signal hands the monitor back to the signaller",
        observed: "the signaller sleeps in the urgent queue, and nobody is there to wake it",
        look: "`HoareMonitor::enter`: leave on every way out, for example in a `Drop`",
    );
    let next = actors.comes("`HoareMonitor::enter`", |flags| {
        monitor.enter(|inside| **inside += 1);
        flags.through();
    })?;
    ensure!(
        actors.is_through(next),
        expected: "after all have left the next process enters",
        observed: "it went to sleep, and nobody is there to wake it",
        look: "`HoareMonitor::enter`: leave on every way out, for example in a `Drop`",
    );
    actors.all_leave()
}
