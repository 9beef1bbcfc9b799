//! C11's rule for `SeqCst`, as repaired by RC11 (Lahav et al., PLDI 2017): the partial order `psc` has no cycle.
//!
//! Events are executed in an order that respects program order and reads-from, and new events come last in all relations
//! unless a read takes an old value or a store goes to an old place of the modification order. So only those need this test,
//! and all that it needs to know of an event is which `SeqCst` events come before it. With an event come those before it in
//! program order, so a vector clock says which. Everything is worked out once for each event, when the first test after it
//! is made.

use super::clock::{Clock, MAX_THREADS};
use super::event::{Candidate, Event};
use super::history::Location;

/// No event.
const NONE: u32 = u32::MAX;

/// What is known of an event. Clocks count `SeqCst` events: those from which a path of `psc` begins that can go on here. Of
/// the steps of `psc`, scb is the middle one, and hb, scb, mo, fr and eco are RC11's names.
#[derive(Clone, Debug)]
struct Node {
    /// Place in the modification order of the store read or made.
    place: u32,
    /// The thread's event before it.
    previous: u32,
    /// The thread's last event before it at another location.
    elsewhere: u32,
    /// The thread's last event before it at the same location.
    here: u32,
    /// Up to it and by it: what reaches it by scb.
    entered: Clock,
    /// What reaches a fence before it in hb.
    fences: Clock,
    /// Up to it in program order: itself, if it is `SeqCst`, and the fences before it in hb.
    until: Clock,
    /// The same, of events at its location only.
    until_here: Clock,
    /// Up to it and by it: what reaches a fence that is before, in hb, an event from which eco leads to it.
    communicated: Clock,
    /// If it is `SeqCst`: itself and what reaches it.
    reach: Clock,
}

impl Node {
    const EMPTY: Node = Node {
        place: 0,
        previous: NONE,
        elsewhere: NONE,
        here: NONE,
        entered: Clock::NONE,
        fences: Clock::NONE,
        until: Clock::NONE,
        until_here: Clock::NONE,
        communicated: Clock::NONE,
        reach: Clock::NONE,
    };
}

/// The events of one thread, in program order.
#[derive(Default, Debug)]
struct Lane {
    all: Vec<u32>,
    fences: Vec<u32>,
}

/// What is known of the events of one execution.
#[derive(Default, Debug)]
pub struct Order {
    nodes: Vec<Node>,
    lanes: [Lane; MAX_THREADS],
    /// For each location and thread, its last event there.
    last_here: Vec<[u32; MAX_THREADS]>,
    /// Threads with events are below this number.
    threads: usize,
    /// Locations where a store went before another one: places are looked up anew.
    moved: Vec<u32>,
    /// Some event since did not come last at its location.
    outdated: bool,
    /// From here on, events may come after some that were executed later.
    back: usize,
}

impl Order {
    /// No events.
    pub fn reset(&mut self) {
        self.nodes.clear();
        self.last_here.clear();
        for lane in &mut self.lanes[..self.threads] {
            lane.all.clear();
            lane.fences.clear();
        }
        self.threads = 0;
        self.moved.clear();
        self.outdated = false;
        self.back = usize::MAX;
    }

    /// The next event at `location` does not come last there: the stores from place `later` on come after it.
    pub fn step_back(&mut self, location: u32, later: usize, stores: bool) {
        self.outdated = true;
        self.back = self.back.min(self.nodes.len());
        for thread in 0..self.threads {
            let mut index = self.last_at(location, thread);
            while index != NONE && self.nodes[index as usize].place as usize >= later {
                self.back = self.back.min(index as usize);
                index = self.nodes[index as usize].here;
            }
        }
        if stores {
            self.moved.push(location);
        }
    }

    /// Whether `psc` has no cycle when `candidate` follows `events`.
    pub fn permits(&mut self, events: &[Event], locations: &[Location], candidate: &Candidate) -> bool {
        self.catch_up(events, locations);
        let (event, later) = (&candidate.event, candidate.later as u32);
        let view = View { event, index: NONE, later };
        let previous = self.lanes[event.thread()].all.last().copied().unwrap_or(NONE);
        let fences = self.fences_before(events, &view);
        let mut sources = fences;
        if event.sequential {
            let elsewhere = self.elsewhere(events, previous, event);
            sources.join(&self.entering(events, &view, previous, elsewhere));
            sources.set(event.thread(), event.epoch);
        }
        if sources == Clock::NONE {
            return true;
        }
        (0..self.threads).all(|thread| {
            let mut index = self.last_at(event.location, thread);
            while index != NONE && self.nodes[index as usize].place >= later {
                let after = &events[index as usize];
                let reached = if after.writes() { &sources } else { &fences };
                let itself = after.sequential && after.writes() && reached.of(thread) >= after.epoch;
                if itself || self.fence_after(events, after, reached) {
                    return false;
                }
                index = self.nodes[index as usize].here;
            }
            true
        })
    }

