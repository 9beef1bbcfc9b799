//! Part 5: the owner, and trying before sleeping.

use std::sync::atomic::{AtomicU32, Ordering};

use futex::{OwnedMutex, OwnerError};
use harness::step::{Limit, Reached, Stepper, Watch, mark};
use harness::{Check, Exploration, JoinHandle, Model, Outcome, Shared, Stop, ensure};

use crate::mutex::run_on;
use crate::sleepers::{asleep_on, falls_asleep};

/// What `lock` or `unlock` returned, on its way from a worker.
fn text(result: Result<(), OwnerError>) -> String {
    format!("{result:?}")
}

/// The result must be this one.
fn same(call: &str, wanted: Result<(), OwnerError>, got: &str, look: &str) -> Outcome {
    let wanted = text(wanted);
    ensure!(
        got == wanted,
        expected: "{call} returns {wanted}",
        observed: "it returned {got}",
        look: "{look}",
    );
    Ok(())
}

/// The owner cannot wait for itself.
pub fn relocking_is_an_error(check: &mut Check) -> Outcome {
    let mutex = check.shared("`OwnedMutex::new`", OwnedMutex::new)?;
    let mut owner = check.spawn("`OwnedMutex::lock` by its owner", || {
        [mutex.lock(), mutex.lock(), mutex.lock(), mutex.unlock(), mutex.lock(), mutex.unlock()]
            .map(text)
            .to_vec()
    })?;
    let pid = owner.pid();
    check.wait_until("`lock` returns", || owner.ended() || asleep_on(pid, &mutex))?;
    ensure!(
        owner.ended(),
        expected: "`lock` by the thread that holds the mutex returns an error at once",
        observed: "it went to sleep, to wait for itself",
        look: "`OwnedMutex::lock`: whose number is in the word?",
    );
    let results = owner.join()?;
    let again = Err(OwnerError::AlreadyOwner);
    let wanted = [
        ("`lock` on a free mutex", Ok(())),
        ("`lock` by the thread that holds it", again),
        ("`lock` by the thread that holds it, a third time,", again),
        ("`unlock` by the owner", Ok(())),
        ("`lock` on a mutex that was given back", Ok(())),
        ("`unlock` by the owner", Ok(())),
    ];
    for ((call, wanted), got) in wanted.into_iter().zip(&results) {
        same(call, wanted, got, "`OwnedMutex::lock`")?;
    }
    Ok(())
}

/// Another thread, another process, a child: none of them is the owner.
pub fn only_the_owner_unlocks(check: &mut Check) -> Outcome {
    let mutex = check.shared("`OwnedMutex::new`", OwnedMutex::new)?;
    let outcome = Shared::new(AtomicU32::new(0));
    let mut owner = check.respondent("`OwnedMutex::unlock`", |question: u8| match question {
        0 => text(mutex.lock()),
        1 => std::thread::scope(|scope| {
            let other = scope.spawn(|| text(mutex.unlock()));
            other.join().unwrap_or_else(|_| "nothing: it panicked".to_string())
        }),
        2 => {
            outcome.store(0, Ordering::SeqCst);
            // SAFETY: the child calls the submission's function and ends.
            match unsafe { libc::fork() } {
                0 => {
                    let number = match mutex.unlock() {
                        Ok(()) => 1,
                        Err(OwnerError::NotOwner) => 2,
                        Err(OwnerError::AlreadyOwner) => 3,
                    };
                    outcome.store(number, Ordering::SeqCst);
                    // SAFETY: ends this process and nothing else.
                    unsafe { libc::_exit(0) }
                }
                child => {
                    // SAFETY: our own child; its status does not matter.
                    unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
                }
            }
            match outcome.load(Ordering::SeqCst) {
                1 => text(Ok(())),
                2 => text(Err(OwnerError::NotOwner)),
                3 => text(Err(OwnerError::AlreadyOwner)),
                _ => "nothing: the child died".to_string(),
            }
        }
        _ => text(mutex.unlock()),
    })?;
    let look = "`OwnedMutex::unlock`: whose thread id stands in the word, and whose is the caller's?";
    let not_owner = Err(OwnerError::NotOwner);
    same("`unlock` on a free mutex", not_owner, &owner.ask(9)?, look)?;
    same("`lock` on a free mutex", Ok(()), &owner.ask(0)?, "`OwnedMutex::lock`")?;
    same("`unlock` by another thread of the process", not_owner, &owner.ask(1)?, look)?;
    same("`unlock` by a child that the owner has forked", not_owner, &owner.ask(2)?, look)?;
    let other = check.ask("`OwnedMutex::unlock` by another process", || text(mutex.unlock()))?;
    same("`unlock` by another process", not_owner, &other, look)?;
    same("`lock` by the owner after all that", Err(OwnerError::AlreadyOwner), &owner.ask(0)?, look)?;
    same("`unlock` by the owner after all that", Ok(()), &owner.ask(9)?, look)
}

