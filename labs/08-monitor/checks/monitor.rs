//! Part 2: the monitor. Its `wait`, `signal` and `broadcast` may use the condition variable of part 1.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use harness::{Check, Exploration, JoinHandle, Model, Outcome, Shared, Stop, ensure};
use monitor::Monitor;

use crate::actors::Actors;

/// Never two procedures at work, and each sees what the one before wrote.
pub fn one_procedure_is_active(check: &mut Check) -> Outcome {
    check.explore("two threads run two procedures each", Exploration::default(), |model: &Model| {
        let monitor = model.share(Monitor::<u64, 1>::new(0));
        let add = move || {
            for _ in 0..2 {
                monitor.enter(|inside| **inside += 1);
            }
        };
        let threads = [model.spawn("thread A", add), model.spawn("thread B", add)];
        threads.into_iter().for_each(JoinHandle::join);
        let sum = monitor.enter(|inside| **inside);
        assert_eq!(sum, 4, "four procedures have added 1 each");
    })
}

/// The two conditions of the conversation below.
const ASKED: usize = 0;
const ANSWERED: usize = 1;

/// Question and answer; and whether somebody is in the middle of a procedure.
struct Conversation {
    asked: bool,
    answered: bool,
    busy: bool,
}

/// Who waits is outside, and inside again when it goes on; who signals stays inside.
pub fn waiting_lets_others_in(check: &mut Check) -> Outcome {
    check.explore("one asks, one answers", Exploration::default(), |model: &Model| {
        let talk = Conversation { asked: false, answered: false, busy: false };
        let monitor = model.share(Monitor::<Conversation, 2>::new(talk));
        let other = model.spawn("answers", move || {
            monitor.enter(|talk| {
                while !talk.asked {
                    talk.wait(ASKED);
                }
                assert!(!talk.busy, "a waiter went on while the signaller was still inside: `signal` is not the end of a procedure");
                talk.answered = true;
                talk.busy = true;
                talk.signal(ANSWERED);
                talk.busy = false;
            });
        });
        monitor.enter(|talk| {
            talk.asked = true;
            talk.busy = true;
            talk.signal(ASKED);
            talk.busy = false;
            while !talk.answered {
                talk.wait(ANSWERED);
            }
            assert!(!talk.busy, "a waiter went on while the signaller was still inside: `signal` is not the end of a procedure");
        });
        other.join();
    })
}

fn monitor(check: &Check) -> Result<Shared<Monitor<u64, 2>>, Stop> {
    check.shared("Monitor", || Monitor::<u64, 2>::new(0))
}

/// A signal of one condition is nothing to those who wait for another one.
pub fn conditions_are_told_apart(check: &mut Check) -> Outcome {
    let monitor = monitor(check)?;
    let mut actors = Actors::new(check);
    for condition in [0, 0, 1, 1] {
        actors.comes("`Inside::wait`", |flags| {
            monitor.enter(|inside| inside.wait(condition));
            flags.through();
        })?;
    }
    let steps: [(&str, [usize; 2]); 3] = [
        ("a signal of condition 1", [0, 1]),
        ("a signal of condition 1, and a broadcast of condition 0", [2, 1]),
        ("these, and one more signal of condition 1", [2, 2]),
    ];
    for (index, (what, wanted)) in steps.into_iter().enumerate() {
        check.ask("`Inside::signal` and `broadcast`", || {
            monitor.enter(|inside| if index == 1 { inside.broadcast(0) } else { inside.signal(1) });
        })?;
        actors.settle("`Inside::signal` and `broadcast`")?;
        let count = |of: [usize; 2]| of.into_iter().filter(|&index| actors.is_through(index)).count();
        let gone_on = [count([0, 1]), count([2, 3])];
        ensure!(
            gone_on == wanted,
            expected: format!("two processes wait for condition 0 and two for condition 1; {what}: {} and {} of them have gone on", wanted[0], wanted[1]),
            observed: format!("{} and {} have gone on", gone_on[0], gone_on[1]),
            look: "`Inside::wait`, `signal` and `broadcast`: each condition has a condition variable of its own",
        );
    }
    actors.all_leave()
}

/// A panic is a way out like any other.
pub fn a_panic_leaves_the_monitor(check: &mut Check) -> Outcome {
    let monitor = monitor(check)?;
    check.ask("a panic in a procedure", || {
        // `resume_unwind` panics without a message: the panic is ours, not the submission's.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            monitor.enter(|inside| {
                **inside = 5;
                resume_unwind(Box::new(()));
            });
        }));
    })?;
    let mut actors = Actors::new(check);
    let next = actors.comes("`Monitor::enter`", |flags| {
        if monitor.enter(|inside| **inside) == 5 {
            flags.through();
        }
    })?;
    ensure!(
        actors.is_through(next),
        expected: "after a panic in a procedure the next process enters, and finds what was written before",
        observed: "it went to sleep, and nobody is there to wake it",
        look: "`Monitor::enter`: leave on every way out, for example in a `Drop`",
    );
    actors.all_leave()
}
