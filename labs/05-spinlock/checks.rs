//! The checks of the spinlock lab.

use std::cell::{RefCell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use harness::step::{self, Limit, Reached, Stepper, Watch, mark};
use harness::{Check, Exploration, JoinHandle, Model, Options, Outcome, Rng, Shared, Stop, Stress, ensure};
use spinlock::{
    Guard, RawLock, SpinLock, TicketLock, TtasLock, atomic_swap, compare_and_swap, fetch_and_add, with_lock,
};

harness::checks! {
    "swap-returns-the-old-value" => swap_returns_the_old_value,
    "compare-and-swap-compares" => compare_and_swap_compares,
    "fetch-and-add-adds" => fetch_and_add_adds,
    "atomics-touch-only-their-word" => atomics_touch_only_their_word,
    "each-is-one-locked-instruction" => each_is_one_locked_instruction,
    "at-most-one-holder" => at_most_one_holder,
    "takes-the-lock-atomically" => takes_the_lock_atomically,
    "try-lock-never-waits" => try_lock_never_waits,
    "holds-under-stress" => holds_under_stress,
    "ttas-at-most-one-holder" => ttas_at_most_one_holder,
    "waiters-only-read" => waiters_only_read,
    "ttas-takes-the-lock-atomically" => ttas_takes_the_lock_atomically,
    "ttas-try-lock-never-waits" => ttas_try_lock_never_waits,
    "ticket-at-most-one-holder" => ticket_at_most_one_holder,
    "first-come-first-served" => first_come_first_served,
    "ticket-is-drawn-atomically" => ticket_is_drawn_atomically,
    "tickets-wrap-around" => tickets_wrap_around,
    "guard-gives-back-once" => guard_gives_back_once,
    "guard-gives-back-after-a-panic" => guard_gives_back_after_a_panic,
    "refused-guard-leaves-the-lock-alone" => refused_guard_leaves_the_lock_alone,
    "with-lock-returns-the-result" => with_lock_returns_the_result,
}

// ---------------------------------------------------------------- Part 1

/// Operands that matter: the borders, and random ones.
fn operand(rng: &mut Rng) -> u32 {
    match rng.below(8) {
        0 => 0,
        1 => 1,
        2 => u32::MAX,
        3 => 1 << 31,
        _ => rng.next_u64() as u32,
    }
}

/// `atomic_swap` stores the new value and returns the old one.
fn swap_returns_the_old_value(check: &mut Check) -> Outcome {
    let mut student = check.respondent("`atomic_swap`", |(mut word, new): (u32, u32)| {
        // SAFETY: a live, aligned local.
        let old = unsafe { atomic_swap(&raw mut word, new) };
        (old, word)
    })?;
    for _ in 0..300 {
        let (word, new) = (operand(check.rng()), operand(check.rng()));
        let (old, after) = student.ask((word, new))?;
        ensure!(
            old == word && after == new,
            expected: "`atomic_swap` on a word that is {word:#x} with new value {new:#x} returns {word:#x} and leaves {new:#x}",
            observed: "it returned {old:#x} and left {after:#x}",
            look: "`atomic_swap`: the register goes in with the new value and comes out with the old one (`inout`)",
        );
    }
    check.note("300 pairs of operands");
    Ok(())
}

/// `compare_and_swap` swaps exactly when the word is as expected, and returns what was there in both cases.
fn compare_and_swap_compares(check: &mut Check) -> Outcome {
    let mut student =
        check.respondent("`compare_and_swap`", |(mut word, expected, new): (u32, u32, u32)| {
            // SAFETY: a live, aligned local.
            let old = unsafe { compare_and_swap(&raw mut word, expected, new) };
            (old, word)
        })?;
    for _ in 0..600 {
        let (word, new) = (operand(check.rng()), operand(check.rng()));
        let expected = if check.rng().chance(50) { word } else { operand(check.rng()) };
        let (old, after) = student.ask((word, expected, new))?;
        let wanted = if word == expected { new } else { word };
        ensure!(
            after == wanted,
            expected: "`compare_and_swap(address, {expected:#x}, {new:#x})` on a word that is {word:#x} leaves {wanted:#x}",
            observed: "it left {after:#x}",
            look: "`compare_and_swap`: `cmpxchg` compares with eax",
        );
        ensure!(
            old == word,
            expected: "`compare_and_swap(address, {expected:#x}, {new:#x})` returns what was there: {word:#x}",
            observed: "it returned {old:#x}",
            look: "`compare_and_swap`: `cmpxchg` leaves the old value in eax, so eax is an output as well",
        );
    }
    check.note("600 triples of operands, half of them matching");
    Ok(())
}

/// `fetch_and_add` adds with wrap-around and returns the value from before.
fn fetch_and_add_adds(check: &mut Check) -> Outcome {
    let mut student = check.respondent("`fetch_and_add`", |(mut word, amount): (u32, u32)| {
        // SAFETY: a live, aligned local.
        let old = unsafe { fetch_and_add(&raw mut word, amount) };
        (old, word)
    })?;
    for _ in 0..300 {
        let (word, amount) = (operand(check.rng()), operand(check.rng()));
        let (old, after) = student.ask((word, amount))?;
        let sum = word.wrapping_add(amount);
        ensure!(
            old == word && after == sum,
            expected: "`fetch_and_add` of {amount:#x} to a word that is {word:#x} returns {word:#x} and leaves {sum:#x}",
            observed: "it returned {old:#x} and left {after:#x}",
            look: "`fetch_and_add`: `xadd` leaves the old value in its register",
        );
    }
    check.note("300 pairs of operands");
    Ok(())
}

/// Each instruction changes its own four bytes and none beside them.
fn atomics_touch_only_their_word(check: &mut Check) -> Outcome {
    let mut student =
        check.respondent("the atomic instructions", |(operation, mut words): (u8, Vec<u32>)| {
            let middle = words[1];
            let address = &raw mut words[1];
            // SAFETY: the middle one of three live, aligned words.
            unsafe {
                match operation {
                    0 => atomic_swap(address, 0x0123_4567),
                    1 => compare_and_swap(address, middle, 0x0123_4567),
                    _ => fetch_and_add(address, 0x89ab_cdef),
                }
            };
            words
        })?;
    for round in 0..120 {
        let before: Vec<u32> = (0..3).map(|_| operand(check.rng())).collect();
        let operation = (round % 3) as u8;
        let name = ["`atomic_swap`", "`compare_and_swap`", "`fetch_and_add`"][usize::from(operation)];
        let after = student.ask((operation, before.clone()))?;
        ensure!(
            after.len() == 3 && after[0] == before[0] && after[2] == before[2],
            expected: "{name} on the middle one of the words {before:x?} leaves its neighbours alone",
            observed: "afterwards the words were {after:x?}",
            look: "{name}: the operand must be a 32-bit register (`{{value:e}}`), or eight bytes are written",
        );
    }
    check.note("120 calls between neighbours");
    Ok(())
}

/// Each of the three is one locked instruction: nothing can come in between.
fn each_is_one_locked_instruction(check: &mut Check) -> Outcome {
    type Call = (&'static str, fn(*mut u32, usize) -> u32);
    let calls: [Call; 3] = [
        ("`atomic_swap`", |word, index| {
            // SAFETY: the address of a live word in shared memory.
            unsafe { atomic_swap(word, 11 + index as u32) }
        }),
        ("`compare_and_swap`", |word, index| {
            // SAFETY: as above.
            unsafe { compare_and_swap(word, 7, 11 + index as u32) }
        }),
        ("`fetch_and_add`", |word, index| {
            // SAFETY: as above.
            unsafe { fetch_and_add(word, 11 + index as u32) }
        }),
    ];
    let mut interleavings = 0;
    for (name, call) in calls {
        let word = Shared::new(AtomicU32::new(7));
        let change = step::first_change(check, name, Watch::of(&word), || {
            call(word.as_ptr(), 0);
        })?;
        let Some(change) = change else {
            return Err(Stop::failed(
                format!("{name} changes the word at its address"),
                "the word in shared memory stayed as it was",
                name,
            ));
        };
        change.report(check, "changes-lock-word");
        word.store(7, Ordering::Relaxed);
        interleavings += step::races(
            check,
            &word,
            name,
            &|index| call(word.as_ptr(), index).into(),
            |race| {
                let after = word.load(Ordering::Relaxed);
                let [first, second] = race.results;
                // Whoever came first got the 7; the other one got what the first had left.
                let (swapped, added) = ([first, second, u64::from(after)], first != second);
                let fine = match name {
                    "`atomic_swap`" => swapped == [7, 11, 12] || swapped == [12, 7, 11],
                    "`compare_and_swap`" => swapped == [7, 11, 11] || swapped == [12, 7, 12],
                    _ => {
                        added && after == 30 && first.min(second) == 7 && matches!(first.max(second), 18 | 19)
                    }
                };
                ensure!(
                    fine,
                    expected: "two calls of {name} on one word act as if one came after the other",
                    observed: "the word was 7; call A (operand 11) was stopped in the middle, call B (operand 12) ran, A went on: A returned {first}, B returned {second}, and the word was {after}",
                    look: "{name}: read and write must be one instruction",
                );
                Ok(())
            },
        )?;
    }
    for function in ["atomic_swap", "compare_and_swap", "fetch_and_add"] {
        check.instruction(&format!("read-modify-write-is-locked:spinlock::{function}"), 0, &[]);
    }
    check.note(format!("{interleavings} interleavings of two calls"));
    Ok(())
}

// ---------------------------------------------------------------- Part 2

/// A lock, who is inside, and something that only its holder touches.
struct Room<L> {
    lock: L,
    inside: AtomicU32,
    visits: UnsafeCell<u32>,
}

// SAFETY: whether the lock keeps the visitors apart is what the checks are about.
unsafe impl<L: Sync> Sync for Room<L> {}

impl<L: RawLock> Room<L> {
    fn new(lock: L) -> Room<L> {
        Room { lock, inside: AtomicU32::new(0), visits: UnsafeCell::new(0) }
    }

    /// What a holder does.
    fn stay(&self) {
        let others = self.inside.fetch_add(1, Ordering::Relaxed);
        assert_eq!(others, 0, "2 threads hold the lock at the same time");
        self.inside.fetch_sub(1, Ordering::Relaxed);
    }

    /// Writes to memory that has no other protection than the lock.
    fn sign(&self) {
        // SAFETY: this thread holds the lock.
        unsafe { *self.visits.get() += 1 };
    }
}

/// Explores two threads that take the lock and give it back, twice each: that they are never inside together, and that
/// each sees what the one before it has written.
fn exclusive<L: RawLock + Sync + 'static>(check: &Check, new: fn() -> L) -> Outcome {
    let turns = |model: &Model, room: &'static Room<L>, visit: fn(&Room<L>)| {
        let threads = ["thread 1", "thread 2"].map(|name| {
            model.spawn(name, move || {
                for _ in 0..2 {
                    room.lock.lock();
                    visit(room);
                    room.lock.unlock();
                }
            })
        });
        threads.into_iter().for_each(JoinHandle::join);
    };
    check.explore("two threads lock and unlock twice", Exploration::default(), |model: &Model| {
        turns(model, model.share(Room::new(new())), Room::stay);
    })?;
    check.explore("two threads write under the lock", Exploration::default(), |model: &Model| {
        turns(model, model.share(Room::new(new())), Room::sign);
    })?;
    // Three threads have many more interleavings than two.
    let waiting = Exploration { bound: 2, ..Exploration::default() };
    check.explore("two threads wait for a lock that is held", waiting, |model: &Model| {
        let room = model.share(Room::new(new()));
        room.lock.lock();
        let threads = ["thread 1", "thread 2"].map(|name| {
            model.spawn(name, move || {
                room.lock.lock();
                room.stay();
                room.lock.unlock();
            })
        });
        // Both come to wait.
        std::thread::yield_now();
        room.lock.unlock();
        threads.into_iter().for_each(JoinHandle::join);
    })
}

