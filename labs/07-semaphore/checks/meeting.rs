//! Part 4: the pool and the barrier. Needs the semaphore of part 1.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};

use harness::{Check, Exploration, JoinHandle, Model, Outcome, Shared, Stop, Student, ensure};
use semaphore::{Barrier, NotTaken, Pool};

use crate::programs::{Plain, bounded};
use crate::sleepers::{Sleeper, asleep, times_asleep};

/// One user for each resource, in all interleavings.
pub fn a_resource_has_one_user(check: &mut Check) -> Outcome {
    check.explore(
        "three threads, one of which only tries, and two resources",
        bounded(2, 4_000),
        |model: &Model| {
            let pool = model.share(Pool::<2>::new());
            let users = model.share([AtomicU32::new(0), AtomicU32::new(0)]);
            let visit = move |number: usize| {
                assert!(number < 2, "the pool has 2 resources, and gave out number {number}");
                let others = users[number].fetch_add(1, Ordering::Relaxed);
                assert_eq!(others, 0, "two threads use resource {number} at the same time");
                users[number].fetch_sub(1, Ordering::Relaxed);
                assert_eq!(
                    pool.release(number),
                    Ok(()),
                    "`release({number})` by the one who had acquired it"
                );
            };
            let turn = move || visit(pool.acquire());
            let attempt = move || {
                if let Some(number) = pool.try_acquire() {
                    visit(number);
                }
            };
            let threads =
                [model.spawn("thread A", turn), model.spawn("thread B", turn), model.spawn("tries", attempt)];
            threads.into_iter().for_each(JoinHandle::join);
            let free = (0..3).filter(|_| pool.try_acquire().is_some()).count();
            assert_eq!(free, 2, "all have been given back; so many of the 2 can be acquired");
        },
    )
}

/// A sequence of calls against a set, mistakes among them; then one process that has to wait.
pub fn the_pool_knows_what_is_taken(check: &mut Check) -> Outcome {
    const N: usize = 4;
    let pool = check.shared("`Pool::new`", Pool::<N>::new)?;
    // What it returned as a number: `N` for None, NotTaken or Ok.
    let mut student = check.respondent("`Pool`", |(call, number): (u8, u64)| match call {
        0 => Some(pool.acquire() as u64),
        1 => pool.try_acquire().map(|number| number as u64),
        _ => match pool.release(number as usize) {
            Ok(()) => Some(number),
            Err(NotTaken) => None,
        },
    })?;
    let mut taken = BTreeSet::new();
    for _ in 0..150 {
        let number = check.rng().below(N as u64 + 2);
        let call = match check.rng().below(4) {
            0 if taken.len() == N => 1,
            call => call.min(2) as u8,
        };
        let got = student.ask((call, number))?;
        if call < 2 {
            let name = if call == 0 { "`acquire`" } else { "`try_acquire`" };
            let fits = match got {
                Some(number) => number < N as u64 && !taken.contains(&number),
                None => taken.len() == N,
            };
            ensure!(
                fits,
                expected: "{name} returns a number below {N} that is not taken; `try_acquire` None if all are",
                observed: "with {taken:?} taken, it returned {got:?}",
                look: "`Pool`: who may look at the table, and when?",
            );
            taken.extend(got);
        } else {
            let was_taken = taken.remove(&number);
            ensure!(
                got.is_some() == was_taken,
                expected: format!("`release({number})` returns {}", if was_taken { "Ok(())" } else { "Err(NotTaken)" }),
                observed: format!("it returned {}, and {number} was {}", if got.is_some() { "Ok(())" } else { "Err(NotTaken)" }, if was_taken { "taken" } else { "not taken" }),
                look: "`Pool::release`: is the number that is given back one that is taken?",
            );
        }
    }
    while taken.len() < N {
        taken.extend(student.ask((0, 0))?);
    }
    let passed = Shared::new(AtomicU32::new(0));
    let waiter = check.spawn("`Pool::acquire`", || {
        let number = pool.acquire() as u64;
        passed.store(1, Ordering::SeqCst);
        number
    })?;
    let sleeper = Sleeper { function: "`Pool::acquire`", because: "all are taken", passed: &passed };
    sleeper.falls_asleep(check, waiter.pid())?;
    let number = check.rng().below(N as u64);
    student.ask((2, number))?;
    sleeper.goes_on(check, waiter.pid(), "a `release`")?;
    let got = waiter.join()?;
    ensure!(
        got == number,
        expected: "with only {number} free, `acquire` returns {number}",
        observed: "it returned {got}",
        look: "`Pool::acquire`",
    );
    Ok(())
}

