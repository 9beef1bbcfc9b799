//! Part 5: counters that keep out of each other's cache lines.

use std::cell::OnceCell;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use harness::{Check, Options, Outcome, Shared, SharedSlice, Stop, ensure, step};
use shared_memory::{Mapping, SharedCounters};

use crate::trusted::{Name, map, page_size, posix_works, told, went_well, went_wrong};

/// The most bytes that the contract gives to one counter.
const MOST: usize = 256;

/// One line of memory, to be filled by the submission.
#[repr(C, align(64))]
struct Line([AtomicU64; 8]);

impl Line {
    fn empty() -> Line {
        Line(Default::default())
    }
}

/// Runs `question` on the submission's counters over memory that the check has mapped.
fn over<T>(
    place: NonNull<u8>,
    len: usize,
    slots: usize,
    question: impl FnOnce(&SharedCounters<'_>) -> T,
) -> Result<T, String> {
    // SAFETY: a shared mapping of that length, which the check keeps; the value is forgotten again.
    let memory = ManuallyDrop::new(unsafe { Mapping::from_raw(place, len) });
    told(SharedCounters::over(&memory, slots)).map(|counters| question(&counters))
}

fn place_of<T: Sync>(memory: &SharedSlice<T>) -> NonNull<u8> {
    NonNull::from(&memory[..]).cast()
}

/// How much memory the submission asks for, with a limit of ours.
fn lines_for(check: &Check, slots: usize) -> Result<SharedSlice<Line>, Stop> {
    let size = check.ask("`SharedCounters::size_for`", || SharedCounters::size_for(slots) as u64)?;
    let (least, most) = (slots * 8, slots * MOST);
    ensure!((least as u64..=most as u64).contains(&size), expected: "`size_for({slots})` is between {least} and {most}", observed: "{size}", look: "`SharedCounters::size_for`");
    Ok(Shared::slice((size as usize).div_ceil(64), |_| Line::empty()))
}

/// Random additions, one at a time; a second view of the same memory; what does not fit is refused.
pub fn counters_count(check: &mut Check) -> Outcome {
    let slots = 1 + check.rng().below(9) as usize;
    let memory = lines_for(check, slots)?;
    let (place, size) = (place_of(&memory), memory.len() * 64);
    let mut student = check.respondent("`SharedCounters`", |(slot, amount): (u64, u64)| {
        over(place, size, slots, |counters| {
            counters.add(slot as usize, amount);
            ((0..slots).map(|slot| counters.get(slot)).collect::<Vec<u64>>(), counters.total())
        })
    })?;
    let mut model = vec![0_u64; slots];
    for _ in 0..200 {
        let slot = check.rng().below(slots as u64) as usize;
        let amount = check.rng().next_u64() >> check.rng().below(64);
        model[slot] = model[slot].wrapping_add(amount);
        let sum = model.iter().fold(0, |sum: u64, value| sum.wrapping_add(*value));
        let (values, total) = went_well(student.ask((slot as u64, amount))?, "`SharedCounters::over`")?;
        ensure!(values == model, expected: "after an addition of {amount} to counter {slot} the counters are {model:?}", observed: "{values:?}", look: "`SharedCounters::add` and `get`; `over` must not write");
        ensure!(total == sum, expected: "the total of {model:?} is {sum} (modulo 2^64)", observed: "{total}", look: "`SharedCounters::total`");
    }
    let (short, shifted) =
        check.ask("`SharedCounters::over` memory that is too small or not aligned", || {
            let size = SharedCounters::size_for(slots);
            let shifted = place.map_addr(|address| address.saturating_add(8));
            (over(place, size - 1, slots, |_| ()), over(shifted, size, slots, |_| ()))
        })?;
    went_wrong(short, "InvalidInput", "`over` memory one byte too small", "`SharedCounters::over`")?;
    went_wrong(
        shifted,
        "InvalidInput",
        "`over` memory that begins 8 bytes after a cache line does",
        "`SharedCounters::over`",
    )?;
    check.note(format!("200 additions to {slots} counters"));
    Ok(())
}

/// Which bytes an addition changes: no two counters in one line of 64 bytes. And what a shared line costs here.
pub fn a_cache_line_each(check: &mut Check) -> Outcome {
    let slots = 2 + check.rng().below(7) as usize;
    let memory = lines_for(check, slots)?;
    let (place, size) = (place_of(&memory), memory.len() * 64);
    let look = || -> Vec<u64> {
        memory.iter().flat_map(|line| line.0.iter().map(|word| word.load(Relaxed))).collect()
    };
    let mut student = check.respondent("`SharedCounters::add`", |slot: u64| {
        over(place, size, slots, |counters| counters.add(slot as usize, 0x0101_0101_0101_0101))
    })?;
    let mut lines: Vec<Vec<usize>> = Vec::new();
    for slot in 0..slots {
        let before = look();
        went_well(student.ask(slot as u64)?, "`SharedCounters::over`")?;
        let changed = before.iter().zip(look()).enumerate().filter(|(_, (old, new))| *old != new);
        let mut mine: Vec<usize> = changed.map(|(word, _)| word / 8).collect();
        mine.dedup();
        ensure!(!mine.is_empty(), expected: "an addition to counter {slot} changes the memory it was given", observed: "no byte of it changed", look: "`SharedCounters::add`: the counters live in the mapping");
        lines.push(mine);
    }
    for slot in 1..slots {
        let other = (0..slot).find(|&other| lines[other].iter().any(|line| lines[slot].contains(line)));
        if let Some(other) = other {
            let line = lines[slot][0] * 64;
            return Err(Stop::failed(
                "each counter has a cache line of 64 bytes of its own",
                format!("counters {other} and {slot} both lie in the line at byte {line} of the memory"),
                "`SharedCounters`: how far apart the counters are, and how the type of one is aligned",
            ));
        }
    }
    // A machine too busy to measure on says nothing about the submission.
    let patience = check.scaled(Duration::from_millis(300));
    check.options(Options { deadline: Some(patience), ..Options::default() });
    match false_sharing(check) {
        Ok(note) => check.note(note),
        Err(Stop::TimedOut(_) | Stop::Inconclusive(_)) => {
            check.note("false sharing not measured: the machine was too busy")
        }
        Err(stop) => return Err(stop),
    }
    Ok(())
}

/// Two processes add to words of one line, then to words of two lines. For the report only.
fn false_sharing(check: &mut Check) -> Result<String, Stop> {
    const ADDITIONS: u32 = 50_000;
    let cpus = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)).map_or(1, |set| {
        (0..nix::sched::CpuSet::count()).filter(|&cpu| set.is_set(cpu).unwrap_or(false)).count()
    });
    if cpus < 2 {
        return Ok("false sharing cannot be seen on one processor".into());
    }
    let mut best = [f64::INFINITY; 2];
    for _ in 0..2 {
        for (apart, best) in best.iter_mut().enumerate() {
            let lines: SharedSlice<Line> = Shared::slice(2, |_| Line::empty());
            let times: SharedSlice<AtomicU64> = Shared::slice(2, |_| AtomicU64::new(0));
            check.workers(2, "measuring additions", |worker| {
                let index = worker.index();
                let word = &lines[index * apart].0[index];
                let start = Instant::now();
                for _ in 0..ADDITIONS {
                    word.fetch_add(1, Relaxed);
                }
                times[index].store(start.elapsed().as_nanos() as u64, Relaxed);
            })?;
            let slower = times.iter().map(|time| time.load(Relaxed)).max().unwrap_or(0);
            *best = best.min(slower as f64 / f64::from(ADDITIONS));
        }
    }
    let [together, apart] = best;
    Ok(format!(
        "two processes adding on this machine: {together:.1} ns an addition in one cache line, {apart:.1} ns in a line each"
    ))
}

