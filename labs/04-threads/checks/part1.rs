//! Part 1: threads by `pthread_create`.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicUsize, Ordering::SeqCst};

use harness::{Check, Outcome, ensure};
use threads::{Attributes, JoinError, Thread, exit};

use super::pthreads;
use super::{Gate, ask, panic_quietly, pid, tid, until_alone, wait_for};

const PLAIN: Attributes = Attributes { stack_size: None, detached: false };
const DETACHED: Attributes = Attributes { stack_size: None, detached: true };

/// A `join` in a form that travels.
fn told<T>(joined: Result<T, JoinError>) -> Result<T, String> {
    joined.map_err(|error| match error {
        JoinError::Panicked(message) => format!("Panicked({message:?})"),
        JoinError::Errno(errno) => format!("Errno({errno})"),
    })
}

fn created<T>(made: std::io::Result<T>) -> Result<T, String> {
    made.map_err(|error| format!("an error from `create`: {error}"))
}

/// The routine runs in another thread of the same process, with its argument, by `pthread_create`.
pub fn runs_in_a_new_thread(check: &mut Check) -> Outcome {
    let argument = check.rng().next_u64();
    let (mine, theirs, calls) = check.ask("`Thread::create` and `join`", || {
        let before = pthreads::calls();
        let thread = Thread::create(&PLAIN, |argument: u64| (pid(), tid(), argument), argument);
        let theirs = created(thread).and_then(|thread| told(thread.join()));
        ((pid(), tid()), theirs, before.since().created)
    })?;
    let (pid, tid, got) = match theirs {
        Ok(theirs) => theirs,
        Err(error) => {
            ensure!(false, expected: "a thread that can be joined", observed: "{error}", look: "`Thread::create`, `Thread::join`");
            return Ok(());
        }
    };
    let (caller, first) = mine;
    ensure!(pid == caller, expected: "the routine runs in the calling process, {caller}", observed: "it ran in process {pid}", look: "`Thread::create`");
    ensure!(tid != first, expected: "the routine runs in a thread of its own", observed: "it ran in the calling thread, {first}", look: "`Thread::create`: the new thread calls the routine, not `create`");
    ensure!(got == argument, expected: "the routine gets its argument, {argument}", observed: "{got}", look: "how `Thread::create` hands over the argument");
    ensure!(calls == 1, expected: "one call of `pthread_create`", observed: "{calls}", look: "`Thread::create`");
    Ok(())
}

/// What the routine returned comes back whole, though the thread and its stack are gone.
pub fn join_returns_the_value(check: &mut Check) -> Outcome {
    let (number, words) = (check.rng().next_u64(), check.rng().bytes(600));
    // A stack larger than glibc keeps for reuse (40 MiB): unmapped as soon as the thread is joined.
    let large = Attributes { stack_size: Some(64 << 20), detached: false };
    for (attributes, stack) in [(PLAIN, "a stack of the default size"), (large, "a stack of 64 MiB")] {
        let words = words.clone();
        let (one, other, text) = ask(
            check,
            &format!("`Thread::join`, {stack}"),
            "the value outlives its thread, whose stack is unmapped after the join",
            "where the thread leaves its value: the heap, not its stack",
            || {
                let array = std::array::from_fn::<u8, 600, _>(|place| words[place]);
                let one = Thread::create(&attributes, |number: u64| number ^ 1, number);
                let other = Thread::create(&attributes, |array: [u8; 600]| array, array);
                let text = Thread::create(&attributes, |number: u64| format!("value {number}"), number);
                (
                    created(one).and_then(|thread| told(thread.join())),
                    created(other).and_then(|thread| told(thread.join())).map(|array| array.to_vec()),
                    created(text).and_then(|thread| told(thread.join())),
                )
            },
        )?;
        let right = number ^ 1;
        let seen = format!("{one:?}");
        ensure!(one == Ok(right), expected: "`Ok({right})` from `join`", observed: "{seen}", look: "`Thread::join`: where the value lies until it is asked for, and who owns it");
        let text_right = format!("value {number}");
        ensure!(text == Ok(text_right.clone()), expected: "`Ok({text_right:?})` from `join`", observed: "{text:?}", look: "`Thread::join`: where the value lies until it is asked for, and who owns it");
        let same = other.as_ref().is_ok_and(|array| *array == words);
        ensure!(same, expected: "an array of 600 bytes comes back as it was", observed: "other bytes, or an error", look: "where the thread leaves its value");
    }
    Ok(())
}