/// The same for attempts that never wait; a refused one leaves the lock to its holder.
fn tries<L: RawLock + Sync + 'static>(check: &Check, new: fn() -> L) -> Outcome {
    check.explore("two threads try the lock twice", Exploration::default(), |model: &Model| {
        let room = model.share(Room::new(new()));
        let threads = ["thread 1", "thread 2"].map(|name| {
            model.spawn(name, move || {
                for _ in 0..2 {
                    if room.lock.try_lock() {
                        room.stay();
                        room.lock.unlock();
                    }
                }
            })
        });
        threads.into_iter().for_each(JoinHandle::join);
        assert!(room.lock.try_lock(), "`try_lock` says no although nobody holds the lock");
    })?;
    check.explore("two threads try a lock that is held", Exploration::default(), |model: &Model| {
        let room = model.share(Room::new(new()));
        assert!(room.lock.try_lock(), "`try_lock` says no to a lock that is free");
        let threads = ["thread 1", "thread 2"].map(|name| {
            model.spawn(name, move || {
                for _ in 0..2 {
                    assert!(!room.lock.try_lock(), "`try_lock` says yes although the lock is held");
                }
            })
        });
        threads.into_iter().for_each(JoinHandle::join);
        room.lock.unlock();
        assert!(room.lock.try_lock(), "`try_lock` says no although the lock was given back");
    })
}

