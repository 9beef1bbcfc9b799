//! Part 3: thread safety.

use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Barrier, Mutex};
use std::thread;

use harness::{Check, Exploration, JoinHandle, Model, Outcome, Rng, Shared, Stop, ensure, observe};
use threads::{Once, ThreadSpecific, Tokenizer};

use super::{Gate, panic_quietly, tid, until_alone, until_asleep, wait_for};

/// What `strtok_r` does, character by character.
fn oracle(text: &str, delimiters: &[String]) -> Vec<Option<String>> {
    let mut rest = text.chars().peekable();
    let next = |delimiters: &String| {
        while rest.next_if(|&c| delimiters.contains(c)).is_some() {}
        let mut token = String::new();
        for c in rest.by_ref() {
            if delimiters.contains(c) {
                break;
            }
            token.push(c);
        }
        (!token.is_empty()).then_some(token)
    };
    delimiters.iter().map(next).collect()
}

fn random_text(rng: &mut Rng, alphabet: &[char], longest: u64) -> String {
    (0..rng.below(longest + 1)).map(|_| alphabet[rng.below(alphabet.len() as u64) as usize]).collect()
}

/// Each token is that of `strtok_r`, also when the delimiters change from call to call.
pub fn tokens_are_right(check: &mut Check) -> Outcome {
    let mut rng = check.rng().clone();
    let mut student =
        check.respondent("`Tokenizer::next_token`", |(text, delimiters): (String, Vec<String>)| {
            let mut tokens = Tokenizer::new(&text);
            let next = |delimiters: &String| tokens.next_token(delimiters).map(str::to_owned);
            delimiters.iter().map(next).collect::<Vec<_>>()
        })?;
    for round in 0..300 {
        let text = random_text(&mut rng, &['a', 'b', 'é', ' ', ',', ';', '→'], 24);
        let one = random_text(&mut rng, &[' ', ',', ';', '→'], 3);
        let change = rng.chance(50);
        let delimiters: Vec<String> = (0..12)
            .map(|_| if change { random_text(&mut rng, &[' ', ',', ';', '→'], 2) } else { one.clone() })
            .collect();
        let right = oracle(&text, &delimiters);
        let seen = student.ask((text.clone(), delimiters.clone()))?;
        let Some(place) = (0..right.len()).find(|&place| seen.get(place) != Some(&right[place])) else {
            continue;
        };
        let (right, seen, said) = (&right[place], &seen.get(place).cloned().flatten(), &delimiters[..=place]);
        return Err(Stop::failed(
            format!("token {place} of {text:?} is {right:?}, with delimiters {said:?} in the calls so far"),
            format!("{seen:?} (text {round} of 300)"),
            "`Tokenizer::next_token`: skip delimiters, take the token, use up one delimiter",
        ));
    }
    check.note("300 random texts, with ASCII and wider characters");
    Ok(())
}

/// Tokenizers do not share anything: nested, side by side in two threads, or handed from one thread to another.
pub fn tokenizers_keep_apart(check: &mut Check) -> Outcome {
    let look = "where `Tokenizer` keeps its place: in the value, not in a `static` or per thread";
    let (nested, threads, moved) = check.ask("several `Tokenizer`s", || {
        let mut nested = Vec::new();
        let mut lines = Tokenizer::new("a b\nc d\ne");
        while let Some(line) = lines.next_token("\n").filter(|_| nested.len() < 20) {
            let mut words = Tokenizer::new(line);
            while let Some(word) = words.next_token(" ").filter(|_| nested.len() < 20) {
                nested.push(word.to_owned());
            }
        }
        // Two threads, token by token in turn.
        let turn = Barrier::new(2);
        let split = |text: &'static str| {
            let mut tokens = Tokenizer::new(text);
            let mut all = Vec::new();
            for _ in 0..4 {
                turn.wait();
                all.push(tokens.next_token(",").unwrap_or("None").to_owned());
            }
            all.join(" ")
        };
        let threads = thread::scope(|scope| {
            let other = scope.spawn(|| split("1,2,3,4"));
            let one = split("one,two,three,four");
            (one, other.join().unwrap_or_default())
        });
        let mut tokens = Tokenizer::new("here there");
        let mut moved = vec![tokens.next_token(" ").unwrap_or("None").to_owned()];
        thread::scope(|scope| {
            let rest = scope.spawn(move || tokens.next_token(" ").unwrap_or("None").to_owned());
            moved.extend(rest.join());
        });
        (nested, threads, moved)
    })?;
    ensure!(nested == ["a", "b", "c", "d", "e"], expected: "the words a b c d e of three lines, by one tokenizer for lines and one for words in the same thread", observed: "{nested:?}", look: look);
    let right = ("one two three four".to_owned(), "1 2 3 4".to_owned());
    ensure!(threads == right, expected: "two threads, taking turns, get {right:?}", observed: "{threads:?}", look: look);
    ensure!(moved == ["here", "there"], expected: "a tokenizer begun in one thread goes on in another: \"here\", then \"there\"", observed: "{moved:?}", look: look);
    Ok(())
}

