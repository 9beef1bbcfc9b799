//! Part 3: a segment that many processes make together; who may return when.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use harness::{Check, Outcome, Shared, SharedSlice, Stop, Student, ensure};
use shared_memory::{Mapping, open_or_create};

use crate::traced::settle;
use crate::trusted::{Name, contents, pattern, posix_works, told, went_well, went_wrong};

/// What happened to one segment, seen by everybody.
pub struct Board {
    /// How often `initialise` was called, and how often it came to its end.
    pub runs: AtomicU32,
    pub finished: AtomicU32,
    /// Calls of `initialise` that got other bytes than zeros.
    pub dirty: AtomicU32,
    /// How each process came back.
    pub answers: [AtomicU32; 8],
    /// 1: somebody stands in the middle of `initialise`; 2: he may go on.
    pub gate: AtomicU32,
}

/// How a call came back, in [`Board::answers`].
pub mod answer {
    pub const NONE: u32 = 0;
    pub const GOOD: u32 = 1;
    pub const EARLY: u32 = 2;
    pub const INCOMPLETE: u32 = 3;
    pub const LENGTH: u32 = 4;
    pub const PANIC: u32 = 5;
    /// And the errno.
    pub const ERROR: u32 = 1000;
}

impl Board {
    pub fn new() -> Board {
        let zero = || AtomicU32::new(0);
        Board {
            runs: zero(),
            finished: zero(),
            dirty: zero(),
            answers: std::array::from_fn(|_| zero()),
            gate: zero(),
        }
    }

    pub fn answer(&self, who: usize) -> u32 {
        self.answers[who].load(SeqCst)
    }
}

/// One segment to be made: its name, its contents, its board.
pub struct Race {
    pub name: Name,
    pub pattern: Vec<u8>,
    pub board: Shared<Board>,
}

/// The last bytes of the segment are a counter that every process adds 1 to; all must find the same.
const COUNTER: usize = 8;

impl Race {
    pub fn new(check: &mut Check, len: usize) -> Race {
        let pattern = pattern(check, len);
        Race { name: Name::new(check), pattern, board: Shared::new(Board::new()) }
    }

    /// The segment's length: a multiple of 8, so that the counter is aligned.
    pub fn len(&self) -> usize {
        self.pattern.len().next_multiple_of(8) + COUNTER
    }

    /// Process `who` calls `open_or_create` and looks at what it gets. `middle` runs in the middle of `initialise`.
    /// The mapping stays to the end of the process.
    pub fn call(&self, who: usize, middle: impl FnOnce() -> io::Result<()>) {
        let board = &self.board;
        let answer = catch_unwind(AssertUnwindSafe(|| {
            open_or_create(self.name.text(), self.len(), |bytes| {
                board.runs.fetch_add(1, SeqCst);
                if bytes.len() != self.len() || bytes.iter().any(|&byte| byte != 0) {
                    board.dirty.fetch_add(1, SeqCst);
                }
                let half = self.pattern.len() / 2;
                bytes[..half].copy_from_slice(&self.pattern[..half]);
                middle()?;
                bytes[half..self.pattern.len()].copy_from_slice(&self.pattern[half..]);
                board.finished.fetch_add(1, SeqCst);
                Ok(())
            })
        }));
        let finished = board.finished.load(SeqCst);
        board.answers[who].store(
            match answer {
                Err(payload) => {
                    std::mem::forget(payload);
                    answer::PANIC
                }
                Ok(Err(error)) => answer::ERROR + error.raw_os_error().unwrap_or(0).cast_unsigned(),
                Ok(Ok(mapping)) => {
                    let verdict = self.look(&mapping, finished);
                    std::mem::forget(mapping);
                    verdict
                }
            },
            SeqCst,
        );
    }

    fn look(&self, mapping: &Mapping, finished: u32) -> u32 {
        if mapping.len() != self.len() {
            return answer::LENGTH;
        }
        if finished == 0 {
            return answer::EARLY;
        }
        if contents(mapping, self.pattern.len()) != self.pattern {
            return answer::INCOMPLETE;
        }
        self.counter(mapping).fetch_add(1, SeqCst);
        answer::GOOD
    }