/// Never two holders, wherever one is interrupted.
fn at_most_one_holder(check: &mut Check) -> Outcome {
    exclusive(check, SpinLock::new)
}

/// The lock word goes from free to taken by an atomic instruction.
fn takes_the_lock_atomically(check: &mut Check) -> Outcome {
    check.instruction("no-std-atomics:spinlock::SpinLock", 0, &[]);
    let lock = check.shared("`SpinLock::new`", SpinLock::new)?;
    changes_atomically(check, &lock, "`SpinLock::lock`", SpinLock::lock)?;
    let lock = check.shared("`SpinLock::new`", SpinLock::new)?;
    changes_atomically(check, &lock, "`SpinLock::try_lock`", |lock| {
        lock.try_lock();
    })
}

/// Hands the first instruction that changes the lock to the grader, which decodes it.
fn changes_atomically<L: Sync>(check: &Check, lock: &Shared<L>, name: &str, take: impl Fn(&L)) -> Outcome {
    let change = step::first_change(check, name, Watch::of(lock), || take(lock))?;
    let Some(change) = change else {
        return Err(Stop::failed(
            format!("{name} on a free lock changes the lock, so that others see it"),
            "the lock's bytes in shared memory stayed as they were",
            name,
        ));
    };
    change.report(check, "changes-lock-word");
    Ok(())
}