/// Stack size and detached state are those of the attributes.
pub fn attributes_are_obeyed(check: &mut Check) -> Outcome {
    static GO: Gate = Gate::closed();
    static SEEN: AtomicU32 = AtomicU32::new(0);
    for (least, spread) in [(64 << 10, 32), (1 << 20, 200), (24 << 20, 2000)] {
        let wanted = least + (check.rng().below(spread) << 12) as usize;
        let size = check.ask(&format!("`Thread::create` with a stack of {wanted} bytes"), || {
            let attributes = Attributes { stack_size: Some(wanted), detached: false };
            let thread = Thread::create(&attributes, |()| pthreads::own_attributes().0, ());
            created(thread).and_then(|thread| told(thread.join()))
        })?;
        let seen = format!("{size:?}");
        // pthreads may round up, and take the guard out of it.
        let fits = size.is_ok_and(|size| size + (16 << 10) >= wanted && size <= wanted + (64 << 10));
        ensure!(fits, expected: "a stack of {wanted} bytes, by the word of `pthread_getattr_np`", observed: "{seen}", look: "the attribute object that `Thread::create` passes: `pthread_attr_setstacksize`");
    }
    for (attributes, wanted) in [(PLAIN, "joinable"), (DETACHED, "detached")] {
        let seen = check.ask("`Thread::create`", || {
            let thread = Thread::create(
                &attributes,
                |()| {
                    // Somebody may detach it after `pthread_create`, as long as `create` has not returned.
                    GO.wait();
                    SEEN.store(if pthreads::own_attributes().1 { 2 } else { 1 }, SeqCst);
                },
                (),
            );
            GO.open();
            let error = created(thread).map(std::mem::forget).err();
            wait_for(|| error.is_some() || SEEN.load(SeqCst) != 0);
            until_alone();
            (error, SEEN.load(SeqCst))
        })?;
        let state = match seen {
            (Some(error), _) => error,
            (None, 2) => "detached".to_owned(),
            (None, _) => "joinable".to_owned(),
        };
        ensure!(state == wanted, expected: "a thread made with {attributes:?} is {wanted}", observed: "{state}", look: "the attribute object that `Thread::create` passes: `pthread_attr_setdetachstate`");
    }
    check.note("three stack sizes, both detach states");
    Ok(())
}

/// Adds to a counter when it goes.
struct Tally<'c>(&'c AtomicU32);

impl Drop for Tally<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// `exit` ends the thread from any depth, drops what is on the way, and its value comes out of `join`.
pub fn exit_works_from_any_depth(check: &mut Check) -> Outcome {
    static DROPPED: AtomicU32 = AtomicU32::new(0);
    static AFTER: AtomicU32 = AtomicU32::new(0);
    fn descend((depth, value): (u32, u64)) -> u64 {
        let _tally = Tally(&DROPPED);
        if depth == 0 {
            exit(value)
        }
        let value = descend((depth - 1, value));
        AFTER.fetch_add(1, SeqCst);
        value
    }
    for depth in [0, 1 + check.rng().below(300) as u32] {
        let value = check.rng().next_u64();
        let (joined, dropped, after, ended) = ask(
            check,
            &format!("`exit`, {depth} calls deep"),
            "`exit` ends one thread",
            "`exit`: unwind with `resume_unwind`, and catch that in the start routine; a foreign unwinding (`pthread_exit`) cannot pass `catch_unwind`",
            || {
                let thread = Thread::create(&PLAIN, descend, (depth, value));
                let joined = created(thread).and_then(|thread| told(thread.join()));
                let seen = (DROPPED.load(SeqCst), AFTER.load(SeqCst));
                // One that nobody joins.
                let ended = created(Thread::create(&DETACHED, descend, (depth, value))).map(drop);
                until_alone();
                (joined, seen.0, seen.1, ended)
            },
        )?;
        let (right, seen) = (Ok(value), format!("{joined:?}"));
        ensure!(joined == right, expected: "`Ok({value})` from `join` after `exit({value})`, {depth} calls deep", observed: "{seen}", look: "how the value of `exit` reaches `join`");
        ensure!(after == 0, expected: "nothing runs after `exit`", observed: "{after} functions went on", look: "`exit`: the thread ends there, whatever is still on its stack");
        let all = depth + 1;
        ensure!(dropped == all, expected: "the local variables of all {all} functions are dropped", observed: "those of {dropped}", look: "`exit`: unwind, do not jump or stop the thread");
        ensure!(ended.is_ok(), expected: "a detached thread may `exit` as well", observed: "{ended:?}", look: "`Thread::create`");
    }
    Ok(())
}

