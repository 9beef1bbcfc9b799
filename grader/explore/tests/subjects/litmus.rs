//! Litmus tests: what the explorer sees of a small program, against what RC11's axioms allow, as sets.
//!
//! The axioms are checked by brute force over every reads-from and modification order, by code that shares nothing with
//! the engine. The textbook programs come with every combination of orders; random programs follow.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering, fence};

use explore::{Budget, Explorer};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Load(usize, Ordering),
    Store(usize, u32, Ordering),
    Swap(usize, u32, Ordering),
    Fence(Ordering),
}
use Ordering::*;
use Step::*;

type Program = Vec<Vec<Step>>;
type Outcomes = BTreeSet<Vec<u64>>;

const LOCATIONS: usize = 2;

// ---- the explorer's answer ----

fn explored(program: &Program) -> Outcomes {
    // Of programs with four threads, all executions with at most three deviations; of smaller ones, all executions.
    let bound = if program.len() > 3 { 3 } else { 30 };
    let budget = Budget { bound, first_bound: bound, executions: 3_000_000, steps: u64::MAX, ..Budget::default() };
    let report = Explorer::new(budget).run(|model| {
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
        }
        all.extend(memory.iter().map(|location| u64::from(location.load(Relaxed))));
        all.into_iter().for_each(explore::outcome);
    });
    assert!(report.finding.is_none(), "{program:?}: {:?}", report.finding.map(|finding| finding.cause));
    assert_eq!(report.coverage.bound, Some(bound), "{program:?}: {}", report.coverage);
    assert!(bound < 30 || report.coverage.complete, "{program:?}: {}", report.coverage);
    report.outcomes
}

fn run(steps: &[Step], memory: &[AtomicU32; LOCATIONS]) -> Vec<u64> {
    let mut read = Vec::new();
    for step in steps {
        match *step {
            Load(at, order) => read.push(u64::from(memory[at].load(order))),
            Store(at, value, order) => memory[at].store(value, order),
            Swap(at, value, order) => read.push(u64::from(memory[at].swap(value, order))),
            Fence(order) => fence(order),
        }
    }
    read
}

// ---- the axioms' answer ----

/// A relation over at most 16 events: a row of bits each.
#[derive(Clone, Copy, PartialEq)]
struct Relation([u16; 16]);

impl Relation {
    const EMPTY: Relation = Relation([0; 16]);
    fn identity() -> Relation {
        let mut relation = Relation::EMPTY;
        (0..16).for_each(|event| relation.add(event, event));
        relation
    }
    fn add(&mut self, from: usize, to: usize) {
        self.0[from] |= 1 << to;
    }
    fn has(&self, from: usize, to: usize) -> bool {
        self.0[from] & 1 << to != 0
    }
    fn or(mut self, other: Relation) -> Relation {
        (0..16).for_each(|row| self.0[row] |= other.0[row]);
        self
    }
    fn then(self, other: Relation) -> Relation {
        let mut result = Relation::EMPTY;
        for from in 0..16 {
            for middle in 0..16 {
                if self.has(from, middle) {
                    result.0[from] |= other.0[middle];
                }
            }
        }
        result
    }
    fn closure(self) -> Relation {
        let mut result = self;
        loop {
            let next = result.or(result.then(result));
            if next == result {
                return result;
            }
            result = next;
        }
    }
    fn optional(self) -> Relation {
        self.or(Relation::identity())
    }
    fn keep(mut self, condition: impl Fn(usize, usize) -> bool) -> Relation {
        for from in 0..16 {
            for to in 0..16 {
                if self.has(from, to) && !condition(from, to) {
                    self.0[from] &= !(1 << to);
                }
            }
        }
        self
    }
    fn inverse(self) -> Relation {
        let mut result = Relation::EMPTY;
        for from in 0..16 {
            for to in 0..16 {
                if self.has(from, to) {
                    result.add(to, from);
                }
            }
        }
        result
    }
    fn irreflexive(self) -> bool {
        (0..16).all(|event| !self.has(event, event))
    }
}

#[derive(Clone, Copy)]
struct Event {
    thread: usize,
    step: Option<Step>,
    location: Option<usize>,
    reads: bool,
    writes: bool,
}

impl Event {
    fn order(&self) -> Ordering {
        match self.step {
            Some(Load(_, order) | Store(_, _, order) | Swap(_, _, order) | Fence(order)) => order,
            None => Relaxed,
        }
    }
    fn value(&self) -> u32 {
        match self.step {
            Some(Store(_, value, _) | Swap(_, value, _)) => value,
            _ => 0,
        }
    }
    fn fence(&self) -> bool {
        matches!(self.step, Some(Fence(_)))
    }
    fn releases(&self) -> bool {
        matches!(self.order(), Release | AcqRel | SeqCst)
    }
    fn acquires(&self) -> bool {
        matches!(self.order(), Acquire | AcqRel | SeqCst)
    }
    fn sequential(&self) -> bool {
        self.step.is_some() && self.order() == SeqCst
    }
}