    /// Whether a fence after `event` in hb is among `reached`.
    fn fence_after(&self, events: &[Event], event: &Event, reached: &Clock) -> bool {
        self.lanes[..self.threads].iter().enumerate().any(|(thread, lane)| {
            let knows = |fence: u32| events[fence as usize].clock.of(event.thread()) >= event.epoch;
            // Most fences are older, and the first one that is not decides for its thread.
            let known = lane.fences.partition_point(|&fence| !knows(fence));
            lane.fences.get(known).is_some_and(|&fence| reached.of(thread) >= events[fence as usize].epoch)
        })
    }

    fn catch_up(&mut self, events: &[Event], locations: &[Location]) {
        let known = self.nodes.len();
        if !self.outdated {
            for index in known..events.len() {
                self.link(events, locations, index);
                self.work_out(events, index);
            }
            return;
        }
        self.outdated = false;
        while let Some(location) = self.moved.pop() {
            for thread in 0..self.threads {
                let mut index = self.last_at(location, thread);
                while index != NONE {
                    self.nodes[index as usize].place = place(&events[index as usize], locations);
                    index = self.nodes[index as usize].here;
                }
            }
        }
        (known..events.len()).for_each(|index| self.link(events, locations, index));
        let mut changes = true;
        while std::mem::take(&mut changes) {
            for index in self.back..events.len() {
                changes |= self.work_out(events, index);
            }
        }
    }

    /// Puts an event where it belongs.
    fn link(&mut self, events: &[Event], locations: &[Location], index: usize) {
        let event = &events[index];
        let thread = event.thread();
        self.threads = self.threads.max(thread + 1);
        let previous = self.lanes[thread].all.last().copied().unwrap_or(NONE);
        let mut node = Node { previous, elsewhere: self.elsewhere(events, previous, event), ..Node::EMPTY };
        self.lanes[thread].all.push(index as u32);
        if event.is_fence() {
            self.lanes[thread].fences.push(index as u32);
        } else {
            let location = event.location as usize;
            node.place = place(event, locations);
            if self.last_here.len() <= location {
                self.last_here.resize(location + 1, [NONE; MAX_THREADS]);
            }
            node.here = std::mem::replace(&mut self.last_here[location][thread], index as u32);
        }
        self.nodes.push(node);
    }

    /// Of the events before one, `previous` the last of them, the last at another location.
    fn elsewhere(&self, events: &[Event], previous: u32, event: &Event) -> u32 {
        match events.get(previous as usize) {
            Some(before) if !before.is_fence() && before.location == event.location => {
                self.nodes[previous as usize].elsewhere
            }
            _ => previous,
        }
    }

    /// Works out the clocks of an event; whether one of them changed.
    fn work_out(&mut self, events: &[Event], index: usize) -> bool {
        let event = &events[index];
        let node = &self.nodes[index];
        let (previous, here) = (node.previous, node.here);
        let later = node.place + u32::from(!event.writes());
        let view = View { event, index: index as u32, later };
        let fences = self.fences_before(events, &view);
        let entering = self.entering(events, &view, previous, node.elsewhere);
        let communicating = if event.is_fence() { Clock::NONE } else { self.communicating(events, &view) };
        let mut reach = Clock::NONE;
        if event.sequential {
            reach.join(&entering);
            if event.is_fence() {
                reach.join(&fences);
                reach.join(&self.through_events_before(events, &view, previous));
            }
            reach.set(event.thread(), event.epoch);
        }
        let mut itself = fences;
        itself.join(&reach);
        let up_to = |index: u32, clock: fn(&Node) -> &Clock, own: &Clock| {
            let mut all = self.nodes.get(index as usize).map_or(Clock::NONE, |node| *clock(node));
            all.join(own);
            all
        };
        let entered = up_to(previous, |node| &node.entered, &entering);
        let until = up_to(previous, |node| &node.until, &itself);
        let until_here = up_to(here, |node| &node.until_here, &itself);
        let communicated = up_to(previous, |node| &node.communicated, &communicating);
        let node = &mut self.nodes[index];
        let new = Node { entered, fences, until, until_here, communicated, reach, ..*node };
        let changes = new.clocks() != node.clocks();
        *node = new;
        changes
    }

