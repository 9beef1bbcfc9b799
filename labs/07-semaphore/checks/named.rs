//! Part 5: semaphores that the kernel knows by a name or a key.

use std::ffi::CString;
use std::sync::atomic::{AtomicU32, Ordering};

use harness::{Check, Ending, Outcome, Respondent, Shared, Stop, ensure, observe};
use semaphore::{NamedSemaphore, UndoSemaphore};

use crate::sleepers::{Sleeper, asleep, interrupt, interruptible, until};

/// A name that nobody else has; `Inconclusive` where there are no named semaphores.
fn free_name(check: &Check) -> Result<String, Stop> {
    let name = format!("/semaphore-lab-{}-{:x}", std::process::id(), check.seed());
    let c_name = CString::new(name.clone()).map_err(|_| Stop::inconclusive("no name"))?;
    // SAFETY: a C string; with O_CREAT the mode and the count are read.
    unsafe {
        let semaphore = libc::sem_open(
            c_name.as_ptr(),
            libc::O_CREAT | libc::O_EXCL,
            0o600 as libc::c_uint,
            0 as libc::c_uint,
        );
        if semaphore == libc::SEM_FAILED {
            let error = std::io::Error::last_os_error();
            return Err(Stop::inconclusive(format!("this machine has no named semaphores: {error}")));
        }
        libc::sem_close(semaphore);
        libc::sem_unlink(c_name.as_ptr());
    }
    Ok(name)
}

/// A key that nobody else has; `Inconclusive` where there are no System V semaphores.
fn free_key(check: &mut Check) -> Result<i32, Stop> {
    // SAFETY: no pointers; what is made here is removed here.
    unsafe {
        let id = libc::semget(libc::IPC_PRIVATE, 1, 0o600);
        if id < 0 {
            let error = std::io::Error::last_os_error();
            return Err(Stop::inconclusive(format!("this machine has no System V semaphores: {error}")));
        }
        libc::semctl(id, 0, libc::IPC_RMID);
        let start = check.rng().next_u64() as i32 ^ std::process::id().cast_signed() << 12;
        (0..100)
            .map(|step| start.wrapping_add(step) | 1)
            .find(|&key| libc::semget(key, 1, 0) < 0)
            .ok_or_else(|| Stop::inconclusive("no free key"))
    }
}

fn errno(errno: nix::errno::Errno) -> i32 {
    errno as i32
}

/// What the worker is asked to do with its semaphore.
const CREATE: u8 = 0;
const OPEN: u8 = 1;
const TRY_WAIT: u8 = 2;
const POST: u8 = 3;
const DROP: u8 = 4;
const WAIT: u8 = 5;

type Answer = Result<bool, i32>;

/// A process with a named semaphore.
fn user<'c>(check: &'c Check, name: &'c str, count: u32) -> Result<Respondent<u8, Answer>, Stop> {
    let mut semaphore: Option<NamedSemaphore> = None;
    check.respondent("`NamedSemaphore`", move |call: u8| -> Answer {
        match (call, &semaphore) {
            (CREATE, _) => semaphore = Some(NamedSemaphore::create(name, count).map_err(errno)?),
            (OPEN, _) => semaphore = Some(NamedSemaphore::open(name).map_err(errno)?),
            (TRY_WAIT, Some(semaphore)) => return semaphore.try_wait().map_err(errno),
            (POST, Some(semaphore)) => semaphore.post().map_err(errno)?,
            (WAIT, Some(semaphore)) => semaphore.wait().map_err(errno)?,
            _ => semaphore = None,
        }
        Ok(true)
    })
}

/// Asks, and compares.
fn does(user: &mut Respondent<u8, Answer>, call: u8, wanted: Answer, when: &str) -> Outcome {
    let got = user.ask(call)?;
    let function = ["`create`", "`open`", "`try_wait`", "`post`", "dropping it", "`wait`"][usize::from(call)];
    let in_words = |answer: Answer| match answer {
        Ok(true) => "works".to_string(),
        Ok(false) => "returns Ok(false)".to_string(),
        Err(number) => format!("returns Err({})", nix::errno::Errno::from_raw(number)),
    };
    ensure!(
        got == wanted,
        expected: format!("{function} {} {when}", in_words(wanted)),
        observed: format!("it {}", in_words(got)),
        look: "`NamedSemaphore`: {function}",
    );
    Ok(())
}