/// No addition is lost, wherever another one comes in between.
pub fn additions_are_atomic(check: &mut Check) -> Outcome {
    const SLOTS: usize = 2;
    const LINES: usize = SLOTS * MOST / 64;
    let needed = check.ask("`SharedCounters::size_for`", || SharedCounters::size_for(SLOTS) as u64)?;
    ensure!(needed <= (LINES * 64) as u64, expected: "`size_for(2)` is at most 512", observed: "{needed}", look: "`SharedCounters::size_for`");
    let memory = Shared::new([const { Line([const { AtomicU64::new(0) }; 8]) }; LINES]);
    // SAFETY: a shared mapping of that length, never unmapped by this value.
    let mapping = ManuallyDrop::new(unsafe { Mapping::from_raw(NonNull::from(&*memory).cast(), LINES * 64) });
    let made =
        check.ask("`SharedCounters::over`", || told(SharedCounters::over(&mapping, SLOTS).map(|_| ())))?;
    went_well(made, "`SharedCounters::over`")?;
    // Each worker makes its counters once, in its own memory.
    let counters: OnceCell<Option<SharedCounters<'_>>> = OnceCell::new();
    let call = |index: usize| {
        let Some(counters) = counters.get_or_init(|| SharedCounters::over(&mapping, SLOTS).ok()) else {
            return 0;
        };
        counters.add(1, 10 + index as u64);
        counters.get(1)
    };
    let interleavings = step::races(check, &memory, "`SharedCounters::add` and `get`", &call, |race| {
        let [first, second] = race.results;
        let last = first.max(second);
        ensure!(
            last == 21,
            expected: "two processes that add 10 and 11 to one counter leave 21",
            observed: "one was stopped in the middle of adding 10, the other one added 11, the first went on: the counter was {last}",
            look: "`SharedCounters::add`: reading and writing must be one step (`fetch_add`)"
        );
        Ok(())
    })?;
    check.note(format!("{interleavings} interleavings of two additions, single-stepped"));
    Ok(())
}

