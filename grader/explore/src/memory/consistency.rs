//! C11's rule for `SeqCst`, as repaired by RC11 (Lahav et al., PLDI 2017): the partial order `psc` has no cycle.
//!
//! Events are executed in an order that respects program order and reads-from, and new events come last in all relations
//! unless a read takes an old value or a store goes to an old place of the modification order. So only those need this test.

use super::clock::Clock;
use super::history::{Location, StoreId};

/// What an event does to its location.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EventKind {
    /// Reads a store.
    Read,
    /// Makes a store.
    Write,
    /// Reads a store and makes the next one.
    Update,
    /// A fence: no location.
    Fence,
}

/// One atomic event of an execution.
#[derive(Clone, Debug)]
pub struct Event {
    /// What it does.
    pub kind: EventKind,
    /// Who.
    pub thread: u8,
    /// The thread's event number.
    pub epoch: u16,
    /// Whether it is `SeqCst`.
    pub sequential: bool,
    /// Index of the location; `u32::MAX` for a fence.
    pub location: u32,
    /// The store it reads or, for a write or update, makes.
    pub store: StoreId,
    /// What had happened before it, itself included.
    pub clock: Clock,
}

/// Above this many events the test is not made and old values are not offered: never a wrong alarm.
pub const MOST_EVENTS: usize = 400;

/// Whether `psc` has no cycle.
pub fn consistent(events: &[Event], locations: &[Location]) -> bool {
    let graph = Graph::new(events, locations);
    let sequential: Vec<usize> = (0..events.len()).filter(|&event| events[event].sequential).collect();
    let edges: Vec<Vec<usize>> = sequential
        .iter()
        .map(|&from| (0..sequential.len()).filter(|&to| graph.psc(from, sequential[to])).collect())
        .collect();
    acyclic(&edges)
}

struct Graph<'a> {
    events: &'a [Event],
    /// Place in the modification order of the store read or made.
    place: Vec<usize>,
    /// For each event, the first event after it in program order at another location.
    next_elsewhere: Vec<Option<usize>>,
    /// For each event, the last event before it in program order at another location.
    previous_elsewhere: Vec<Option<usize>>,
}

impl<'a> Graph<'a> {
    fn new(events: &'a [Event], locations: &[Location]) -> Graph<'a> {
        let place = events.iter().map(|event| place(event, locations)).collect();
        let elsewhere = |a: usize, b: usize| {
            events[a].thread == events[b].thread
                && (events[a].location != events[b].location || events[a].kind == EventKind::Fence)
        };
        let all = 0..events.len();
        let next = |a: usize| (a + 1..events.len()).find(|&b| elsewhere(a, b));
        let previous = |b: usize| (0..b).rev().find(|&a| elsewhere(a, b));
        let next_elsewhere = all.clone().map(next).collect();
        let previous_elsewhere = all.map(previous).collect();
        Graph { events, place, next_elsewhere, previous_elsewhere }
    }

    fn happens_before(&self, a: usize, b: usize) -> bool {
        let (first, second) = (&self.events[a], &self.events[b]);
        a != b && second.clock.of(first.thread as usize) >= first.epoch
    }

    fn same_location(&self, a: usize, b: usize) -> bool {
        let (first, second) = (&self.events[a], &self.events[b]);
        first.kind != EventKind::Fence && first.location == second.location
    }

    fn writes(&self, event: usize) -> bool {
        matches!(self.events[event].kind, EventKind::Write | EventKind::Update)
    }

    /// Modification order, or from-read.
    fn overwritten_by(&self, a: usize, b: usize) -> bool {
        self.same_location(a, b) && self.writes(b) && self.place[a] < self.place[b]
    }

    /// The transitive closure of reads-from, modification order and from-read.
    fn communicates(&self, a: usize, b: usize) -> bool {
        a != b
            && self.same_location(a, b)
            && (self.place[a] < self.place[b]
                || self.place[a] == self.place[b] && self.writes(a) && !self.writes(b))
    }

    fn scb(&self, a: usize, b: usize) -> bool {
        if a == b {
            return false;
        }
        let program_order = self.events[a].thread == self.events[b].thread && a < b;
        let around = || match (self.next_elsewhere[a], self.previous_elsewhere[b]) {
            (Some(next), Some(previous)) => next == previous || self.happens_before(next, previous),
            _ => false,
        };
        program_order
            || self.overwritten_by(a, b)
            || self.same_location(a, b) && self.happens_before(a, b)
            || around()
    }

    fn psc(&self, a: usize, b: usize) -> bool {
        let fence = |event: usize| self.events[event].kind == EventKind::Fence;
        let all = 0..self.events.len();
        let after_a = all.clone().filter(|&event| event == a || fence(a) && self.happens_before(a, event));
        let before_b: Vec<usize> =
            all.filter(|&event| event == b || fence(b) && self.happens_before(event, b)).collect();
        if fence(a) && fence(b) && self.happens_before(a, b) {
            return true;
        }
        for first in after_a {
            for &second in &before_b {
                if self.scb(first, second) {
                    return true;
                }
                if fence(a) && fence(b) && first != a && second != b && self.communicates(first, second) {
                    return true;
                }
            }
        }
        false
    }
}

fn place(event: &Event, locations: &[Location]) -> usize {
    if event.kind == EventKind::Fence {
        return 0;
    }
    let stores = &locations[event.location as usize].stores;
    stores.iter().position(|store| store.id == event.store).unwrap_or(0)
}

fn acyclic(edges: &[Vec<usize>]) -> bool {
    let mut waiting: Vec<usize> = vec![0; edges.len()];
    edges.iter().flatten().for_each(|&to| waiting[to] += 1);
    let mut free: Vec<usize> = (0..edges.len()).filter(|&node| waiting[node] == 0).collect();
    let mut removed = 0;
    while let Some(node) = free.pop() {
        removed += 1;
        for &to in &edges[node] {
            waiting[to] -= 1;
            if waiting[to] == 0 {
                free.push(to);
            }
        }
    }
    removed == edges.len()
}
