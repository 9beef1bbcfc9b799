//! Which way an execution goes where it could go several ways, and which execution comes next.
//!
//! **Depth first, within a bound.** Every decision has a default: the running thread runs on, a read takes the newest
//! store, a wake-up goes to the first waiter. Leaving the default costs one *deviation*; where the running thread cannot
//! run on, every other thread is free. All executions with at most `bound` deviations are visited, the bound rising from 0,
//! so the first failing execution has as few of them as any.
//!
//! **Reduction.** Preempting thread `x` before its next operation `p` is tried only if, in the executions that do not
//! preempt it there, some other thread later touches what `p` touches, one of the two writing: otherwise `p` could as well
//! come first, at no higher cost. And once `x` is preempted there, it is not run again before such a touch (a sleep set with
//! the one member whose removal never costs a deviation). Both only leave out executions that are equivalent to one that is
//! visited at the same or a lower cost; `tests/reduction.rs` compares with the plain search.

use crate::schedule::{Decision, Deviation};

/// Where an execution could go several ways.
#[derive(Debug, Clone, Copy)]
struct Node {
    decision: Decision,
    /// Deviations spent before it.
    spent: u8,
    default: u8,
    chosen: u8,
    /// A bit for each way that there is.
    options: u64,
    /// A bit for each way that was tried.
    tried: u64,
    /// The running thread could run on.
    preempts: bool,
    /// Some other thread's later access makes it worth while to preempt here.
    matters: bool,
}

/// How the ways are picked.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one, and it is asked at every step")]
pub enum Search {
    /// Every way within the bound.
    Bounded(Bounded),
    /// The ways that a schedule says.
    Replay(Replay),
    /// By drawing.
    Random(Random),
}

/// The depth-first search.
#[derive(Debug)]
pub struct Bounded {
    bound: u8,
    reduce: bool,
    /// Only preemptions: no old values and the like.
    plain: bool,
    nodes: Vec<Node>,
    position: usize,
    spent: u8,
    diverged: bool,
}

/// A given schedule.
#[derive(Debug)]
pub struct Replay {
    deviations: Vec<Deviation>,
    position: usize,
    diverged: bool,
}

/// Seeded drawing.
#[derive(Debug)]
pub struct Random {
    state: u64,
    policy: Policy,
    priorities: [u32; 64],
    /// Steps at which the running thread falls behind all others (PCT).
    falls: Vec<u32>,
    lowest: u32,
}

/// Which random search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Partial order sampling: a random priority per pending operation, drawn anew when it ran or raced.
    PartialOrder,
    /// Probabilistic concurrency testing: a random order of threads with a few random changes.
    Priorities,
}

impl Search {
    /// Picks one of `options` (a bit each) at `step`; for a thread decision, `preempts` says that the default is the
    /// running thread. Returns the way and the node to tell [`matters`](Search::matters) about.
    #[inline]
    pub fn choose(
        &mut self,
        step: u32,
        decision: Decision,
        default: u8,
        options: u64,
        preempts: bool,
    ) -> (u8, u32) {
        match self {
            Search::Bounded(search) => search.choose(decision, default, options, preempts),
            Search::Replay(replay) => (replay.choose(step, decision, default, options), u32::MAX),
            Search::Random(random) => (random.choose(step, decision, default, options), u32::MAX),
        }
    }

    /// Whether a way that costs a deviation could still be taken.
    #[inline]
    pub fn affords(&self) -> bool {
        match self {
            Search::Bounded(search) => search.spent < search.bound,
            Search::Replay(_) | Search::Random(_) => true,
        }
    }

    /// Another thread later touched what the operation at `node` touches.
    #[inline]
    pub fn matters(&mut self, node: u32) {
        if let Search::Bounded(search) = self {
            search.nodes[node as usize].matters = true;
        }
    }

    /// The pending operation of `thread` ran or raced with the one that did: its priority is drawn anew.
    pub fn redraw(&mut self, thread: usize) {
        if let Search::Random(random) = self
            && random.policy == Policy::PartialOrder
        {
            random.priorities[thread] = random.draw();
        }
    }

    /// Whether the program did not do again what it did before.
    pub fn diverged(&self) -> bool {
        match self {
            Search::Bounded(search) => search.diverged || search.position < search.nodes.len(),
            Search::Replay(replay) => replay.diverged || replay.position < replay.deviations.len(),
            Search::Random(_) => false,
        }
    }

    /// Whether it is already plain that the program did not do again what it did before.
    #[inline]
    pub fn diverged_now(&self) -> bool {
        match self {
            Search::Bounded(search) => search.diverged,
            Search::Replay(replay) => replay.diverged,
            Search::Random(_) => false,
        }
    }

    /// Whether equivalent executions are left out.
    #[inline]
    pub fn reduces(&self) -> bool {
        matches!(self, Search::Bounded(Bounded { reduce: true, .. }))
    }
}

