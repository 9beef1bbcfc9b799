//! Part 4: the ticket lock.

use super::*;

/// Never two holders of the ticket lock.
pub fn ticket_at_most_one_holder(check: &mut Check) -> Outcome {
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
pub fn first_come_first_served(check: &mut Check) -> Outcome {
    const INSIDE: u64 = 2;
    const WAITERS: usize = 3;
    const NAMES: [&str; WAITERS] = ["A", "B", "C"];
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
                    format!(
                        "nobody got in; {} of {WAITERS} had been served, and the lock's words were {:?} (next ticket, \
                         now serving)",
                        served.len(),
                        words(&lock)
                    ),
                    "`TicketLock::unlock`, and the comparison in `TicketLock::lock`",
                ));
            };
            served.push(entered);
            let came = order.map(|waiter| NAMES[waiter]).join(", then ");
            let (first, due) = (NAMES[entered], NAMES[next]);
            ensure!(
                entered == next,
                expected: "while the lock was held, process {came} came to wait for it; they get in in this order",
                observed: "process {first} got in before process {due}, which had come earlier",
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
pub fn ticket_is_drawn_atomically(check: &mut Check) -> Outcome {
    check.instruction("no-std-atomics:spinlock::TicketLock", 0, &[]);
    let lock = check.shared("`TicketLock::new`", TicketLock::new)?;
    changes_atomically(check, &lock, "`TicketLock::lock`", TicketLock::lock)
}

/// The words of a lock, whatever they mean.
fn words(lock: &Shared<TicketLock>) -> Vec<u32> {
    let bytes = Watch::of(lock).bytes();
    bytes.chunks_exact(4).map(|word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]])).collect()
}

/// The lock goes on working for ever, also when a counter passes its largest value.
pub fn tickets_wrap_around(check: &mut Check) -> Outcome {
    const TURNS: u32 = 70_000;
    let lock = check.shared("`TicketLock::new`", TicketLock::new)?;
    let turn = Shared::new(AtomicU32::new(0));
    let turns = |check: &mut Check, count: u32, what: &str| {
        let done = check.ask(what, || {
            for number in 1..=count {
                turn.store(number, Ordering::Relaxed);
                lock.lock();
                lock.unlock();
            }
        });
        match done {
            Err(Stop::TimedOut(_)) => Err(Stop::failed(
                format!("{what}, by one process alone, which never has to wait"),
                format!(
                    "`lock` did not return in turn {}; the lock's words are {:?} (next ticket, now serving)",
                    turn.load(Ordering::Relaxed),
                    words(&lock)
                ),
                "`TicketLock::unlock`: the number it calls goes on as the tickets do, in all 32 bits",
            )),
            done => done,
        }
    };
    // A lock that stops half-way is not waited for until the end of the check.
    let deadline = Some(check.scaled(Duration::from_millis(700)));
    check.options(Options { deadline, ..Options::default() });
    turns(check, TURNS, "70,000 turns of `TicketLock::lock` and `unlock`")?;
    let after = words(&lock);
    let counters: Vec<usize> = (0..after.len()).filter(|&index| after[index] == TURNS).collect();
    // Where the two counters are plain words, as in the stub, their last lap can be had at once.
    if counters.len() == 2 {
        for &counter in &counters {
            // SAFETY: an aligned word inside the shared lock, which nobody else uses now.
            unsafe { (lock.address() as *mut u32).add(counter).write_volatile(u32::MAX - 1) };
        }
        turns(check, 4, "4 turns of `TicketLock::lock` and `unlock` when the next number is 2^32 - 2")?;
        check.note("70,000 turns, and 4 across 2^32");
    } else {
        check.note("70,000 turns");
    }
    Ok(())
}