/// One name, several processes, one count; and the name goes with the one who made it.
pub fn a_name_is_one_semaphore(check: &mut Check) -> Outcome {
    let count = 1 + check.rng().below(3) as u32;
    let check = &*check;
    let name = free_name(check)?;
    let [mut creator, mut other, mut third] =
        [user(check, &name, count)?, user(check, &name, 7)?, user(check, &name, 7)?];
    does(&mut other, OPEN, Err(libc::ENOENT), "when there is none of that name")?;
    does(&mut creator, CREATE, Ok(true), "with a new name")?;
    does(&mut other, CREATE, Err(libc::EEXIST), "when there is one of that name")?;
    does(&mut other, OPEN, Ok(true), "in another process")?;
    for left in (1..=count).rev() {
        does(
            &mut other,
            TRY_WAIT,
            Ok(true),
            &format!("when the count is {left} (it was made with {count})"),
        )?;
    }
    does(&mut other, TRY_WAIT, Ok(false), "when all has been taken")?;
    does(&mut creator, POST, Ok(true), "in the process that made it")?;
    does(&mut other, WAIT, Ok(true), "when another process has posted")?;
    does(&mut third, OPEN, Ok(true), "in a third process")?;
    does(&mut third, DROP, Ok(true), "by one who had it open")?;
    let file = name.replace('/', "sem.");
    let mapped = std::fs::read_to_string(format!("/proc/{}/maps", third.pid())).unwrap_or_default();
    ensure!(
        !mapped.contains(&file),
        expected: "a process that has dropped a semaphore has its memory no longer",
        observed: "`/dev/shm/{file}` is still among its mappings (`/proc/PID/maps`)",
        look: "`Drop` of `NamedSemaphore`: `sem_close`",
    );
    does(&mut third, OPEN, Ok(true), "after one who only had it open has dropped it")?;
    does(&mut creator, DROP, Ok(true), "by the one who made it")?;
    does(&mut third, POST, Ok(true), "after the name has gone, by one who still has it open")?;
    does(&mut other, TRY_WAIT, Ok(true), "after the name has gone, when another process has posted")?;
    [&mut third, &mut other].into_iter().try_for_each(|user| does(user, DROP, Ok(true), "at the end"))?;
    ensure!(
        !observe::shm_names().contains(&file),
        expected: "the name is removed when the semaphore that made it is dropped",
        observed: "`/dev/shm/{file}` is still there after all have dropped it",
        look: "`Drop` of `NamedSemaphore`: a name lives until `sem_unlink` or a restart",
    );
    Ok(())
}

/// A signal handler runs: `sem_wait` and `semop` return, the functions do not.
pub fn signals_do_not_end_the_wait(check: &mut Check) -> Outcome {
    let key = free_key(check)?;
    let check = &*check;
    let name = free_name(check)?;
    let mut creator = user(check, &name, 0)?;
    does(&mut creator, CREATE, Ok(true), "with a new name")?;
    let passed = Shared::new(AtomicU32::new(0));
    let waiter = check.spawn("`NamedSemaphore::wait`", || -> Answer {
        interruptible();
        let semaphore = NamedSemaphore::open(&name).map_err(errno)?;
        let result = semaphore.wait().map_err(errno);
        passed.store(1, Ordering::SeqCst);
        result.map(|()| true)
    })?;
    let sleeper = Sleeper { function: "`NamedSemaphore::wait`", because: "the count is 0", passed: &passed };
    disturb(check, &sleeper, waiter.pid())?;
    does(&mut creator, POST, Ok(true), "while another process waits")?;
    sleeper.goes_on(check, waiter.pid(), "a `post`")?;
    works(waiter.join()?, "`NamedSemaphore::open` and `wait`")?;
    does(&mut creator, DROP, Ok(true), "at the end")?;

    let mut holder = holder(check, key, 1)?;
    works(holder.ask(CREATE)?, "`UndoSemaphore::create`")?;
    works(holder.ask(WAIT)?, "`UndoSemaphore::acquire`")?;
    let passed = Shared::new(AtomicU32::new(0));
    let waiter = check.spawn("`UndoSemaphore::acquire`", || -> Answer {
        interruptible();
        let semaphore = UndoSemaphore::open(key).map_err(errno)?;
        let result = semaphore.acquire().map_err(errno);
        passed.store(1, Ordering::SeqCst);
        result.and_then(|()| semaphore.release().map_err(errno)).map(|()| true)
    })?;
    let sleeper =
        Sleeper { function: "`UndoSemaphore::acquire`", because: "the count is 0", passed: &passed };
    disturb(check, &sleeper, waiter.pid())?;
    works(holder.ask(POST)?, "`UndoSemaphore::release`")?;
    sleeper.goes_on(check, waiter.pid(), "a `release`")?;
    works(waiter.join()?, "`UndoSemaphore::open`, `acquire` and `release`")?;
    works(holder.ask(DROP)?, "dropping it")
}

