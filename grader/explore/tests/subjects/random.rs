//! Small random programs, each explored with and without the reduction: the outcomes, and the first finding, must be the same
//! at every bound.

#![allow(clippy::undocumented_unsafe_blocks, clippy::print_stdout, missing_docs, reason = "a program to be explored")]

#[path = "scenario.rs"]
mod scenario;

use std::sync::atomic::{AtomicU32, Ordering, Ordering::*, fence};

use explore::{Budget, Explorer, Report};

#[derive(Clone, Copy, Debug)]
enum Step {
    Load(usize, Ordering),
    Store(usize, u32, Ordering),
    Add(usize, Ordering),
    Exchange(usize, u32, u32),
    Fence(Ordering),
    /// Waits while the location has this value, for ever or for some time.
    Wait(usize, u32, bool),
    Wake(usize, i32),
    /// Only if the last read was not zero.
    If(usize),
    /// Looks until it is not zero, letting others run in between or not.
    Until(usize, bool),
}
use Step::*;

type Program = Vec<Vec<Step>>;

const LOCATIONS: usize = 3;

fn run(steps: &[Step], memory: &[AtomicU32; LOCATIONS]) -> Vec<u64> {
    let mut read: Vec<u64> = Vec::new();
    let mut index = 0;
    while index < steps.len() {
        match steps[index] {
            Load(at, order) => read.push(memory[at].load(order).into()),
            Store(at, value, order) => memory[at].store(value, order),
            Add(at, order) => read.push(memory[at].fetch_add(1, order).into()),
            Exchange(at, from, to) => match memory[at].compare_exchange(from, to, AcqRel, Relaxed) {
                Ok(value) => read.push(value.into()),
                Err(value) => read.push(u64::from(value) + 100),
            },
            Fence(order) => fence(order),
            Wait(at, value, for_ever) => {
                let time = libc::timespec { tv_sec: 1, tv_nsec: 0 };
                let time = if for_ever { std::ptr::null() } else { &raw const time };
                let word = memory[at].as_ptr();
                let flags = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
                let result = unsafe { libc::syscall(libc::SYS_futex, word, flags, value, time) };
                let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
                read.push(if result == 0 { 1_000 } else { 1_000 + errno as u64 });
            }
            Wake(at, count) => {
                let flags = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
                let woken = unsafe { libc::syscall(libc::SYS_futex, memory[at].as_ptr(), flags, count) };
                read.push(2_000 + woken as u64);
            }
            If(skip) => {
                if read.last().is_none_or(|&value| value == 0) {
                    index += skip;
                }
            }
            Until(at, yields) => {
                while memory[at].load(Acquire) == 0 {
                    if yields {
                        std::thread::yield_now();
                    }
                }
            }
        }
        index += 1;
    }
    read
}

fn explored(program: &Program, bound: u8, reduce: bool) -> Report {
    let budget = Budget {
        bound,
        first_bound: bound,
        reduce,
        executions: 1_000_000,
        steps: u64::MAX,
        sampled: 0,
        prioritised: 0,
        ..Budget::default()
    };
    Explorer::new(budget).run(|model| {
        let memory: &'static [AtomicU32; LOCATIONS] = model.share([const { AtomicU32::new(0) }; LOCATIONS]);
        let handles: Vec<_> = program
            .iter()
            .map(|steps| {
                let steps: Vec<Step> = steps.clone();
                explore::spawn(move || -> Vec<u64> { run(&steps, memory) })
            })
            .collect();
        let mut all: Vec<u64> = Vec::new();
        for handle in handles {
            all.extend(handle.join());
            all.push(77_777);
        }
        all.extend(memory.iter().map(|location| u64::from(location.load(Relaxed))));
        all.into_iter().for_each(explore::outcome);
    })
}

/// Compares at each bound; how many executions each search took.
fn compare(seed: u64, bounds: u8, family: &str) -> Result<(u64, u64), String> {
    let program = random(seed, family);
    let (mut plain_all, mut reduced_all) = (0, 0);
    for bound in 0..=bounds {
        let plain = explored(&program, bound, false);
        if plain.finding.is_none() && plain.coverage.bound.is_none() {
            break;
        }
        let reduced = explored(&program, bound, true);
        plain_all += plain.executions;
        reduced_all += reduced.executions;
        let found = |report: &Report| report.finding.as_ref().map(|finding| scenario::kind(&finding.cause));
        let say = |what: String| Err(format!("seed {seed} bound {bound} {family}: {what}\n{program:?}"));
        if found(&plain).is_some() != found(&reduced).is_some() || found(&reduced) == Some("diverged") {
            return say(format!("plain {:?}, reduced {:?}", found(&plain), found(&reduced)));
        }
        if found(&plain).is_some() {
            return Ok((plain_all, reduced_all));
        }
        if plain.outcomes != reduced.outcomes {
            let missed: Vec<_> = plain.outcomes.difference(&reduced.outcomes).collect();
            let more: Vec<_> = reduced.outcomes.difference(&plain.outcomes).collect();
            return say(format!("missed {missed:?}, more {more:?}"));
        }
        if reduced.executions > plain.executions {
            return say(format!("{} executions instead of {}", reduced.executions, plain.executions));
        }
        if plain.coverage.complete {
            break;
        }
    }
    Ok((plain_all, reduced_all))
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, default: u64| {
        arguments.get(index).and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let family = arguments.first().map_or("atomics", String::as_str);
    let (count, first, bounds) = (number(1, 200), number(2, 0), number(3, 3));
    let (mut plain, mut reduced, mut wrong) = (0, 0, 0);
    for seed in first..first + count {
        match compare(seed, bounds as u8, family) {
            Ok((with, without)) => {
                plain += with;
                reduced += without;
            }
            Err(what) => {
                wrong += 1;
                println!("{what}");
            }
        }
    }
    println!("{family}: {count} programs, {wrong} differ; {plain} executions plain, {reduced} reduced");
}

fn random(seed: u64, family: &str) -> Program {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 4_321;
    let mut draw = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) % below
    };
    let threads = 2 + draw(2) as usize;
    let mut left: i32 = if threads == 2 { 8 } else { 7 };
    let kinds = match family {
        "atomics" => 9,
        "futex" => 14,
        _ => 16,
    };
    (0..threads)
        .map(|_| {
            let steps = 1 + draw(4) as i32;
            (0..steps.min(left.max(1)))
                .map(|_| {
                    left -= 1;
                    let at = draw(LOCATIONS as u64) as usize;
                    let value = draw(3) as u32;
                    match draw(kinds) {
                        0 | 1 => Load(at, [Relaxed, Acquire, SeqCst][draw(3) as usize]),
                        2 | 3 => Store(at, value, [Relaxed, Release, SeqCst][draw(3) as usize]),
                        4 => Add(at, [Relaxed, AcqRel, SeqCst][draw(3) as usize]),
                        5 => Exchange(at, value, value + 1),
                        6 => Fence([Acquire, Release, SeqCst][draw(3) as usize]),
                        7 | 8 => If(1),
                        9..=11 => Wait(at, value % 2, draw(4) == 0),
                        12 | 13 => Wake(at, 1 + draw(2) as i32),
                        _ => Until(at, draw(2) == 0),
                    }
                })
                .collect()
        })
        .collect()
}