/// Each thread makes its own value, once, and keeps finding it.
pub fn each_thread_has_its_own_value(check: &mut Check) -> Outcome {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let rows = check.ask("`ThreadSpecific::with` in 4 threads", || {
        let (Ok(value), Ok(second)) = (
            ThreadSpecific::new(|| Cell::new((MADE.fetch_add(1, SeqCst), tid(), 0u64))),
            ThreadSpecific::new(|| Cell::new((MADE.fetch_add(1, SeqCst), tid(), 0u64))),
        ) else {
            return Vec::new();
        };
        let all = Barrier::new(4);
        let life = |number: u64| {
            value.with(|cell| cell.set((cell.get().0, cell.get().1, number)));
            second.with(|cell| cell.set((cell.get().0, cell.get().1, number + 100)));
            all.wait();
            // A call inside a call finds the same value.
            let (made, maker, kept) = value.with(|_| value.with(Cell::get));
            let other = second.with(Cell::get);
            all.wait();
            (vec![made, other.0], maker, tid(), kept, other.2)
        };
        thread::scope(|scope| {
            let others: Vec<_> = (1..4).map(|number| scope.spawn(move || life(number))).collect();
            let mut rows = vec![life(0)];
            rows.extend(others.into_iter().filter_map(|other| other.join().ok()));
            rows
        })
    })?;
    ensure!(rows.len() == 4, expected: "`ThreadSpecific::new` and `with` in 4 threads", observed: format!("answers from {} threads", rows.len()), look: "`ThreadSpecific::new`");
    for (number, (_, maker, tid, kept, other)) in rows.iter().enumerate() {
        let number = number as u64;
        ensure!(*kept == number, expected: "thread {number} finds the value it has set, {number}", observed: "{kept}", look: "`ThreadSpecific::with`: one value for each thread (`pthread_setspecific`)");
        let right = number + 100;
        ensure!(*other == right, expected: "a second variable is independent: {right} in thread {number}", observed: "{other}", look: "`ThreadSpecific::new`: a key for each variable");
        ensure!(maker == tid, expected: "`make` is called in the thread that asks, {tid}", observed: "it was called in thread {maker}", look: "`ThreadSpecific::with`: each thread makes its own value, the first time it asks");
    }
    let mut made: Vec<u64> = rows.iter().flat_map(|row| row.0.clone()).collect();
    made.sort_unstable();
    ensure!(made == [0, 1, 2, 3, 4, 5, 6, 7], expected: "`make` is called once for each of 4 threads and 2 variables", observed: "the values in use are those of calls {made:?}", look: "`ThreadSpecific::with`: by which key is a value found: the variable and the thread");
    Ok(())
}

/// Where values were dropped.
static DROPPED_BY: Mutex<Vec<i32>> = Mutex::new(Vec::new());

struct Farewell;

impl Drop for Farewell {
    fn drop(&mut self) {
        if let Ok(mut dropped) = DROPPED_BY.lock() {
            dropped.push(tid());
        }
    }
}

