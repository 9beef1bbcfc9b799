//! Which events a reader needs: the failure itself, what led there on the same memory, and where threads took turns.

use std::collections::{BTreeMap, BTreeSet};

use super::pattern::{Stale, Torn, Unordered, stale, torn, unordered};
use super::story::{Story, atomic_address, stores};
use crate::finding::{Blocked, Cause, Site};
use crate::memory::race::Touch;
use crate::thread::Woken;
use crate::trace::{Event, What};

/// How much an event is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Not at all: no other thread sees it.
    None,
    /// It is on memory that threads share.
    Context,
    /// It changes what the failing thread looks at, or stands where another thread took over.
    Lead,
    /// Without it the failure cannot be understood.
    Failure,
}

/// How much each event is needed.
pub fn needs(story: &Story) -> Vec<Need> {
    let events = story.events();
    let shared = shared(events);
    let keys = keys(story);
    let mut needs: Vec<Need> = events.iter().map(|event| need(event, story, &shared, &keys)).collect();
    for index in turns(events, &needs) {
        needs[index] = needs[index].max(Need::Lead);
    }
    for index in failure(story, &keys) {
        needs[index] = Need::Failure;
    }
    needs
}

fn need(event: &Event, story: &Story, shared: &BTreeSet<usize>, keys: &BTreeSet<usize>) -> Need {
    match &event.what {
        What::Panic { .. } | What::Note { .. } => Need::Failure,
        What::Woke { how: Woken::Spurious | Woken::Interrupted | Woken::TimedOut } => Need::Failure,
        What::Wait { address, .. } | What::Wake { address, .. } => {
            if keys.contains(address) {
                Need::Lead
            } else {
                Need::Context
            }
        }
        What::Read { .. } | What::Write { .. } | What::Free { .. } => {
            let racing = sites(&story.finding.cause)
                .is_some_and(|sites| sites.iter().any(|site| is_site(event, site)));
            if racing { Need::Failure } else { Need::None }
        }
        What::Load { address, .. } | What::Store { address, .. } | What::Update { address, .. } => {
            if !shared.contains(address) {
                Need::None
            } else if keys.contains(address) && stores(event, *address).is_some() {
                Need::Lead
            } else {
                Need::Context
            }
        }
        What::Arrives { .. } => Need::Lead,
        What::Delayed { .. } => Need::None,
        What::Woke { how: Woken::Asked } | What::Fence { .. } | What::Sleep { .. } => Need::Context,
        What::Spawn { .. } | What::Join { .. } | What::Finish | What::Yield => Need::None,
    }
}

/// Events that belong to the failure.
fn failure(story: &Story, keys: &BTreeSet<usize>) -> Vec<usize> {
    let events = story.events();
    let mut found = Vec::new();
    match &story.finding.cause {
        Cause::Race { earlier, later, .. } => {
            if let Some(Unordered { store, read, .. }) =
                unordered(story, (earlier.thread, earlier.step), (later.thread, later.step))
            {
                found.extend([store, read]);
            }
        }
        Cause::LostWakeUp { blocked } | Cause::Deadlock { blocked } | Cause::Livelock { blocked } => {
            for thread in blocked.iter().filter_map(stuck) {
                found.extend((0..events.len()).rev().find(|&index| events[index].thread == thread));
            }
            for &key in keys {
                let nobody = |event: &Event| matches!(&event.what, What::Wake { address, woken, .. } if *address == key && woken.is_empty());
                found.extend((0..events.len()).rev().find(|&index| nobody(&events[index])));
                found.extend((0..events.len()).rev().find(|&index| stores(&events[index], key).is_some()));
                if let Some(Torn { look, change, act }) = torn(story, Some(key)) {
                    found.extend([look, change, act]);
                }
            }
        }
        Cause::Panic { thread, .. } => {
            if let Some(Torn { look, change, act }) = torn(story, None) {
                found.extend([look, change, act]);
            }
            found.extend(
                (0..events.len())
                    .rev()
                    .filter(|&index| {
                        events[index].thread == *thread && atomic_address(&events[index].what).is_some()
                    })
                    .take(2),
            );
        }
        Cause::UseAfterFree { .. } | Cause::Endless { .. } | Cause::Refused { .. } | Cause::Crash { .. } => {}
        Cause::Leaves { .. } | Cause::StackOverflow { .. } | Cause::Unseen { .. } | Cause::Diverged => {}
    }
    if let Some(Stale { read, missed }) = stale(story, None) {
        found.extend([read, missed]);
        let since = (events[missed].thread, events[missed].step);
        if let Some(Unordered { store, read, .. }) =
            unordered(story, since, (events[read].thread, events[read].step))
        {
            found.extend([store, read]);
        }
    }
    found
}

