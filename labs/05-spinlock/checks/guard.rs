//! Part 5: the guard.

use super::*;

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
pub fn guard_gives_back_once(check: &mut Check) -> Outcome {
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
pub fn guard_gives_back_after_a_panic(check: &mut Check) -> Outcome {
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
pub fn refused_guard_leaves_the_lock_alone(check: &mut Check) -> Outcome {
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
pub fn with_lock_returns_the_result(check: &mut Check) -> Outcome {
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
    let look = "`with_lock`: a guard lives as long as the variable that holds it, and `_` is none";
    same("calls of `with_lock`", "lock, section, unlock, after", &calls, look)?;
    ensure!(
        result == wanted,
        expected: "`with_lock` returns what the section returns: {wanted}",
        observed: "{result}",
        look: "`with_lock`",
    );
    Ok(())
}