    fn counter<'a>(&self, mapping: &'a Mapping) -> &'a AtomicU64 {
        // SAFETY: the last eight of the mapping's bytes, aligned as the mapping is, which is page-aligned.
        unsafe { &*mapping.as_ptr().wrapping_add(self.len() - COUNTER).cast::<AtomicU64>() }
    }

    /// What is wrong with the answer of process `who`, in words; `None` if nothing is.
    pub fn wrong(&self, who: usize) -> Option<String> {
        Some(match self.board.answer(who) {
            answer::GOOD => return None,
            answer::NONE => "never returned".into(),
            answer::EARLY => "returned before `initialise` was through".into(),
            answer::INCOMPLETE => "returned with other bytes than `initialise` had written".into(),
            answer::LENGTH => "returned a mapping of another length".into(),
            answer::PANIC => "panicked".into(),
            error => format!(
                "returned the error \"{}\"",
                io::Error::from_raw_os_error((error - answer::ERROR).cast_signed())
            ),
        })
    }

    /// Where to look when that is wrong.
    fn place(&self, who: usize) -> &'static str {
        const EXISTS: u32 = answer::ERROR + libc::EEXIST.cast_unsigned();
        const INTERRUPTED: u32 = answer::ERROR + libc::EINTR.cast_unsigned();
        match self.board.answer(who) {
            answer::EARLY => {
                "`open_or_create`: when the segment counts as initialised; only `Ok` of `initialise` may say so"
            }
            answer::INCOMPLETE => "`open_or_create`: what tells the others that every byte is written",
            EXISTS => "`open_or_create`: with `O_EXCL` one wins; whoever comes second opens what is there",
            INTERRUPTED => "`open_or_create`: a wait that a signal ends (EINTR) is repeated",
            _ => "`open_or_create`",
        }
    }

    /// Asks in one more process how many calls have found this segment before.
    fn visitors(&self, check: &Check) -> Result<u64, Stop> {
        let found = check.ask("`open_or_create` when the segment is there", || {
            told(open_or_create(self.name.text(), self.len(), |_| {
                Err(io::Error::other("`initialise` was called"))
            }))
            .map(|mapping| {
                let count =
                    if mapping.len() == self.len() { self.counter(&mapping).load(SeqCst) } else { u64::MAX };
                std::mem::forget(mapping);
                count
            })
        })?;
        went_well(found, "`open_or_create` for a segment that is initialised")
    }
}

/// In the middle of `initialise`: say so, and wait until the gate is opened.
pub fn wait_in_the_middle(board: &Board) -> io::Result<()> {
    board.gate.store(1, SeqCst);
    while board.gate.load(SeqCst) < 2 {
        std::thread::sleep(Duration::from_micros(50));
    }
    Ok(())
}

/// Four processes, many names, all at once: one initialises each segment, and all get the same memory.
pub fn one_of_many_initialises(check: &mut Check) -> Outcome {
    const PROCESSES: usize = 4;
    const ROUNDS: usize = 40;
    posix_works(check)?;
    let races: Vec<Race> = (0..ROUNDS)
        .map(|_| {
            let len = 1 + check.rng().below(10_000) as usize;
            Race::new(check, len)
        })
        .collect();
    let arrived: SharedSlice<AtomicU32> = Shared::slice(ROUNDS, |_| AtomicU32::new(0));
    check.workers(PROCESSES, "`open_or_create` in several processes at once", |worker| {
        for (race, arrived) in races.iter().zip(arrived.iter()) {
            arrived.fetch_add(1, SeqCst);
            while arrived.load(SeqCst) < PROCESSES as u32 {
                std::thread::yield_now();
            }
            race.call(worker.index(), || Ok(()));
            worker.progress();
        }
    })?;
    for (round, race) in races.iter().enumerate() {
        let runs = race.board.runs.load(SeqCst);
        for who in 0..PROCESSES {
            if let Some(wrong) = race.wrong(who) {
                let observed =
                    format!("in round {round} process {who} {wrong}; `initialise` was called {runs} times");
                return Err(Stop::failed(
                    "each of several processes that call `open_or_create` at once gets the initialised segment",
                    observed,
                    race.place(who),
                ));
            }
        }
        ensure!(runs == 1, expected: "`initialise` runs in one of {PROCESSES} processes that call `open_or_create` at once", observed: "in round {round} it ran {runs} times", look: "`open_or_create`: how it is decided who initialises, and what is looked at again after waiting");
        let dirty = race.board.dirty.load(SeqCst);
        ensure!(dirty == 0, expected: "`initialise` gets as many zero bytes as were asked for", observed: "other bytes, or another number of them", look: "`open_or_create`");
    }
    for race in [&races[0], &races[ROUNDS - 1]] {
        let visitors = race.visitors(check)?;
        ensure!(visitors == PROCESSES as u64, expected: "all {PROCESSES} processes, and one that comes later, have the same memory: {PROCESSES} have left their mark in it", observed: "{visitors} marks", look: "`open_or_create`: which object each of them maps, and `MAP_SHARED`");
    }
    check.note(format!("{ROUNDS} segments, {PROCESSES} processes each"));
    Ok(())
}