/// Values go with their thread, and keys with their variable.
pub fn values_end_with_their_thread(check: &mut Check) -> Outcome {
    let (threads, keys) = check.ask("`ThreadSpecific` at the end of threads", || {
        let Ok(value) = ThreadSpecific::new(|| Farewell) else { return Default::default() };
        value.with(|_| ());
        let dropped = || DROPPED_BY.lock().map(|dropped| dropped.clone()).unwrap_or_default();
        let other = thread::spawn({
            let value: &'static ThreadSpecific<Farewell> = Box::leak(Box::new(value));
            move || {
                value.with(|_| ());
                (tid(), std::ptr::from_ref(value) as usize)
            }
        });
        let Ok((other, value)) = other.join() else { return Default::default() };
        let at_its_end = dropped();
        // SAFETY: the box leaked above; the thread that used it has ended.
        drop(unsafe { Box::from_raw(value as *mut ThreadSpecific<Farewell>) });
        let in_the_end = dropped();
        // More variables, one after the other, than there are keys.
        let mut keys = 0;
        while keys < 1100 && ThreadSpecific::new(|| 1u8).is_ok_and(|value| value.with(|_| true)) {
            keys += 1;
        }
        ((vec![other], at_its_end, vec![tid()], in_the_end), keys)
    })?;
    let (other, at_its_end, main, in_the_end) = threads;
    ensure!(at_its_end == other, expected: "when thread {other:?} has ended, its value has been dropped once, in that thread; those of others live", observed: "values were dropped in the threads {at_its_end:?}", look: "`ThreadSpecific::new`: the destructor that `pthread_key_create` takes");
    let right = [other, main].concat();
    ensure!(in_the_end == right, expected: "the value of thread {right:?}, the last, is dropped with the variable itself", observed: "values were dropped in the threads {in_the_end:?}", look: "`drop` of `ThreadSpecific`: `pthread_key_delete` runs no destructors");
    ensure!(keys == 1100, expected: "1100 variables, made and dropped one after the other", observed: "after {keys} there were no more keys (EAGAIN)", look: "`drop` of `ThreadSpecific`: `pthread_key_delete`");
    Ok(())
}

/// A `Once` and what it guards: plain memory, which no two threads may touch at the same time.
struct Global {
    once: Once,
    runs: AtomicU32,
    value: UnsafeCell<u32>,
}

// SAFETY: whether `once` makes it so is what the check is about.
unsafe impl Sync for Global {}

impl Global {
    fn new() -> Global {
        Global { once: Once::new(), runs: AtomicU32::new(0), value: UnsafeCell::new(0) }
    }

    fn initialise(&self) {
        assert_eq!(self.runs.fetch_add(1, Relaxed), 0, "2 callers ran their `f`");
        // SAFETY: nobody else runs an `f`, and nobody reads before it has returned.
        unsafe { *self.value.get() = 7 };
    }

    fn assert_initialised(&self, who: &str) {
        // SAFETY: nobody writes any more.
        let value = unsafe { *self.value.get() };
        assert_eq!(value, 7, "{who}, and `f` has not written yet");
    }

    /// What everybody does who needs the value.
    fn call(&self) {
        self.once.call_once(|| self.initialise());
        self.assert_initialised("`call_once` returned");
    }

    fn look(&self) {
        if self.once.is_completed() {
            self.assert_initialised("`is_completed()` is true");
        }
    }

    /// A call whose `f` fails, before it has done anything.
    fn fail(&self) {
        let failed = AssertUnwindSafe(|| self.once.call_once(|| panic_quietly("on purpose, by the check")));
        // When another's `f` has run before, this one does not.
        let _ = catch_unwind(failed);
    }
}

/// In all interleavings each `f` runs once, and nobody returns before it has finished. A `Once` that waits by calls which
/// cannot be explored (std's own locks, pthreads) races on real processors instead.
pub fn once_runs_once(check: &mut Check) -> Outcome {
    match explore_once(check) {
        Err(Stop::Inconclusive(why)) => {
            let why = why.lines().next().unwrap_or_default();
            check.note(format!("not in all interleavings: {why}"));
            race_for_once(check)
        }
        outcome => outcome,
    }
}