/// `try_lock` says yes or no at once, and a refusal changes nothing.
fn try_lock_never_waits(check: &mut Check) -> Outcome {
    tries(check, SpinLock::new)
}

/// Two processes on two processors count under the lock; no count is lost.
fn holds_under_stress(check: &mut Check) -> Outcome {
    let lock = check.shared("`SpinLock::new`", SpinLock::new)?;
    let inside = Shared::new(AtomicU32::new(0));
    let counts = Shared::new([AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0)]);
    let stress =
        Stress { workers: 2, budget: Duration::from_millis(100), what: "`SpinLock::lock` and `unlock`" };
    let violation = check.stress(stress, |worker| {
        let mut mine = 0;
        while worker.running() {
            for _ in 0..50 {
                lock.lock();
                if inside.fetch_add(1, Ordering::SeqCst) != 0 {
                    worker.violation("2 processes held the lock at the same time");
                }
                // Two steps on purpose: what the lock protects.
                counts[2].store(counts[2].load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                inside.fetch_sub(1, Ordering::SeqCst);
                lock.unlock();
                mine += 1;
            }
            worker.progress();
        }
        counts[worker.index()].store(mine, Ordering::Relaxed);
    })?;
    let expected = "at most one process holds the lock at any time";
    if let Some(violation) = violation {
        return Err(Stop::failed(expected, violation, "`SpinLock::lock` and `SpinLock::unlock`"));
    }
    let [first, second, together] = [0, 1, 2].map(|index: usize| counts[index].load(Ordering::Relaxed));
    ensure!(
        first + second == together,
        expected: "two processes that added {first} and {second} to one number under the lock leave their sum",
        observed: "the number was {together}",
        look: "`SpinLock::lock` and `SpinLock::unlock`",
    );
    check.note(format!("{together} turns of two processes"));
    Ok(())
}