fn allowed(program: &Program) -> Outcomes {
    let mut events: Vec<Event> = (0..LOCATIONS)
        .map(|location| Event { thread: 99, step: None, location: Some(location), reads: false, writes: true })
        .collect();
    for (thread, steps) in program.iter().enumerate() {
        for &step in steps {
            let (location, reads, writes) = match step {
                Load(at, _) => (Some(at), true, false),
                Store(at, ..) => (Some(at), false, true),
                Swap(at, ..) => (Some(at), true, true),
                Fence(_) => (None, false, false),
            };
            events.push(Event { thread, step: Some(step), location, reads, writes });
        }
    }
    assert!(events.len() <= 16);
    let reads: Vec<usize> = (0..events.len()).filter(|&event| events[event].reads).collect();
    let mut outcomes = Outcomes::new();
    let mut orders: Vec<Vec<Vec<usize>>> = Vec::new();
    for location in 0..LOCATIONS {
        let stores: Vec<usize> = (LOCATIONS..events.len())
            .filter(|&event| events[event].writes && events[event].location == Some(location))
            .collect();
        orders.push(permutations(&stores).into_iter().map(|mut order| {
            order.insert(0, location);
            order
        }).collect());
    }
    let mut sources = vec![0; events.len()];
    every_source(&events, &reads, 0, &mut sources, &mut |sources| {
        for first in &orders[0] {
            for second in &orders[1] {
                if consistent(&events, sources, &[first, second]) {
                    let mut outcome: Vec<u64> =
                        reads.iter().map(|&read| u64::from(events[sources[read]].value())).collect();
                    for order in [first, second] {
                        outcome.push(u64::from(events[*order.last().expect("an initial store")].value()));
                    }
                    outcomes.insert(outcome);
                }
            }
        }
    });
    outcomes
}

fn permutations(items: &[usize]) -> Vec<Vec<usize>> {
    if items.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (index, &item) in items.iter().enumerate() {
        let mut rest = items.to_vec();
        rest.remove(index);
        for mut order in permutations(&rest) {
            order.insert(0, item);
            all.push(order);
        }
    }
    all
}

fn every_source(
    events: &[Event],
    reads: &[usize],
    index: usize,
    sources: &mut Vec<usize>,
    visit: &mut dyn FnMut(&[usize]),
) {
    let Some(&read) = reads.get(index) else { return visit(sources) };
    for source in 0..events.len() {
        if source != read && events[source].writes && events[source].location == events[read].location {
            sources[read] = source;
            every_source(events, reads, index + 1, sources, visit);
        }
    }
}

fn consistent(events: &[Event], sources: &[usize], orders: &[&Vec<usize>]) -> bool {
    let count = events.len();
    let same = |a: usize, b: usize| events[a].location.is_some() && events[a].location == events[b].location;
    let mut sb = Relation::EMPTY;
    for a in 0..count {
        for b in 0..count {
            let initial = events[a].step.is_none() && events[b].step.is_some();
            if initial || events[a].thread == events[b].thread && a < b && events[a].step.is_some() {
                sb.add(a, b);
            }
        }
    }
    let mut rf = Relation::EMPTY;
    (0..count).filter(|&event| events[event].reads).for_each(|read| rf.add(sources[read], read));
    let mut mo = Relation::EMPTY;
    for order in orders {
        for (place, &a) in order.iter().enumerate() {
            order[place + 1..].iter().for_each(|&b| mo.add(a, b));
        }
    }
    let fr = rf.inverse().then(mo).keep(|a, b| a != b);
    // No load buffering, and atomic updates.
    if !sb.or(rf).closure().irreflexive() || !fr.then(mo).irreflexive() {
        return false;
    }
    let eco = rf.or(mo).or(fr).closure();
    let updates = rf.keep(|_, b| events[b].writes);
    let sequence = updates.closure().optional();
    let through = sequence.then(rf);
    let after_fence = sb.keep(|a, b| events[a].fence() && events[a].releases() && events[b].writes).optional();
    let before_fence = sb.keep(|a, b| events[a].reads && events[b].fence() && events[b].acquires()).optional();
    let sw = after_fence
        .then(through)
        .then(before_fence)
        .keep(|a, b| events[a].releases() && events[b].acquires() && a != b);
    let sw = sw.keep(|a, b| (events[a].writes || events[a].fence()) && (events[b].reads || events[b].fence()));
    let hb = sb.or(sw).closure();
    // The last: an update, here one event, comes after the store that it reads.
    if !hb.irreflexive() || !hb.then(eco).irreflexive() || !eco.irreflexive() {
        return false;
    }
    let elsewhere = sb.keep(|a, b| !same(a, b));
    let scb = sb.or(elsewhere.then(hb).then(elsewhere)).or(hb.keep(same)).or(mo).or(fr);
    let sequential = Relation::identity().keep(|a, _| a < count && events[a].sequential());
    let fences = sequential.keep(|a, _| events[a].fence());
    let before = sequential.or(fences.then(hb.optional()));
    let after = sequential.or(hb.optional().then(fences));
    let base = before.then(scb).then(after);
    let of_fences = fences.then(hb.or(hb.then(eco).then(hb))).then(fences);
    base.or(of_fences).closure().irreflexive()
}