/// Mutual exclusion, and nobody is forgotten.
pub fn at_most_one_owner(check: &mut Check) -> Outcome {
    // Looking is a loop of many steps: what the budget does not cover is sampled.
    for (count, bound, executions) in [(2, 3, 10_000), (3, 1, 10_000)] {
        let what = format!("{count} threads lock and unlock");
        let exploration = Exploration { bound, executions, ..Exploration::default() };
        check.explore(&what, exploration, move |model: &Model| {
            let mutex = model.share(OwnedMutex::new());
            let inside = model.share(AtomicU32::new(0));
            let threads: Vec<_> = (0..count)
                .map(|index| {
                    model.spawn(&format!("thread {}", ["A", "B", "C"][index]), move || {
                        assert_eq!(mutex.lock(), Ok(()), "`lock` by a thread that does not hold the mutex");
                        let others = inside.fetch_add(1, Ordering::Relaxed);
                        assert_eq!(others, 0, "two threads hold the mutex at the same time");
                        inside.fetch_sub(1, Ordering::Relaxed);
                        assert_eq!(mutex.unlock(), Ok(()), "`unlock` by the owner");
                    })
                })
                .collect();
            threads.into_iter().for_each(JoinHandle::join);
        })?;
    }
    Ok(())
}

/// A few looks first, then sleep; and no sleep when the mutex comes free meanwhile.
pub fn looks_a_few_times_before_it_sleeps(check: &mut Check) -> Outcome {
    let mutex = check.shared("`OwnedMutex::new`", OwnedMutex::new)?;
    let what = "`OwnedMutex::lock`";
    let mut holder = check.respondent("`OwnedMutex::lock` and `unlock`", |lock: bool| {
        if lock { mutex.lock().is_ok() } else { mutex.unlock().is_ok() }
    })?;
    let body = || {
        mark(1, 0);
        let _ = mutex.lock();
        mark(2, 0);
        let _ = mutex.unlock();
        mark(3, 0);
    };
    for releases in [false, true] {
        holder.ask(true)?;
        let mut worker = Stepper::start(check, what, Watch::of(&mutex), body)?;
        run_on(&mut worker, what)?;
        let (mut looks, mut steps) = (0, 0);
        let sleeps = loop {
            if worker.system_call()? == Some(libc::SYS_futex) {
                break true;
            }
            if looks > 200 || releases && looks >= 5 || steps > 500_000 {
                break false;
            }
            // A look takes more than ten instructions, so none is missed.
            let before = worker.taken();
            let limit = Limit { before_system_call: true, ..Limit::steps(if releases { 10 } else { 2_000 }) };
            let reached = worker.step(limit, |step| looks += u32::from(step.instruction.is_pause()))?;
            steps += worker.taken() - before;
            if matches!(reached, Reached::Mark(_)) {
                return Err(Stop::failed(
                    "`lock` does not return while another process holds the mutex",
                    "it returned: two processes hold the mutex",
                    what,
                ));
            }
        };
        if releases && !sleeps {
            holder.ask(false)?;
            let (mut futex_calls, mut more) = (0, 0);
            let reached = loop {
                let limit = Limit { before_system_call: true, ..Limit::steps(50_000) };
                let reached = worker.step(limit, |step| more += u32::from(step.instruction.is_pause()))?;
                match reached {
                    Reached::Limit if worker.system_call()? == Some(libc::SYS_futex) => {
                        futex_calls += 1;
                        break false;
                    }
                    Reached::Limit if worker.system_call()?.is_some() => {}
                    Reached::Mark(_) => break true,
                    Reached::Limit | Reached::Spinning => break false,
                }
            };
            ensure!(
                reached,
                expected: "a mutex that is given back while `lock` still looks is taken without a futex call",
                observed: format!("it was given back after {looks} looks, and `lock` went on to {}", if futex_calls > 0 { "a futex call all the same" } else { "do something else" }),
                look: "`OwnedMutex::lock`: each look must read the word again",
            );
            ensure!(
                more <= 3,
                expected: "a mutex that is given back while `lock` still looks is taken at the next look",
                observed: "`lock` looked {more} more times before it took it",
                look: "`OwnedMutex::lock`: each look must read the word again",
            );
        } else {
            ensure!(
                looks >= 10,
                expected: "`lock` looks at least 10 times, with `spin_loop` before each look, before it sleeps",
                observed: "it made a futex call after {looks} looks",
                look: "`OwnedMutex::lock`: how often it looks before it sleeps",
            );
            ensure!(
                sleeps,
                expected: "`lock` looks at most 200 times before it sleeps",
                observed: "after {looks} looks and {steps} instructions it had not made a futex call",
                look: "`OwnedMutex::lock`: spinning is worth while only for about as long as a system call takes",
            );
            check.note(format!("{looks} looks before it sleeps"));
            drop(worker);
            holder.ask(false)?;
        }
    }
    // The worker holds it, or is gone; the last one is for a fresh pair.
    let mutex = check.shared("`OwnedMutex::new`", OwnedMutex::new)?;
    let passed = Shared::new(AtomicU32::new(0));
    let mut holder = check.respondent("`OwnedMutex::lock` and `unlock`", |lock: bool| {
        if lock { mutex.lock().is_ok() } else { mutex.unlock().is_ok() }
    })?;
    holder.ask(true)?;
    let waiter = check.spawn(what, || {
        let locked = mutex.lock().is_ok();
        passed.store(1, Ordering::SeqCst);
        locked && mutex.unlock().is_ok()
    })?;
    falls_asleep(check, &waiter, &mutex, &passed, what)?;
    holder.ask(false)?;
    ensure!(
        waiter.join()?,
        expected: "a waiter gets the mutex, and can give it back",
        observed: "`lock` or `unlock` returned an error",
        look: "`OwnedMutex`",
    );
    Ok(())
}