impl Bounded {
    /// A search of all executions with at most `bound` deviations.
    pub fn new(bound: u8, reduce: bool) -> Bounded {
        Bounded { bound, reduce, plain: false, nodes: Vec::new(), position: 0, spent: 0, diverged: false }
    }

    /// The same, but threads only take turns: reads see the newest values, and no wait ends without a cause.
    pub fn plain(bound: u8, reduce: bool) -> Bounded {
        Bounded { plain: true, ..Bounded::new(bound, reduce) }
    }

    #[inline]
    fn choose(&mut self, decision: Decision, default: u8, options: u64, preempts: bool) -> (u8, u32) {
        let node = Node {
            decision,
            spent: self.spent,
            default,
            chosen: default,
            options,
            tried: 1 << default,
            preempts,
            matters: !self.reduce,
        };
        if options & !node.tried == 0 || self.spent >= self.bound && !node.has_free_ways() {
            return (default, u32::MAX);
        }
        let index = self.position as u32;
        self.position += 1;
        let Some(known) = self.nodes.get(index as usize) else {
            self.nodes.push(node);
            return (default, index);
        };
        if known.decision != decision || known.default != default || known.options != options {
            self.diverged = true;
            return (default, u32::MAX);
        }
        self.spent += known.cost(known.chosen);
        (known.chosen, index)
    }

    /// Prepares the next execution; false when there is none left within the bound.
    pub fn advance(&mut self) -> bool {
        self.position = 0;
        self.spent = 0;
        while let Some(node) = self.nodes.last_mut() {
            let mut left = node.options & !node.tried;
            if (node.preempts || node.decision == Decision::Delay) && !node.matters {
                left = 0;
            }
            while left != 0 {
                let way = left.trailing_zeros() as u8;
                left &= left - 1;
                let odd = node.decision != Decision::Thread || way >= 16;
                if node.spent + node.cost(way) <= self.bound && !(self.plain && odd && way != node.default) {
                    node.tried |= 1 << way;
                    node.chosen = way;
                    return true;
                }
            }
            self.nodes.pop();
        }
        false
    }

    /// Deviations that the last execution spent.
    pub fn spent(&self) -> u8 {
        self.spent
    }
}

impl Node {
    /// What taking `way` costs.
    #[inline]
    fn cost(&self, way: u8) -> u8 {
        let free = way == self.default || self.decision == Decision::Thread && !self.preempts && way < 16;
        u8::from(!free)
    }

    fn has_free_ways(&self) -> bool {
        self.decision == Decision::Thread && !self.preempts && self.options & !self.tried & 0xffff != 0
    }
}

impl Replay {
    /// The ways of a schedule.
    pub fn new(deviations: Vec<Deviation>) -> Replay {
        Replay { deviations, position: 0, diverged: false }
    }

    fn choose(&mut self, step: u32, decision: Decision, default: u8, options: u64) -> u8 {
        let Some(next) = self.deviations.get(self.position) else { return default };
        if next.step != step || next.decision != decision {
            self.diverged |= next.step < step;
            return default;
        }
        self.position += 1;
        if options & 1u64.checked_shl(u32::from(next.way)).unwrap_or(0) == 0 {
            self.diverged = true;
            return default;
        }
        next.way
    }
}

impl Random {
    /// The search number `seed`; `length` is how many steps a normal execution takes.
    pub fn new(policy: Policy, seed: u64, length: u32) -> Random {
        let state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1;
        let mut random = Random { state, policy, priorities: [0; 64], falls: Vec::new(), lowest: 1 << 16 };
        for thread in 0..64 {
            random.priorities[thread] = random.draw();
        }
        if policy == Policy::Priorities {
            let changes = 2;
            random.falls = (0..changes).map(|_| 1 + random.draw() % length.max(1)).collect();
        }
        random
    }

    fn draw(&mut self) -> u32 {
        // splitmix64
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((word ^ (word >> 31)) >> 33) as u32 | 1 << 17
    }

    fn choose(&mut self, step: u32, decision: Decision, default: u8, options: u64) -> u8 {
        match decision {
            Decision::Thread => {
                if self.falls.contains(&step) {
                    self.lowest -= 1;
                    self.priorities[default as usize] = self.lowest;
                }
                // A wake-up that nobody asked for is rare.
                let runs = if options & 0xffff != 0 && !self.draw().is_multiple_of(16) {
                    options & 0xffff
                } else {
                    options
                };
                let ways = (0..64u8).filter(|way| runs & (1 << way) != 0);
                ways.max_by_key(|&way| self.priorities[way as usize]).unwrap_or(default)
            }
            Decision::Read | Decision::Place | Decision::Waiter | Decision::Delay | Decision::Arrive => {
                if !self.draw().is_multiple_of(4) {
                    return default;
                }
                let ways: Vec<u8> = (0..64u8).filter(|way| options & (1 << way) != 0).collect();
                ways[self.draw() as usize % ways.len()]
            }
        }
    }
}
