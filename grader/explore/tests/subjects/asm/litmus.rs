//! What the explorer sees of small programs, against what a machine with store buffers can do, as sets.
//!
//! The machine (Owens, Sarkar, Sewell: x86-TSO) is run exhaustively by code that shares nothing with the engine.

use std::collections::{BTreeSet, VecDeque};

use explore::{Budget, Explorer};

use super::instructions;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Load(usize),
    Store(usize, u32),
    Swap(usize, u32),
    /// An `xadd` without `lock`: a load and a later store.
    Add(usize, u32),
    Fence,
    StackFence,
}
use Step::*;

type Program = Vec<Vec<Step>>;
type Outcomes = BTreeSet<Vec<u64>>;

const LOCATIONS: usize = 2;

struct Words(std::cell::UnsafeCell<[u32; LOCATIONS]>);
unsafe impl Sync for Words {}

impl Words {
    fn at(&self, index: usize) -> *mut u32 {
        unsafe { self.0.get().cast::<u32>().add(index) }
    }
}

// ---- the explorer's answer ----

fn explored(program: &Program) -> (Outcomes, u64) {
    let budget = Budget { bound: 40, executions: 3_000_000, steps: u64::MAX, ..Budget::default() };
    let report = Explorer::new(budget).run(|model| {
        let words: &'static Words = model.share(Words(std::cell::UnsafeCell::new([0; LOCATIONS])));
        let handles: Vec<_> = program
            .iter()
            .map(|steps| {
                let steps = steps.clone();
                explore::spawn(move || run(&steps, words))
            })
            .collect();
        let mut all: Vec<u64> = Vec::new();
        for handle in handles {
            all.extend(handle.join());
        }
        all.extend((0..LOCATIONS).map(|index| u64::from(instructions::load(words.at(index)))));
        all.into_iter().for_each(explore::outcome);
    });
    assert!(report.finding.is_none(), "{program:?}: {:?}", report.finding.map(|finding| finding.cause));
    assert!(report.coverage.complete, "{program:?}: {}", report.coverage);
    (report.outcomes, report.executions)
}

fn run(steps: &[Step], words: &Words) -> Vec<u64> {
    let mut read = Vec::new();
    for step in steps {
        match *step {
            Load(at) => read.push(u64::from(instructions::load(words.at(at)))),
            Store(at, value) => instructions::store(words.at(at), value),
            Swap(at, value) => read.push(u64::from(instructions::swap(words.at(at), value))),
            Add(at, amount) => read.push(u64::from(instructions::unlocked_fetch_and_add(words.at(at), amount))),
            Fence => instructions::fence(),
            StackFence => instructions::stack_fence(),
        }
    }
    read
}

// ---- the machine's answer ----

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Machine {
    memory: [u32; LOCATIONS],
    threads: Vec<Processor>,
}

#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Processor {
    next: usize,
    /// The second half of an `Add`: where, and what it stores.
    half: Option<(usize, u32)>,
    buffer: VecDeque<(usize, u32)>,
    read: Vec<u64>,
}

fn allowed(program: &Program) -> Outcomes {
    let start = Machine { memory: [0; LOCATIONS], threads: vec![Processor::default(); program.len()] };
    let mut outcomes = Outcomes::new();
    let mut seen = BTreeSet::new();
    let mut open = vec![start];
    while let Some(machine) = open.pop() {
        if !seen.insert(machine.clone()) {
            continue;
        }
        let mut stuck = true;
        for (index, steps) in program.iter().enumerate() {
            let mut drained = machine.clone();
            if let Some((at, value)) = drained.threads[index].buffer.pop_front() {
                drained.memory[at] = value;
                open.push(drained);
                stuck = false;
            }
            if let Some(after) = step(&machine, index, steps) {
                open.push(after);
                stuck = false;
            }
        }
        if stuck {
            let mut outcome: Vec<u64> = machine.threads.iter().flat_map(|thread| thread.read.clone()).collect();
            outcome.extend(machine.memory.map(u64::from));
            outcomes.insert(outcome);
        }
    }
    outcomes
}

fn step(machine: &Machine, index: usize, steps: &[Step]) -> Option<Machine> {
    let mut after = machine.clone();
    let thread = &mut after.threads[index];
    let visible = |thread: &Processor, at: usize| {
        let own = thread.buffer.iter().rev().find(|(stored, _)| *stored == at);
        own.map_or(machine.memory[at], |(_, value)| *value)
    };
    if let Some(half) = thread.half.take() {
        thread.buffer.push_back(half);
        thread.next += 1;
        return Some(after);
    }
    match *steps.get(thread.next)? {
        Load(at) => {
            let value = visible(thread, at);
            thread.read.push(u64::from(value));
        }
        Store(at, value) => thread.buffer.push_back((at, value)),
        Add(at, amount) => {
            let value = visible(thread, at);
            thread.read.push(u64::from(value));
            thread.half = Some((at, value.wrapping_add(amount)));
            return Some(after);
        }
        Swap(at, value) => {
            if !thread.buffer.is_empty() {
                return None;
            }
            thread.read.push(u64::from(machine.memory[at]));
            after.memory[at] = value;
            after.threads[index].next += 1;
            return Some(after);
        }
        Fence | StackFence => {
            if !thread.buffer.is_empty() {
                return None;
            }
        }
    }
    after.threads[index].next += 1;
    Some(after)
}