/// Real processes, each with a mapping at an address of its own, all adding at once: the sum is exact.
pub fn totals_are_exact(check: &mut Check) -> Outcome {
    const PROCESSES: usize = 3;
    const ADDITIONS: u64 = 20_000;
    posix_works(check)?;
    let name = Name::new(check);
    let size =
        check.ask("`SharedCounters::size_for`", || SharedCounters::size_for(PROCESSES) as u64)? as usize;
    let file = name.make(size.clamp(1, PROCESSES * MOST), 0o600)?;
    let secret = 1 + check.rng().below(1 << 40);
    let attach = |index: usize| {
        // So that the counters lie somewhere else in each process.
        let elsewhere = map(&file, page_size() * (1 + index));
        elsewhere.and_then(|_| map(&file, size)).map_err(|error| error.to_string())
    };
    check.workers(PROCESSES, "`SharedCounters::add` in several processes", |worker| {
        let answer = attach(worker.index()).and_then(|place| {
            over(place, size, PROCESSES, |counters| {
                for round in 0..ADDITIONS {
                    counters.add(worker.index(), secret);
                    // Everybody's.
                    counters.add(round as usize % PROCESSES, 1);
                }
            })
        });
        if let Err(error) = answer {
            worker.violation(&format!("`SharedCounters::over`: the error \"{error}\""));
        }
    })?;
    let seen = check.ask("`SharedCounters::total` in a process that comes later", || {
        let place = attach(PROCESSES)?;
        over(place, size, PROCESSES, |counters| counters.total())
    })?;
    let (total, wanted) =
        (went_well(seen, "`SharedCounters::over`")?, PROCESSES as u64 * ADDITIONS * (secret + 1));
    ensure!(total == wanted, expected: "{PROCESSES} processes that make {ADDITIONS} additions of {secret} and as many of 1 leave a total of {wanted}", observed: "{total}", look: "`SharedCounters::add` and `total`: no addition may be lost, and nothing kept outside the mapping");
    check.note(format!("{PROCESSES} processes, {} additions", 2 * ADDITIONS * PROCESSES as u64));
    Ok(())
}