// ---------------------------------------------------------------- Part 3

/// Never two holders of the test-and-test-and-set lock.
fn ttas_at_most_one_holder(check: &mut Check) -> Outcome {
    exclusive(check, TtasLock::new)
}

/// A waiter reads and pauses; it executes no locked instruction until the lock is free, and then gets in.
fn waiters_only_read(check: &mut Check) -> Outcome {
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
fn ttas_takes_the_lock_atomically(check: &mut Check) -> Outcome {
    check.instruction("no-std-atomics:spinlock::TtasLock", 0, &[]);
    let lock = check.shared("`TtasLock::new`", TtasLock::new)?;
    changes_atomically(check, &lock, "`TtasLock::lock`", TtasLock::lock)?;
    let lock = check.shared("`TtasLock::new`", TtasLock::new)?;
    changes_atomically(check, &lock, "`TtasLock::try_lock`", |lock| {
        lock.try_lock();
    })
}

/// `try_lock` says yes or no at once, and a refusal changes nothing.
fn ttas_try_lock_never_waits(check: &mut Check) -> Outcome {
    tries(check, TtasLock::new)
}

// ---------------------------------------------------------------- Part 4

/// Never two holders of the ticket lock.
fn ticket_at_most_one_holder(check: &mut Check) -> Outcome {
    exclusive(check, || Waiting(TicketLock::new()))
}

/// A ticket lock in the clothes of the others.
struct Waiting(TicketLock);

impl RawLock for Waiting {
    fn lock(&self) {
        self.0.lock();
    }

    fn try_lock(&self) -> bool {
        unreachable!("nobody tries a ticket lock")
    }

    fn unlock(&self) {
        self.0.unlock();
    }
}

/// Processes get in in the order in which they came, whoever is quickest when the lock is given back.
fn first_come_first_served(check: &mut Check) -> Outcome {
    const INSIDE: u64 = 2;
    const WAITERS: usize = 3;
    // Each comes first, second and third once; more would only be other names for the same.
    let mut orders: Vec<[usize; WAITERS]> = vec![[0, 1, 2], [1, 2, 0], [2, 0, 1]];
    check.rng().shuffle(&mut orders);
    let rounds = orders.len();
    let lock = check.shared("`TicketLock::new`", TicketLock::new)?;
    // At full speed and alone first.
    check.ask("`TicketLock::lock` and `unlock`", || {
        lock.lock();
        lock.unlock();
    })?;
    let start = |_| {
        Stepper::start(check, "`TicketLock::lock` and `unlock`", Watch::of(&lock), || {
            loop {
                mark(1, 0);
                lock.lock();
                mark(INSIDE, 0);
                lock.unlock();
                mark(3, 0);
            }
        })
    };
    let run = |process: &mut Stepper<'_>, what: &str| match process.run(0.3)? {
        Some(mark) => Ok(mark.label),
        None => Err(Stop::failed(format!("{what} returns"), "it was still running after 0.3 s", what)),
    };
    let mut holder = start(0)?;
    let mut waiters: Vec<Stepper<'_>> = (0..WAITERS).map(start).collect::<Result<_, _>>()?;
    for order in orders {
        while run(&mut holder, "`TicketLock::lock` of a free lock")? != INSIDE {}
        for waiter in order {
            while run(&mut waiters[waiter], "`TicketLock::unlock`")? != 1 {}
            let reached = waiters[waiter].step(Limit::until_it_waits(), |_| {})?;
            ensure!(
                !matches!(reached, Reached::Mark(_)),
                expected: "`lock` waits while another process holds the lock",
                observed: "it returned although the lock was held",
                look: "`TicketLock::lock`",
            );
        }
        run(&mut holder, "`TicketLock::unlock`")?;
        let mut served = Vec::new();
        let mut waiting = order.to_vec();
        while let Some(&next) = waiting.first() {
            // The latest to come moves first: only the order of the tickets can keep it out.
            let mut entered = None;
            for &waiter in waiting.iter().rev() {
                if matches!(waiters[waiter].step(Limit::until_it_waits(), |_| {})?, Reached::Mark(_)) {
                    entered = Some(waiter);
                    break;
                }
            }
            if entered.is_none() && waiters[next].run(0.3)?.is_some() {
                entered = Some(next);
            }
            let Some(entered) = entered else {
                return Err(Stop::failed(
                    "when the lock is given back, the process that has waited longest gets in",
                    format!("nobody got in; {} of {WAITERS} had been served", served.len()),
                    "`TicketLock::unlock`, and the comparison in `TicketLock::lock`",
                ));
            };
            served.push(entered);
            ensure!(
                entered == next,
                expected: "processes that came in the order {order:?} get the lock in that order",
                observed: "the order of entry began with {served:?}",
                look: "`TicketLock::lock`: wait until exactly your number is called",
            );
            waiting.remove(0);
            run(&mut waiters[entered], "`TicketLock::unlock`")?;
        }
    }
    check.note(format!("{rounds} orders of arrival of {WAITERS} waiters"));
    Ok(())
}