/// Memory that the failure is about.
fn keys(story: &Story) -> BTreeSet<usize> {
    let mut keys = BTreeSet::new();
    match &story.finding.cause {
        Cause::LostWakeUp { blocked } | Cause::Deadlock { blocked } | Cause::Livelock { blocked } => {
            for blocked in blocked {
                match blocked {
                    Blocked::Waiting { address, .. } => keys.insert(*address),
                    Blocked::Spinning { watches: Some((address, _)), .. } => keys.insert(*address),
                    Blocked::Spinning { watches: None, .. } | Blocked::Joining { .. } => false,
                };
            }
        }
        Cause::Panic { .. }
        | Cause::Race { .. }
        | Cause::UseAfterFree { .. }
        | Cause::Endless { .. }
        | Cause::Refused { .. }
        | Cause::Leaves { .. }
        | Cause::Crash { .. }
        | Cause::StackOverflow { .. }
        | Cause::Unseen { .. }
        | Cause::Diverged => {}
    }
    if let Some(Stale { read, .. }) = stale(story, None) {
        keys.extend(atomic_address(&story.events()[read].what));
    }
    keys
}

/// Where one thread took over from another that had more to do: the events on both sides.
fn turns(events: &[Event], needs: &[Need]) -> Vec<usize> {
    let shown: Vec<usize> = (0..events.len()).filter(|&index| needs[index] >= Need::Context).collect();
    let mut turns = Vec::new();
    for (at, pair) in shown.windows(2).enumerate() {
        let [before, after] = *pair else { continue };
        let thread = events[before].thread;
        if thread != events[after].thread
            && shown[at + 2..].iter().any(|&later| events[later].thread == thread)
        {
            turns.extend([before, after]);
        }
    }
    turns
}

/// Addresses that at least two threads touch, one of them storing.
fn shared(events: &[Event]) -> BTreeSet<usize> {
    let mut seen: BTreeMap<usize, (BTreeSet<usize>, bool)> = BTreeMap::new();
    for event in events {
        if let Some(address) = atomic_address(&event.what) {
            let (threads, stored) = seen.entry(address).or_default();
            threads.insert(event.thread);
            *stored |= stores(event, address).is_some();
        }
    }
    seen.into_iter()
        .filter(|(_, (threads, stored))| threads.len() > 1 && *stored)
        .map(|(address, _)| address)
        .collect()
}

/// The two accesses that a race or a use after free is about.
pub fn sites(cause: &Cause) -> Option<[&Site; 2]> {
    match cause {
        Cause::Race { earlier, later, .. } => Some([earlier, later]),
        Cause::UseAfterFree { freed, used, .. } => Some([freed, used]),
        Cause::Panic { .. }
        | Cause::Deadlock { .. }
        | Cause::LostWakeUp { .. }
        | Cause::Livelock { .. }
        | Cause::Endless { .. }
        | Cause::Refused { .. }
        | Cause::Leaves { .. }
        | Cause::Crash { .. }
        | Cause::StackOverflow { .. }
        | Cause::Unseen { .. }
        | Cause::Diverged => None,
    }
}

/// Whether an event is that access.
pub fn is_site(event: &Event, site: &Site) -> bool {
    let same = match event.what {
        What::Free { .. } => site.touch == Touch::Free,
        _ => event.callers.first() == Some(&site.pc),
    };
    same && event.thread == site.thread && event.step == site.step
}

/// The thread that a report calls stuck: one that only waits for another's end is not.
pub fn stuck(blocked: &Blocked) -> Option<usize> {
    match blocked {
        Blocked::Waiting { thread, .. } | Blocked::Spinning { thread, .. } => Some(*thread),
        Blocked::Joining { .. } => None,
    }
}