// ---- the programs ----

const X: usize = 0;
const Y: usize = 1;

/// The textbook programs, given orders for loads and stores and fences between.
fn textbook(load: Ordering, store: Ordering, between: Option<Ordering>) -> Vec<(&'static str, Program)> {
    let ld = |at| Load(at, load);
    let st = |at, value| Store(at, value, store);
    let two = |first: Step, second: Step| match between {
        Some(order) => vec![first, Fence(order), second],
        None => vec![first, second],
    };
    vec![
        ("SB", vec![two(st(X, 1), ld(Y)), two(st(Y, 1), ld(X))]),
        ("MP", vec![two(st(X, 1), st(Y, 1)), two(ld(Y), ld(X))]),
        ("LB", vec![two(ld(X), st(Y, 1)), two(ld(Y), st(X, 1))]),
        ("IRIW", vec![vec![st(X, 1)], vec![st(Y, 1)], two(ld(X), ld(Y)), two(ld(Y), ld(X))]),
        ("WRC", vec![vec![st(X, 1)], two(ld(X), st(Y, 1)), two(ld(Y), ld(X))]),
        ("CoRR", vec![vec![st(X, 1), st(X, 2)], two(ld(X), ld(X))]),
        ("CoRR2", vec![vec![st(X, 1)], vec![st(X, 2)], two(ld(X), ld(X)), two(ld(X), ld(X))]),
        ("CoWR", vec![two(st(X, 1), ld(X)), vec![st(X, 2)]]),
        ("CoRW", vec![two(ld(X), st(X, 1)), vec![st(X, 2)]]),
        ("2+2W", vec![two(st(X, 1), st(Y, 2)), two(st(Y, 1), st(X, 2))]),
        ("S", vec![two(st(X, 2), st(Y, 1)), two(ld(Y), st(X, 1))]),
        ("R", vec![two(st(X, 1), st(Y, 1)), two(st(Y, 2), ld(X))]),
        ("RWC", vec![vec![st(X, 1)], two(ld(X), ld(Y)), two(st(Y, 1), ld(X))]),
    ]
}

fn compare(name: &str, program: &Program) {
    let (explored, allowed) = (explored(program), allowed(program));
    if explored != allowed {
        let missing: Vec<_> = allowed.difference(&explored).collect();
        let extra: Vec<_> = explored.difference(&allowed).collect();
        println!("{name}: WRONG {program:?}: not seen {missing:?}, not allowed {extra:?}");
        std::process::exit(1);
    }
}

fn main() {
    let what = std::env::args().nth(1).unwrap_or_default();
    let mut programs = 0;
    if what == "textbook" {
        let orders = [(Relaxed, Relaxed), (Acquire, Release), (SeqCst, SeqCst), (Acquire, Relaxed), (Relaxed, Release)];
        let fences = [None, Some(Acquire), Some(Release), Some(AcqRel), Some(SeqCst)];
        for (load, store) in orders {
            for between in fences {
                for (name, program) in textbook(load, store, between) {
                    if std::env::args().nth(2).is_some_and(|only| only != name) {
                        continue;
                    }
                    if std::env::var_os("DBG").is_some() {
                        eprintln!("{name} {load:?} {store:?} {between:?}");
                    }
                    compare(name, &program);
                    programs += 1;
                }
            }
        }
    } else {
        let count: u64 = std::env::args().nth(2).and_then(|text| text.parse().ok()).unwrap_or(300);
        let first: u64 = std::env::args().nth(3).and_then(|text| text.parse().ok()).unwrap_or(0);
        for seed in first..first + count {
            compare(&format!("random {seed}"), &random(seed));
            programs += 1;
        }
    }
    println!("{what}: {programs} programs, every set exact");
}

fn random(seed: u64) -> Program {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 12345;
    let mut draw = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) % below
    };
    let threads = 2 + draw(2) as usize;
    let mut value = 0;
    let mut left: i32 = 7;
    (0..threads)
        .map(|_| {
            let steps = 1 + draw(4) as i32;
            (0..steps.min(left.max(1)))
                .map(|_| {
                    left -= 1;
                    value += 1;
                    let at = draw(2) as usize;
                    match draw(8) {
                        0..=2 => Load(at, [Relaxed, Acquire, SeqCst][draw(3) as usize]),
                        3..=5 => Store(at, value, [Relaxed, Release, SeqCst][draw(3) as usize]),
                        6 => Swap(at, value, [Relaxed, Acquire, Release, AcqRel, SeqCst][draw(5) as usize]),
                        _ => Fence([Acquire, Release, AcqRel, SeqCst, SeqCst][draw(5) as usize]),
                    }
                })
                .collect()
        })
        .collect()
}