/// A panic stays in its thread; `join` tells its message.
pub fn a_panic_is_told_by_join(check: &mut Check) -> Outcome {
    let word = format!("{:x}", check.rng().next_u64());
    let (text, literal, odd, next) = ask(
        check,
        "`join` of a thread that panicked",
        "a panic ends its thread, not the process",
        "the C function that runs in the thread: a panic must be caught there (`catch_unwind`)",
        || {
            let join =
                |thread: std::io::Result<Thread<u8>>| created(thread).and_then(|thread| told(thread.join()));
            (
                join(Thread::create(&PLAIN, |word: String| panic_quietly(&word), word.clone())),
                join(Thread::create(&PLAIN, |()| std::panic::resume_unwind(Box::new("a literal")), ())),
                join(Thread::create(&PLAIN, |()| std::panic::resume_unwind(Box::new(7u8)), ())),
                join(Thread::create(&PLAIN, |()| 5, ())),
            )
        },
    )?;
    for (seen, wanted) in [(text, word.as_str()), (literal, "a literal"), (odd, "…")] {
        let right = Err(format!("Panicked({wanted:?})"));
        let seen_text = format!("{seen:?}");
        ensure!(seen == right, expected: "`Err(Panicked({wanted:?}))` from `join`", observed: "{seen_text}", look: "what the thread keeps of a panic: the payload is a `&str` or a `String`");
    }
    ensure!(next == Ok(5), expected: "the next thread works as if nothing had been", observed: "{next:?}", look: "`Thread::create`");
    Ok(())
}

/// What pthreads return, a positive errno, becomes the error; nothing is lost and nothing runs.
pub fn creation_errors_are_returned(check: &mut Check) -> Outcome {
    static DROPPED: AtomicU32 = AtomicU32::new(0);
    static RAN: AtomicU32 = AtomicU32::new(0);
    let look = "what `pthread_create` returns: 0, or a positive errno (never a negative number)";
    for errno in [libc::EAGAIN, libc::EPERM, libc::ENOMEM] {
        let (got, dropped, ran) = ask(
            check,
            &format!("`Thread::create` when `pthread_create` returns {errno}"),
            "an error from `create`",
            look,
            || {
                let captured = Tally(&DROPPED);
                pthreads::fail_create(0, errno);
                let thread = Thread::create(
                    &PLAIN,
                    move |argument: Tally<'static>| {
                        RAN.fetch_add(1, SeqCst);
                        drop((argument, captured));
                    },
                    Tally(&DROPPED),
                );
                // A handle of no thread is better forgotten than dropped.
                let got = thread.map(std::mem::forget).map_err(|error| error.raw_os_error().unwrap_or(0));
                (got, DROPPED.load(SeqCst), RAN.load(SeqCst))
            },
        )?;
        let seen = format!("{got:?}");
        ensure!(got == Err(errno), expected: "the error with errno {errno}, which `pthread_create` returned", observed: "{seen}", look: look);
        ensure!(ran == 0 && dropped == 2, expected: "no thread, and routine and argument dropped once each", observed: "the routine ran {ran} times; {dropped} drops instead of 2", look: "`Thread::create`: who owns the box when there is no thread");
    }
    let tiny = check.ask("`Thread::create` with a stack of one byte", || {
        let attributes = Attributes { stack_size: Some(1), detached: false };
        let thread = Thread::create(&attributes, |()| (), ());
        thread.map(std::mem::forget).map_err(|error| error.raw_os_error().unwrap_or(0))
    })?;
    let einval = libc::EINVAL;
    ensure!(tiny == Err(einval), expected: "EINVAL, {einval}, for a stack of one byte", observed: "{tiny:?}", look: "what `pthread_attr_setstacksize` returns");
    check.note("EAGAIN, EPERM and ENOMEM made by the harness, EINVAL by pthreads");
    Ok(())
}