// ---- the tests ----

fn check(name: &str, program: &Program) -> Outcomes {
    let (explored, executions) = explored(program);
    let allowed = allowed(program);
    let missed: Vec<_> = allowed.difference(&explored).collect();
    let wrong: Vec<_> = explored.difference(&allowed).collect();
    assert!(missed.is_empty() && wrong.is_empty(), "{name} {program:?}: missed {missed:?}, wrong {wrong:?}");
    println!("{name}: {} outcomes, {executions} executions", explored.len());
    explored
}

/// Each with what it is famous for: whether some outcome begins with these values read (and, after `|`, left in memory).
pub fn textbook() {
    let fences: [&[Step]; 3] = [&[], &[Fence], &[StackFence]];
    for fence in fences {
        let weak = fence.is_empty();
        let with = |steps: &[Step]| -> Vec<Step> {
            let mut all = vec![steps[0]];
            steps[1..].iter().for_each(|&step| {
                all.extend(fence);
                all.push(step);
            });
            all
        };
        let label = |name: &str| format!("{name}{}", if weak { String::new() } else { format!(" with {:?}", fence[0]) });
        let sees = |name: &str, program: Program, famous: &[u64], expected: bool| {
            let outcomes = check(&label(name), &program);
            let seen = outcomes.iter().any(|outcome| outcome.starts_with(famous));
            assert_eq!(seen, expected, "{}: {famous:?}", label(name));
        };
        let sb = vec![with(&[Store(0, 1), Load(1)]), with(&[Store(1, 1), Load(0)])];
        sees("SB", sb, &[0, 0], weak);
        let mp = vec![with(&[Store(0, 1), Store(1, 1)]), with(&[Load(1), Load(0)])];
        sees("MP", mp, &[1, 0], false);
        let lb = vec![with(&[Load(0), Store(1, 1)]), with(&[Load(1), Store(0, 1)])];
        sees("LB", lb, &[1, 1], false);
        let r = vec![with(&[Store(0, 1), Store(1, 1)]), with(&[Store(1, 2), Load(0)])];
        sees("R", r, &[0, 1, 2], weak);
        let s = vec![with(&[Store(0, 2), Store(1, 1)]), with(&[Load(1), Store(0, 1)])];
        sees("S", s, &[1, 2], false);
        let ww = vec![with(&[Store(0, 1), Store(1, 2)]), with(&[Store(1, 1), Store(0, 2)])];
        sees("2+2W", ww, &[1, 1], false);
        let wrc = vec![vec![Store(0, 1)], with(&[Load(0), Store(1, 1)]), with(&[Load(1), Load(0)])];
        sees("WRC", wrc, &[1, 1, 0], false);
        let rwc = vec![vec![Store(0, 1)], with(&[Load(0), Load(1)]), with(&[Store(1, 1), Load(0)])];
        sees("RWC", rwc, &[1, 0, 0], weak);
        let iriw = vec![vec![Store(0, 1)], vec![Store(1, 1)], with(&[Load(0), Load(1)]), with(&[Load(1), Load(0)])];
        sees("IRIW", iriw, &[1, 0, 1, 0], false);
    }
    let forwarded = vec![vec![Store(0, 1), Load(0), Load(1)], vec![Store(1, 1), Load(1), Load(0)]];
    assert!(check("SB with forwarding", &forwarded).iter().any(|outcome| outcome.starts_with(&[1, 0, 1, 0])));
    let n6 = vec![vec![Store(0, 1), Load(0), Load(1)], vec![Store(1, 2), Store(0, 2)]];
    assert!(check("n6", &n6).iter().any(|outcome| outcome == &[1, 0, 1, 2]));
    let locked = vec![vec![Swap(0, 1), Load(1)], vec![Swap(1, 1), Load(0)]];
    assert!(!check("SB by xchg", &locked).contains(&vec![0, 0, 0, 0, 1, 1]));
    let lost = vec![vec![Add(0, 1)], vec![Add(0, 1)]];
    assert!(check("two additions without lock", &lost).contains(&vec![0, 0, 1, 0]));
    let half = vec![vec![Add(0, 1), Load(1)], vec![Store(1, 1), Add(0, 2)]];
    check("additions without lock, and others", &half);
}

pub fn random() {
    let mut state = 0x1234_5678_u64;
    let mut below = |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    for number in 0..40 {
        let program: Program = (0..2)
            .map(|thread| {
                (0..3)
                    .map(|step| {
                        let at = below(2) as usize;
                        let value = 1 + thread * 3 + step;
                        match below(10) {
                            0..4 => Load(at),
                            4..8 => Store(at, value),
                            8 => Swap(at, value),
                            _ => [Fence, Add(at, 1)][below(2) as usize],
                        }
                    })
                    .collect()
            })
            .collect();
        check(&format!("random {number}"), &program);
    }
}