/// Asleep, and after each of five signals asleep again.
fn disturb(check: &Check, sleeper: &Sleeper<'_>, pid: i32) -> Outcome {
    let function = sleeper.function;
    sleeper.falls_asleep(check, pid)?;
    for _ in 0..5 {
        interrupt(pid);
        let passed = || sleeper.passed.load(Ordering::SeqCst) != 0;
        check.wait_until("it sleeps again", || passed() || asleep(pid))?;
        ensure!(
            !passed(),
            expected: "{function} goes on waiting after a signal handler has run",
            observed: "it returned, and nobody has given anything back",
            look: "{function}: EINTR",
        );
    }
    Ok(())
}

fn works(answer: Answer, what: &str) -> Outcome {
    if let Err(number) = answer {
        let errno = nix::errno::Errno::from_raw(number);
        return Err(Stop::failed(format!("{what}: Ok"), format!("Err({errno})"), what.to_string()));
    }
    Ok(())
}

/// A process with a System V semaphore.
fn holder(check: &Check, key: i32, count: u16) -> Result<Respondent<u8, Answer>, Stop> {
    let mut semaphore: Option<UndoSemaphore> = None;
    check.respondent("`UndoSemaphore`", move |call: u8| -> Answer {
        match (call, &semaphore) {
            (CREATE, _) => semaphore = Some(UndoSemaphore::create(key, count).map_err(errno)?),
            (OPEN, _) => semaphore = Some(UndoSemaphore::open(key).map_err(errno)?),
            (WAIT, Some(semaphore)) => semaphore.acquire().map_err(errno)?,
            (POST, Some(semaphore)) => semaphore.release().map_err(errno)?,
            _ => semaphore = None,
        }
        Ok(true)
    })
}

/// The count as the kernel has it; -1 if there is no such semaphore.
fn value(key: i32) -> i32 {
    // SAFETY: no pointers, and GETVAL reads no argument.
    unsafe {
        match libc::semget(key, 1, 0) {
            -1 => -1,
            id => libc::semctl(id, 0, libc::GETVAL),
        }
    }
}