/// Starts process `who` in the background.
pub fn start(check: &Check, race: &Race, who: usize, what: &str) -> Result<Student<()>, Stop> {
    check.spawn(what, || race.call(who, || Ok(())))
}

/// Waits until a worker has ended or plainly waits.
pub fn settled(student: &mut Student<()>) -> bool {
    let pid = student.pid();
    settle(pid, || student.ended())
}

/// While the initialiser stands in the middle nobody returns, not even when a signal interrupts his wait.
pub fn nobody_is_early(check: &mut Check) -> Outcome {
    posix_works(check)?;
    let len = 1_000 + check.rng().below(9_000) as usize;
    let race = Race::new(check, len);
    let board = &race.board;
    let first = check.spawn("the process that initialises", || {
        race.call(0, || wait_in_the_middle(board));
        // It stays: its end must not be what frees the others.
        while board.gate.load(SeqCst) < 3 {
            std::thread::sleep(Duration::from_micros(50));
        }
    })?;
    check.wait_until("`initialise` is called", || {
        race.board.gate.load(SeqCst) == 1 || race.board.answer(0) != 0
    })?;
    let mut others = Vec::new();
    for who in 1..4 {
        others.push(check.spawn("a process that comes while another one initialises", || {
            interruptible();
            race.call(who, || Ok(()));
        })?);
    }
    others.iter_mut().for_each(|other| _ = settled(other));
    for other in &others {
        // SAFETY: a worker of ours, not reaped before it is joined; it has a handler.
        unsafe { libc::kill(other.pid(), libc::SIGUSR1) };
    }
    others.iter_mut().for_each(|other| _ = settled(other));
    let early = (1..4).find_map(|who| match race.board.answer(who) {
        answer::NONE => None,
        answer::GOOD => Some("returned before `initialise` was through".to_string()),
        _ => race.wrong(who),
    });
    board.gate.store(2, SeqCst);
    let what = "the processes that waited have come back; `initialise` is through, and its process lives on";
    check.wait_until(what, || others.iter_mut().all(|other| other.ended()))?;
    board.gate.store(3, SeqCst);
    first.join()?;
    for other in others {
        other.join()?;
    }
    if let Some(how) = early {
        return Err(Stop::failed(
            "while one process is in the middle of `initialise`, the others wait, also when a signal handler runs meanwhile",
            format!("another process {how}"),
            "`open_or_create`: what the others wait for, when the flag is set, and what an interrupted wait (EINTR) leads to",
        ));
    }
    everybody_is_content(&race, 0..4, 1)
}

/// This process gets a handler for SIGUSR1 that does nothing but interrupt.
fn interruptible() {
    extern "C" fn nothing(_: libc::c_int) {}
    // SAFETY: an all-zero sigaction is valid: no SA_RESTART, an empty mask; the handler does nothing.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as *const () as usize;
        libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut());
    }
}

/// All of these processes got the whole segment, and `initialise` ran so often.
pub fn everybody_is_content(race: &Race, who: std::ops::Range<usize>, runs: u32) -> Outcome {
    for who in who {
        if let Some(wrong) = race.wrong(who) {
            let observed = format!("process {who} {wrong}");
            return Err(Stop::failed(
                "each process gets the initialised segment in the end",
                observed,
                race.place(who),
            ));
        }
    }
    let (seen, dirty) = (race.board.runs.load(SeqCst), race.board.dirty.load(SeqCst));
    ensure!(seen == runs, expected: "`initialise` is called so often: {runs}", observed: "it was called so often: {seen}", look: "`open_or_create`: what is looked at again after waiting");
    ensure!(dirty == 0, expected: "`initialise` gets zero bytes", observed: "it got what a predecessor had left, or another number of bytes", look: "`open_or_create`: the bytes that a dead initialiser has written");
    Ok(())
}