fn explore_once(check: &Check) -> Outcome {
    type Life = (&'static str, fn(&Global));
    let explore = |what: &str, lives: &'static [Life]| {
        check.explore(what, Exploration::default(), |model: &Model| {
            let global = model.share(Global::new());
            let threads: Vec<_> =
                lives.iter().map(|&(name, life)| model.spawn(name, move || life(global))).collect();
            threads.into_iter().for_each(JoinHandle::join);
            global.call();
            assert_eq!(global.runs.load(Relaxed), 1, "how many ran their `f`");
            assert!(global.once.is_completed(), "`is_completed()` is false after `call_once`");
        })
    };
    explore(
        "two threads call `call_once`, a third `is_completed`",
        &[("thread 1", Global::call), ("thread 2", Global::call), ("thread 3", Global::look)],
    )?;
    explore(
        "two threads call `call_once`, and the `f` of the first panics",
        &[("thread 1", Global::fail), ("thread 2", Global::call)],
    )
}

/// Threads run through a row of `Once`s: each `f` runs once, and nobody returns before it has finished.
fn race_for_once(check: &Check) -> Outcome {
    const ROW: usize = 4000;
    static ROW_OF_ONCE: [Once; ROW] = [const { Once::new() }; ROW];
    static RUNS: [AtomicU32; ROW] = [const { AtomicU32::new(0) }; ROW];
    static WRITTEN: [AtomicU32; ROW] = [const { AtomicU32::new(0) }; ROW];
    let (early, worst, incomplete) = check.ask("`Once::call_once` by 4 threads", || {
        let early = AtomicU32::new(0);
        let all = Barrier::new(4);
        let life = || {
            all.wait();
            for place in 0..ROW {
                ROW_OF_ONCE[place].call_once(|| {
                    RUNS[place].fetch_add(1, Relaxed);
                    (0..20).for_each(|_| std::hint::spin_loop());
                    WRITTEN[place].store(1, Relaxed);
                });
                early.fetch_add(u32::from(WRITTEN[place].load(Relaxed) == 0), Relaxed);
            }
        };
        thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(life))));
        let worst = RUNS
            .iter()
            .map(|runs| runs.load(SeqCst))
            .fold((1, 0), |(least, most), runs| (runs.min(least), runs.max(most)));
        let incomplete = ROW_OF_ONCE.iter().filter(|once| !once.is_completed()).count();
        (early.load(SeqCst), worst, incomplete)
    })?;
    let (least, most) = worst;
    ensure!(least == 1 && most == 1, expected: "one `f` runs for each `Once`", observed: "on one {least}, on another {most} of 4 ran", look: "`Once::call_once`: looking and claiming must be one step (`compare_exchange`)");
    ensure!(early == 0, expected: "no call returns before the `f` that runs has finished", observed: "{early} calls did", look: "`Once::call_once`: `done` is set after `f`, and others wait for it");
    ensure!(incomplete == 0, expected: "`is_completed()` is true afterwards", observed: "false for {incomplete} of {ROW}", look: "`Once::is_completed`: what is remembered when `f` has returned");
    check.note("4 threads, 4000 times");
    Ok(())
}

/// What a caller that has to wait shows of itself.
struct Waiter {
    tid: AtomicI32,
    ran: AtomicU32,
    saw: AtomicU32,
    returned: AtomicU32,
}

/// A first caller whose `f` waits at a gate, and two others.
struct Scene {
    inside: AtomicU32,
    gate: Gate,
    written: AtomicU32,
    completed: AtomicU32,
    waiters: [Waiter; 2],
}

fn scene() -> Shared<Scene> {
    let waiter = || Waiter {
        tid: AtomicI32::new(0),
        ran: AtomicU32::new(0),
        saw: AtomicU32::new(0),
        returned: AtomicU32::new(0),
    };
    Shared::new(Scene {
        inside: AtomicU32::new(0),
        gate: Gate::closed(),
        written: AtomicU32::new(0),
        completed: AtomicU32::new(0),
        waiters: [waiter(), waiter()],
    })
}

impl Scene {
    /// In a worker: one thread is inside `f` until the gate opens, then the others call.
    fn play(&self, first_panics: bool) {
        static ONCE: Once = Once::new();
        thread::scope(|scope| {
            let first = scope.spawn(|| {
                ONCE.call_once(|| {
                    self.inside.store(1, SeqCst);
                    self.gate.wait();
                    if first_panics {
                        panic_quietly("on purpose, by the check");
                    }
                    self.written.store(1, SeqCst);
                });
            });
            wait_for(|| self.inside.load(SeqCst) == 1);
            self.completed.fetch_max(ONCE.is_completed().into(), SeqCst);
            for waiter in &self.waiters {
                scope.spawn(|| {
                    waiter.tid.store(tid(), SeqCst);
                    ONCE.call_once(|| {
                        waiter.ran.store(1, SeqCst);
                        self.written.store(1, SeqCst);
                    });
                    waiter.saw.store(self.written.load(SeqCst), SeqCst);
                    waiter.returned.store(1, SeqCst);
                });
            }
            // The panic is known; the scope shall not tell it again.
            let _ = first.join();
        });
        self.completed.fetch_or(u32::from(ONCE.is_completed()) << 1, SeqCst);
        until_alone();
    }