/// Killed, or gone without a word: the kernel gives back, and lets in who sleeps.
pub fn a_crashed_holder_gives_back(check: &mut Check) -> Outcome {
    let key = free_key(check)?;
    let mut creator = holder(check, key, 2)?;
    works(creator.ask(CREATE)?, "`UndoSemaphore::create`")?;
    for killed in [true, false] {
        let stage = Shared::new([AtomicU32::new(0), AtomicU32::new(0)]);
        let passed = Shared::new(AtomicU32::new(0));
        let victim = check.spawn("`UndoSemaphore::acquire`, twice", || -> Answer {
            let semaphore = UndoSemaphore::open(key).map_err(errno)?;
            semaphore.acquire().map_err(errno)?;
            semaphore.acquire().map_err(errno)?;
            stage[0].store(1, Ordering::SeqCst);
            until(&stage[1]);
            std::process::exit(0)
        })?;
        check.wait_until("the holder has acquired both", || stage[0].load(Ordering::SeqCst) == 1)?;
        let waiter = check.spawn("`UndoSemaphore::acquire`", || -> Answer {
            let semaphore = UndoSemaphore::open(key).map_err(errno)?;
            semaphore.acquire().map_err(errno)?;
            passed.store(1, Ordering::SeqCst);
            semaphore.release().map_err(errno)?;
            Ok(true)
        })?;
        let sleeper = Sleeper {
            function: "`UndoSemaphore::acquire`",
            because: "another process has all",
            passed: &passed,
        };
        sleeper.falls_asleep(check, waiter.pid())?;
        if killed {
            victim.kill();
        } else {
            stage[1].store(1, Ordering::SeqCst);
            let ending = victim.ending()?;
            debug_assert!(matches!(ending, Ending::Exited(0)));
        }
        let how = if killed { "was killed" } else { "has ended without a `release`" };
        let after = format!("the holder {how} (the kernel gives back what was acquired with `SEM_UNDO`)");
        sleeper.goes_on(check, waiter.pid(), &after)?;
        works(waiter.join()?, "`UndoSemaphore::acquire`")?;
        let count = value(key);
        ensure!(
            count == 2,
            expected: "after the holder of both {how}, the count is 2 again",
            observed: "it is {count}",
            look: "`UndoSemaphore::acquire`: `SEM_UNDO`",
        );
    }
    works(creator.ask(DROP)?, "dropping it")
}

/// A process that has given everything back leaves no trace when it ends; the semaphore goes with the one who made it.
pub fn what_was_released_is_not_undone(check: &mut Check) -> Outcome {
    let key = free_key(check)?;
    let count = 1 + check.rng().below(5) as u16;
    let mut creator = holder(check, key, count)?;
    let mut other = holder(check, key, count)?;
    let missing = other.ask(OPEN)?;
    works(creator.ask(CREATE)?, "`UndoSemaphore::create`")?;
    let again = other.ask(CREATE)?;
    for (function, got, wanted) in [
        ("`open` when there is none with that key", missing, libc::ENOENT),
        ("`create` with a key that is in use", again, libc::EEXIST),
    ] {
        ensure!(
            got == Err(wanted),
            expected: format!("{function} returns Err({})", nix::errno::Errno::from_raw(wanted)),
            observed: format!("it returned {:?}", got.map_err(nix::errno::Errno::from_raw)),
            look: "`UndoSemaphore`: {function}",
        );
    }
    let must_be = |wanted: u16, when: &str| {
        let got = value(key);
        ensure!(
            got == i32::from(wanted),
            expected: "{when} the count is {wanted}",
            observed: format!("{}", if got < 0 { "the semaphore is gone".to_string() } else { format!("it is {got}") }),
            look: "`UndoSemaphore`: which of the operations carry `SEM_UNDO`, and what does the kernel add up?",
        );
        Ok(())
    };
    let made = value(key);
    ensure!(
        made == i32::from(count),
        expected: "after `create` with {count} (and another `create` that failed) the count is {count}",
        observed: "it is {made}",
        look: "`UndoSemaphore::create`: `SETVAL`",
    );
    works(other.ask(OPEN)?, "`UndoSemaphore::open`")?;
    for _ in 0..3 {
        works(other.ask(WAIT)?, "`UndoSemaphore::acquire`")?;
        must_be(count - 1, "after `acquire`")?;
        works(other.ask(POST)?, "`UndoSemaphore::release`")?;
        must_be(count, "after `acquire` and `release`")?;
    }
    // Killed and reaped.
    drop(other);
    must_be(count, "after the end of a process that has released all that it had acquired")?;
    let mut other = holder(check, key, count)?;
    works(other.ask(OPEN)?, "`UndoSemaphore::open`")?;
    works(other.ask(DROP)?, "dropping it")?;
    must_be(count, "after one who only had it open has dropped it")?;
    works(creator.ask(DROP)?, "dropping it")?;
    let left = value(key);
    ensure!(
        left == -1,
        expected: "dropping the one that was made by `create` removes the semaphore from the kernel",
        observed: "there is one with that key, and its count is {left}",
        look: "`Drop` of `UndoSemaphore`: `IPC_RMID`",
    );
    Ok(())
}