/// An error or a panic goes to its own caller; a waiting process takes over while that caller lives on.
pub fn a_failed_initialiser_gives_way(check: &mut Check) -> Outcome {
    posix_works(check)?;
    for panics in [false, true] {
        let how = if panics { "panics" } else { "returns an error" };
        let race = Race::new(check, 5_000);
        let board = &race.board;
        let first = check.spawn("the process whose `initialise` fails", || {
            race.call(0, || {
                wait_in_the_middle(board)?;
                if panics {
                    resume_unwind(Box::new("on purpose, by the check"));
                }
                Err(io::Error::from_raw_os_error(libc::EDOM))
            });
            // It stays: its end must not be what frees the others.
            while board.gate.load(SeqCst) < 3 {
                std::thread::sleep(Duration::from_micros(50));
            }
        })?;
        check
            .wait_until("`initialise` is called", || board.gate.load(SeqCst) == 1 || board.answer(0) != 0)?;
        let mut second = start(check, &race, 1, "a process that waits")?;
        settled(&mut second);
        board.gate.store(2, SeqCst);
        let what = format!(
            "the process that waits has taken over from one whose `initialise` {how}, and who lives on"
        );
        check.wait_until(&what, || second.ended())?;
        board.gate.store(3, SeqCst);
        second.join()?;
        first.join()?;
        let wanted = if panics { answer::PANIC } else { answer::ERROR + libc::EDOM.cast_unsigned() };
        let seen = race.wrong(0).unwrap_or("got the segment".into());
        ensure!(board.answer(0) == wanted, expected: "when `initialise` {how}, that is what its own caller gets", observed: "it {seen}", look: "`open_or_create`");
        everybody_is_content(&race, 1..2, 2)?;
    }
    Ok(())
}

/// Waiting has no time limit.
pub fn a_slow_initialiser_is_not_robbed(check: &mut Check) -> Outcome {
    posix_works(check)?;
    let race = Race::new(check, 5_000);
    let first = check
        .spawn("the process that takes its time", || race.call(0, || wait_in_the_middle(&race.board)))?;
    check.wait_until("`initialise` is called", || {
        race.board.gate.load(SeqCst) == 1 || race.board.answer(0) != 0
    })?;
    let mut second = start(check, &race, 1, "a process that waits")?;
    settled(&mut second);
    let (begin, time) = (Instant::now(), check.scaled(Duration::from_millis(150)));
    check.wait_until("the time is over", || begin.elapsed() > time || second.ended())?;
    let (robbed, milliseconds) = (race.board.answer(1) != answer::NONE, time.as_millis());
    let runs = race.board.runs.load(SeqCst);
    race.board.gate.store(2, SeqCst);
    first.join()?;
    second.join()?;
    let how = race.wrong(1).unwrap_or("returned".into());
    ensure!(!robbed && runs == 1, expected: "a process whose `initialise` takes {milliseconds} ms, and lives, is waited for", observed: "another process {how}; calls of `initialise`: {runs}", look: "`open_or_create`: time does not tell the slow from the dead; what does?");
    everybody_is_content(&race, 0..2, 1)
}

/// A segment that was made with another length is not mapped.
pub fn another_length_is_refused(check: &mut Check) -> Outcome {
    posix_works(check)?;
    let race = Race::new(check, 6_000);
    let len = race.len();
    start(check, &race, 0, "`open_or_create`")?.join()?;
    everybody_is_content(&race, 0..1, 1)?;
    let mut student = check.respondent("`open_or_create`", |len: u64| {
        let fill = |bytes: &mut [u8]| {
            bytes.fill(1);
            Ok(())
        };
        told(open_or_create(race.name.text(), len as usize, fill).map(|mapping| {
            let len = mapping.len() as u64;
            std::mem::forget(mapping);
            len
        }))
    })?;
    for other in [8, len - 8, len + 8, len + 40_000] {
        let call = format!("`open_or_create` with {other} bytes of a segment made with {len}");
        went_wrong(
            student.ask(other as u64)?,
            "",
            &call,
            "`open_or_create`: how long the segment is that exists",
        )?;
    }
    went_wrong(student.ask(0)?, "InvalidInput", "`open_or_create` with 0 bytes", "`open_or_create`")?;
    start(check, &race, 1, "`open_or_create`")?.join()?;
    everybody_is_content(&race, 0..2, 1)
}