/// A ticket is drawn by one atomic instruction.
fn ticket_is_drawn_atomically(check: &mut Check) -> Outcome {
    check.instruction("no-std-atomics:spinlock::TicketLock", 0, &[]);
    let lock = check.shared("`TicketLock::new`", TicketLock::new)?;
    changes_atomically(check, &lock, "`TicketLock::lock`", TicketLock::lock)
}

/// The lock goes on working for ever, also when a counter passes its largest value.
fn tickets_wrap_around(check: &mut Check) -> Outcome {
    const TURNS: u32 = 70_000;
    let lock = check.shared("`TicketLock::new`", TicketLock::new)?;
    let turns = |count: u32| {
        for _ in 0..count {
            lock.lock();
            lock.unlock();
        }
    };
    let words = |lock: &Shared<TicketLock>| -> Vec<u32> {
        let bytes = Watch::of(lock).bytes();
        bytes.chunks_exact(4).map(|word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]])).collect()
    };
    // A lock that stops half-way is not waited for until the end of the check.
    let deadline = Some(check.scaled(Duration::from_millis(700)));
    check.options(Options { deadline, ..Options::default() });
    check.ask("70,000 turns of `TicketLock::lock` and `unlock`", || turns(TURNS))?;
    let after = words(&lock);
    let counters: Vec<usize> = (0..after.len()).filter(|&index| after[index] == TURNS).collect();
    // Where the two counters are plain words, as in the stub, their last lap can be had at once.
    if counters.len() == 2 {
        check.ask("`TicketLock::lock` and `unlock` when the next number is 2^32 - 2", || {
            for &counter in &counters {
                // SAFETY: an aligned word inside the shared lock, which nobody else uses now.
                unsafe { (lock.address() as *mut u32).add(counter).write_volatile(u32::MAX - 1) };
            }
            turns(4);
        })?;
        check.note("70,000 turns, and 4 across 2^32");
    } else {
        check.note("70,000 turns");
    }
    Ok(())
}

// ---------------------------------------------------------------- Part 5

/// A lock that writes down what is done to it.
struct Diary {
    free: bool,
    calls: RefCell<Vec<String>>,
}

impl Diary {
    fn new(free: bool) -> Diary {
        Diary { free, calls: RefCell::new(Vec::new()) }
    }

    fn note(&self, call: &str) {
        self.calls.borrow_mut().push(call.to_string());
    }

    fn read(&self) -> String {
        self.calls.borrow().join(", ")
    }
}

impl RawLock for Diary {
    fn lock(&self) {
        self.note("lock");
    }

    fn try_lock(&self) -> bool {
        self.note("try_lock");
        self.free
    }

    fn unlock(&self) {
        self.note("unlock");
    }
}

fn same(what: &str, expected: &str, observed: &str, look: &str) -> Outcome {
    ensure!(
        observed == expected,
        expected: "{what}: {expected}",
        observed: "{observed}",
        look: look.to_string(),
    );
    Ok(())
}