/// Nobody leaves before all have come, nobody laps anybody, and all see what the others have done.
pub fn the_barrier_keeps_rounds_apart(check: &mut Check) -> Outcome {
    rounds(check, "two parties meet four times", 2, 2, bounded(2, 4_000))?;
    // Old values make far too many executions of so many steps; two parties see them.
    let newest = Exploration { weak: false, ..bounded(2, 4_000) };
    rounds(check, "three parties meet twice", 3, 1, newest)
}

fn rounds(check: &Check, what: &str, parties: usize, rounds: i64, exploration: Exploration) -> Outcome {
    check.explore(what, exploration, move |model: &Model| {
        let barrier = model.share(Barrier::new(parties as u32));
        let rounds_of: &'static [Plain] =
            model.share((0..parties).map(|_| Plain::new(0)).collect::<Vec<Plain>>()).as_slice();
        let party = move |me: usize| {
            move || {
                for round in 1..=rounds {
                    rounds_of[me].add(1);
                    barrier.wait();
                    for (other, place) in rounds_of.iter().enumerate() {
                        let came = place.get();
                        assert_eq!(
                            came,
                            round,
                            "party {} left round {round}, and party {} has come to the barrier so many times",
                            me + 1,
                            other + 1
                        );
                    }
                    barrier.wait();
                }
            }
        };
        let others: Vec<_> =
            (1..parties).map(|me| model.spawn(&format!("party {}", me + 1), party(me))).collect();
        party(0)();
        others.into_iter().for_each(JoinHandle::join);
    })
}

/// Processes sleep until the last one comes; then many rounds at full speed.
pub fn processes_meet(check: &mut Check) -> Outcome {
    const PARTIES: usize = 4;
    const ROUNDS: u32 = 50;
    let barrier = check.shared("`Barrier::new`", || Barrier::new(PARTIES as u32))?;
    let passed = Shared::slice(PARTIES, |_| AtomicU32::new(0));
    let wrong = Shared::new(AtomicU32::new(0));
    let function = "`Barrier::wait`";
    let mut parties: Vec<Student<()>> = Vec::new();
    for index in 0..PARTIES {
        parties.push(check.spawn(function, || {
            for round in 1..=ROUNDS {
                barrier.wait();
                passed[index].store(round, Ordering::SeqCst);
                // The others have left this round, or are about to; the next one they cannot leave without this process.
                let far = |other: &AtomicU32| !(round - 1..=round).contains(&other.load(Ordering::SeqCst));
                if passed.iter().any(far) {
                    wrong.store(round, Ordering::SeqCst);
                }
            }
        })?);
        if index < PARTIES - 1 {
            let sleeper = Sleeper { function, because: "not all have come", passed: &passed[index] };
            sleeper.falls_asleep(check, parties[index].pid())?;
        }
    }
    let gone = || passed.iter().all(|passed| passed.load(Ordering::SeqCst) == ROUNDS);
    // Who was asleep twice and has not gone to sleep in between was asleep all the time.
    let look = |party: &Student<()>| asleep(party.pid()).then(|| times_asleep(party.pid()));
    let all_asleep = || {
        let first: Vec<Option<u64>> = parties.iter().map(look).collect();
        first.iter().all(Option::is_some) && first == parties.iter().map(look).collect::<Vec<_>>()
    };
    let mut stuck = false;
    check.wait_until("all have met 50 times", || {
        stuck = all_asleep();
        gone() || stuck
    })?;
    if stuck && !gone() {
        let rounds: Vec<u32> = passed.iter().map(|passed| passed.load(Ordering::SeqCst)).collect();
        return Err(Stop::failed(
            format!("{PARTIES} processes meet {ROUNDS} times"),
            format!("all of them sleep, after {rounds:?} rounds"),
            "`Barrier::wait`: how is the gate closed for the next round?",
        ));
    }
    parties.into_iter().try_for_each(Student::join)?;
    let round = wrong.load(Ordering::SeqCst);
    ensure!(
        round == 0,
        expected: "no process leaves a round before all have come to it",
        observed: "a process had just left round {round}, and another one had left the next round, or not even the one before",
        look: "`Barrier::wait`: what keeps a quick process out of the next round until all have left this one?",
    );
    check.note(format!("{PARTIES} processes met {ROUNDS} times"));
    Ok(())
}