    /// What reaches a fence before `view` in hb.
    fn fences_before(&self, events: &[Event], view: &View) -> Clock {
        let mut clock = Clock::NONE;
        for (thread, lane) in self.lanes[..self.threads].iter().enumerate() {
            let known = view.event.clock.of(thread);
            let before = |fence: u32| fence < view.index && events[fence as usize].epoch <= known;
            if let Some(&fence) = lane.fences.iter().rev().find(|&&fence| before(fence)) {
                clock.join(&self.nodes[fence as usize].reach);
            }
        }
        clock
    }

    /// What reaches `view` by scb: program order; mo, fr and hb at its location; hb between other locations.
    fn entering(&self, events: &[Event], view: &View, previous: u32, elsewhere: u32) -> Clock {
        let mut clock = self.nodes.get(previous as usize).map_or(Clock::NONE, |node| node.until);
        for thread in 0..self.threads {
            if !view.event.is_fence() {
                let known = view.event.clock.of(thread);
                let before = |index: u32| {
                    let earlier = view.event.writes() && self.nodes[index as usize].place < view.later;
                    index != view.index
                        && (earlier || index < view.index && events[index as usize].epoch <= known)
                };
                if let Some(index) = self.find_here(view.event.location, thread, before) {
                    clock.join(&self.nodes[index as usize].until_here);
                }
            }
            if let Some(middle) = events.get(elsewhere as usize)
                && let Some(last) = self.known(events, thread, middle.clock.of(thread), elsewhere)
                && let Some(node) = self.nodes.get(self.nodes[last as usize].elsewhere as usize)
            {
                clock.join(&node.until);
            }
        }
        clock
    }

    /// What reaches a fence that is before, in hb, an event from which eco leads to `view`.
    fn communicating(&self, events: &[Event], view: &View) -> Clock {
        let mut clock = Clock::NONE;
        let (place, writes) = (self.nodes[view.index as usize].place, view.event.writes());
        for thread in 0..self.threads {
            let before = |index: u32| {
                let node = &self.nodes[index as usize];
                node.place < place || node.place == place && !writes && events[index as usize].writes()
            };
            if let Some(index) = self.find_here(view.event.location, thread, before) {
                clock.join(&self.nodes[index as usize].fences);
            }
        }
        clock
    }

    /// What reaches a fence by way of events before it in hb.
    fn through_events_before(&self, events: &[Event], fence: &View, previous: u32) -> Clock {
        let mut clock = Clock::NONE;
        for thread in 0..self.threads {
            let last = if thread == fence.event.thread() {
                Some(previous).filter(|&previous| previous != NONE)
            } else {
                self.known(events, thread, fence.event.clock.of(thread), fence.index)
            };
            if let Some(last) = last {
                clock.join(&self.nodes[last as usize].entered);
                clock.join(&self.nodes[last as usize].communicated);
            }
        }
        clock
    }

    /// The last event of `thread` up to its event number `epoch` and up to `index`.
    fn known(&self, events: &[Event], thread: usize, epoch: u16, index: u32) -> Option<u32> {
        let all = &self.lanes[thread].all;
        let known = |event: u32| event <= index && events[event as usize].epoch <= epoch;
        let last = *all.last()?;
        if known(last) {
            return Some(last);
        }
        let count = all.partition_point(|&event| known(event));
        Some(all[count.checked_sub(1)?])
    }

    /// The last event of `thread` at `location` with a condition that holds for all before it as well.
    fn find_here(&self, location: u32, thread: usize, condition: impl Fn(u32) -> bool) -> Option<u32> {
        let mut index = self.last_at(location, thread);
        while index != NONE && !condition(index) {
            index = self.nodes[index as usize].here;
        }
        (index != NONE).then_some(index)
    }

    fn last_at(&self, location: u32, thread: usize) -> u32 {
        self.last_here.get(location as usize).map_or(NONE, |threads| threads[thread])
    }
}

/// An event, or one that may follow, as the rules see it.
struct View<'a> {
    event: &'a Event,
    /// Its number; beyond all others for one that may follow.
    index: u32,
    /// The place of the first store after it in modification order or from-read.
    later: u32,
}

impl Node {
    fn clocks(&self) -> [&Clock; 6] {
        [&self.entered, &self.fences, &self.until, &self.until_here, &self.communicated, &self.reach]
    }
}

fn place(event: &Event, locations: &[Location]) -> u32 {
    let stores = &locations[event.location as usize].stores;
    stores.iter().rposition(|store| store.id == event.store).unwrap_or(0) as u32
}