/// A join that cannot be is an error, and a detached thread's identifier is not used.
pub fn join_errors_are_returned(check: &mut Check) -> Outcome {
    static GO: Gate = Gate::closed();
    static ITSELF: Mutex<Option<Thread<()>>> = Mutex::new(None);
    static SEEN: AtomicI32 = AtomicI32::new(-1);
    fn errno(joined: Result<(), JoinError>) -> i32 {
        match joined {
            Ok(()) => 0,
            Err(JoinError::Errno(errno)) => errno,
            Err(JoinError::Panicked(_)) => -2,
        }
    }
    let what = "`join` that `pthread_join` refuses";
    let look = "what `pthread_join` returns: 0, or a positive errno (never a negative number)";
    let (detached, joins, itself, refused) = ask(check, what, "an error from `join`", look, || {
        let before = pthreads::calls();
        let thread = Thread::create(&DETACHED, |()| GO.wait(), ());
        let detached = thread.map_or(-3, |thread| errno(thread.join()));
        let joins = before.since().joins;
        if let Ok(mut place) = ITSELF.lock() {
            *place = Thread::create(
                &PLAIN,
                |()| {
                    GO.wait();
                    let itself = ITSELF.lock().ok().and_then(|mut place| place.take());
                    SEEN.store(itself.map_or(-3, |itself| errno(itself.join())), SeqCst);
                },
                (),
            )
            .ok();
        }
        GO.open();
        wait_for(|| SEEN.load(SeqCst) != -1);
        pthreads::fail_join(libc::ESRCH);
        let refused = Thread::create(&PLAIN, |()| (), ()).map_or(-3, |thread| errno(thread.join()));
        until_alone();
        (detached, joins, SEEN.load(SeqCst), refused)
    })?;
    let (einval, deadlock, search) = (libc::EINVAL, libc::EDEADLK, libc::ESRCH);
    ensure!(joins == 0, expected: "`pthread_join` is not called for a detached thread: its identifier may be somebody else's by now", observed: "{joins} call", look: "`Thread::join` of a thread made with `detached: true`");
    ensure!(detached == einval, expected: "`Errno({einval})` (EINVAL) from `join` of a detached thread", observed: "errno {detached}", look: "`Thread::join` of a thread made with `detached: true`");
    ensure!(itself == deadlock, expected: "`Errno({deadlock})` (EDEADLK) from `join` in the thread itself", observed: "errno {itself} (0 means `Ok`)", look: look);
    ensure!(refused == search, expected: "`Errno({search})`, which `pthread_join` returned", observed: "errno {refused} (0 means `Ok`)", look: look);
    Ok(())
}

/// The ways out of a handle.
const WAYS: [&str; 6] = [
    "joined",
    "dropped while the thread runs",
    "dropped after the thread's end",
    "detached while the thread runs",
    "detached after the thread's end",
    "made detached",
];

/// Lets go of a handle in one of the ways; the thread has been told to end by then, or is told afterwards.
fn let_go<T: Send + 'static>(thread: Thread<T>, way: usize, tell: impl Fn()) {
    match way {
        0 => {
            tell();
            drop(thread.join());
        }
        1 | 5 => {
            drop(thread);
            tell();
        }
        2 => {
            tell();
            until_alone();
            drop(thread);
        }
        3 => {
            let _ = thread.detach();
            tell();
        }
        _ => {
            tell();
            until_alone();
            let _ = thread.detach();
        }
    }
    until_alone();
}