    fn returned(&self) -> usize {
        self.waiters.iter().filter(|waiter| waiter.returned.load(SeqCst) == 1).count()
    }

    fn until_all_wait(&self, check: &Check, pid: i32) -> Outcome {
        let tids = || self.waiters.iter().map(|waiter| waiter.tid.load(SeqCst)).collect::<Vec<_>>();
        check.wait_until("the first caller is in its `f`, and two others call", || {
            tids().iter().all(|&tid| tid != 0) || observe::state_of(pid).is_none_or(|state| state == 'Z')
        })?;
        until_asleep(
            check,
            pid,
            &tids(),
            || self.returned() > 0,
            "a caller of `call_once` while another's `f` runs",
            "`Once::call_once`: how the others wait (`FUTEX_WAIT`)",
        )
    }
}

/// While an `f` runs, other callers sleep; afterwards all return, and see what it wrote.
pub fn once_makes_others_wait_asleep(check: &mut Check) -> Outcome {
    let scene = scene();
    let process = check.spawn("`Once::call_once` by three threads", || scene.play(false))?;
    scene.until_all_wait(check, process.pid())?;
    scene.gate.open();
    let pid = process.pid();
    check.wait_until("the two callers that slept return, after the first one's `f` has returned", || {
        scene.returned() == 2 || observe::state_of(pid).is_none_or(|state| state == 'Z')
    })?;
    process.join()?;
    let ran: u32 = scene.waiters.iter().map(|waiter| waiter.ran.load(SeqCst)).sum();
    ensure!(ran == 0, expected: "one `f` runs, that of the first caller", observed: "{ran} more ran", look: "`Once::call_once`: what a caller does after it has waited");
    let saw: u32 = scene.waiters.iter().map(|waiter| waiter.saw.load(SeqCst)).sum();
    ensure!(saw == 2, expected: "both callers that waited see what `f` wrote", observed: "{saw} of 2 did", look: "`Once::call_once`: until when do the others wait?");
    let completed = scene.completed.load(SeqCst);
    ensure!(completed == 2, expected: "`is_completed()` is false while `f` runs and true afterwards", observed: format!("{} and {}", completed & 1 == 1, completed & 2 == 2), look: "`Once::is_completed`");
    Ok(())
}

/// When an `f` panics, one of those that wait runs its own.
pub fn once_recovers_from_a_panic(check: &mut Check) -> Outcome {
    let scene = scene();
    let process =
        check.spawn("`Once::call_once` by three threads, the first of which panics", || scene.play(true))?;
    scene.until_all_wait(check, process.pid())?;
    scene.gate.open();
    check.wait_until("one of the two callers that slept runs its `f`, and both return, after the first one's `f` has panicked", || {
        scene.returned() == 2 || observe::state_of(process.pid()).is_none_or(|state| state == 'Z')
    })?;
    let pid = process.pid();
    ensure!(scene.returned() == 2, expected: "a panic in `f` goes on to its caller, and costs nobody else anything", observed: "process {pid} ended", look: "`Once::call_once` when `f` panics");
    process.join()?;
    let ran: u32 = scene.waiters.iter().map(|waiter| waiter.ran.load(SeqCst)).sum();
    ensure!(ran == 1, expected: "one of the two callers that waited runs its `f`", observed: "{ran} did", look: "`Once::call_once` when `f` panics: the state goes back to new (in a `drop`), and those that wait are woken");
    let completed = scene.completed.load(SeqCst);
    ensure!(completed == 2, expected: "`is_completed()` is true after the second `f` only", observed: "{completed:b}", look: "`Once::is_completed`");
    Ok(())
}