/// A guard locks when it is made and unlocks exactly once, when it is dropped or told to.
fn guard_gives_back_once(check: &mut Check) -> Outcome {
    let dropped = check.ask("a `Guard` that goes out of scope", || {
        let lock = Diary::new(true);
        {
            let _guard = Guard::new(&lock);
            lock.note("section");
        }
        lock.note("after");
        lock.read()
    })?;
    same(
        "calls around a guarded section",
        "lock, section, unlock, after",
        &dropped,
        "`Guard::new` and its `Drop`",
    )?;
    let early = check.ask("`Guard::unlock`", || {
        let lock = Diary::new(true);
        {
            let guard = Guard::new(&lock);
            lock.note("section");
            guard.unlock();
            lock.note("after");
        }
        lock.read()
    })?;
    same(
        "calls when `Guard::unlock` ends the section",
        "lock, section, unlock, after",
        &early,
        "`Guard::unlock`: `drop` runs there too",
    )
}

/// The lock is given back when the section panics.
fn guard_gives_back_after_a_panic(check: &mut Check) -> Outcome {
    // `resume_unwind` panics without a message: the panic is ours, not the submission's.
    let guarded = check.ask("a `Guard` in a section that panics", || {
        let lock = Diary::new(true);
        let result = catch_unwind(AssertUnwindSafe(|| {
            let _guard = Guard::new(&lock);
            resume_unwind(Box::new(7u32));
        }));
        (lock.read(), result.is_err())
    })?;
    same("calls when the section panics", "lock, unlock", &guarded.0, "`Drop` of `Guard`")?;
    let (calls, went_on) = check.ask("`with_lock` with a section that panics", || {
        let lock = Diary::new(true);
        let result = catch_unwind(AssertUnwindSafe(|| {
            with_lock(&lock, || {
                lock.note("section");
                resume_unwind(Box::new(7u32));
            });
        }));
        (lock.read(), result.is_err_and(|payload| payload.downcast_ref::<u32>() == Some(&7)))
    })?;
    same(
        "calls when the section of `with_lock` panics",
        "lock, section, unlock",
        &calls,
        "`with_lock`: let a guard do it",
    )?;
    ensure!(
        went_on,
        expected: "the panic of the section reaches the caller of `with_lock`",
        observed: "it was swallowed or replaced",
        look: "`with_lock`",
    );
    Ok(())
}

/// `try_new` on a held lock makes no guard and gives nothing back.
fn refused_guard_leaves_the_lock_alone(check: &mut Check) -> Outcome {
    let (some, calls) = check.ask("`Guard::try_new` on a lock that is held", || {
        let lock = Diary::new(false);
        let guard = Guard::try_new(&lock);
        let some = guard.is_some();
        drop(guard);
        (some, lock.read())
    })?;
    ensure!(
        !some,
        expected: "`Guard::try_new` returns `None` when `try_lock` says no",
        observed: "it returned a guard",
        look: "`Guard::try_new`",
    );
    same(
        "calls on a lock that somebody else holds",
        "try_lock",
        &calls,
        "`Guard::try_new`: is a guard made, and dropped, before the answer is known?",
    )?;
    let (some, calls) = check.ask("`Guard::try_new` on a free lock", || {
        let lock = Diary::new(true);
        let guard = Guard::try_new(&lock);
        let some = guard.is_some();
        lock.note("section");
        drop(guard);
        (some, lock.read())
    })?;
    ensure!(
        some,
        expected: "`Guard::try_new` returns a guard when `try_lock` says yes",
        observed: "it returned `None`",
        look: "`Guard::try_new`",
    );
    same("calls on a free lock", "try_lock, section, unlock", &calls, "`Guard::try_new`")
}

/// `with_lock` runs the section once, under the lock, and returns its result.
fn with_lock_returns_the_result(check: &mut Check) -> Outcome {
    let wanted = check.rng().next_u64();
    let (result, calls) = check.ask("`with_lock`", || {
        let lock = Diary::new(true);
        let result = with_lock(&lock, || {
            lock.note("section");
            wanted
        });
        lock.note("after");
        (result, lock.read())
    })?;
    same("calls of `with_lock`", "lock, section, unlock, after", &calls, "`with_lock`")?;
    ensure!(
        result == wanted,
        expected: "`with_lock` returns what the section returns: {wanted}",
        observed: "{result}",
        look: "`with_lock`",
    );
    Ok(())
}