/// Routine, argument and value are dropped once each, whatever becomes of the handle.
pub fn everything_is_dropped_once(check: &mut Check) -> Outcome {
    static GO: Gate = Gate::closed();
    static ROUTINE: AtomicU32 = AtomicU32::new(0);
    static ARGUMENT: AtomicU32 = AtomicU32::new(0);
    static VALUE: AtomicU32 = AtomicU32::new(0);
    for (way, said) in WAYS.iter().enumerate() {
        let counts = ask(
            check,
            &format!("a thread that is {said}"),
            "nothing is dropped twice",
            "who owns routine, argument and value",
            || {
                let captured = Tally(&ROUTINE);
                let attributes = if way == 5 { DETACHED } else { PLAIN };
                let thread = Thread::create(
                    &attributes,
                    move |argument: Tally<'static>| {
                        GO.wait();
                        drop((argument, captured));
                        Tally(&VALUE)
                    },
                    Tally(&ARGUMENT),
                );
                if let Ok(thread) = thread {
                    let_go(thread, way, || GO.open());
                }
                vec![ROUTINE.load(SeqCst), ARGUMENT.load(SeqCst), VALUE.load(SeqCst)]
            },
        )?;
        for (what, count) in ["routine", "argument", "value"].iter().zip(&counts) {
            ensure!(*count == 1, expected: "the {what} of a thread that is {said} is dropped once", observed: "{count} times", look: "who owns the {what}: the thread, then whoever joins; nobody else if nobody joins");
        }
    }
    check.note(format!("threads {}", WAYS.join(", ")));
    Ok(())
}

/// Bytes of address space that this process has.
fn mapped() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split(' ').next().and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

/// Nobody's stack stays mapped, whatever became of the handle.
pub fn stacks_are_given_back(check: &mut Check) -> Outcome {
    static ENDED: AtomicUsize = AtomicUsize::new(0);
    const COUNT: usize = 16;
    const STACK: usize = 8 << 20;
    for way in [0, 1, 2, 3, 4, 5] {
        let said = WAYS[way];
        let (grown, calls, failed) = check.ask(&format!("{COUNT} threads that are {said}"), || {
            let one = || {
                let attributes = Attributes { stack_size: Some(STACK), detached: way == 5 };
                let go: &'static Gate = Box::leak(Box::new(Gate::closed()));
                let thread = Thread::create(
                    &attributes,
                    |go: &'static Gate| {
                        go.wait();
                        ENDED.fetch_add(1, SeqCst);
                    },
                    go,
                );
                thread.map(|thread| let_go(thread, way, || go.open())).is_err()
            };
            // The first one brings memory that stays: its stack for reuse, a place for `malloc`.
            let mut failed = one();
            let (before, calls) = (mapped(), pthreads::calls());
            (0..COUNT).for_each(|_| failed |= one());
            let calls = calls.since();
            (mapped().saturating_sub(before), (calls.joinable, calls.released), failed)
        })?;
        ensure!(!failed, expected: "{COUNT} threads, one after the other", observed: "an error from `create`", look: "`Thread::create`: what an ended thread has left; a thread that is neither joined nor detached keeps its stack");
        let (mib, whole) = (grown >> 20, (COUNT * STACK) >> 20);
        let (joinable, released) = calls;
        ensure!(grown < COUNT * STACK / 2, expected: "the stacks of {COUNT} threads that are {said}, 8 MiB each, are given back", observed: "{mib} of {whole} MiB are still mapped; {released} of {joinable} joinable threads were joined or detached", look: "`Thread::detach`, `drop`: `pthread_detach` or `pthread_join`, once for each joinable thread");
        ensure!(released == joinable, expected: "each of {joinable} joinable threads is joined or detached", observed: "{released} were", look: "`Thread::detach`, `drop`");
    }
    check.note("16 threads for each way out of a handle");
    Ok(())
}
