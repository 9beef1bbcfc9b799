//! Well-known mistakes that a trace shows: acting on a value that has changed since, reading an old value, a pair of orders that
//! does not order.

use super::story::{Story, atomic_address, reads, stores};
use crate::operations::order;
use crate::trace::What;

/// A thread looked, another changed what it saw, and the first stored without looking again. Indices of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Torn {
    /// Where it looked.
    pub look: usize,
    /// Where another thread changed it.
    pub change: usize,
    /// Where it stored.
    pub act: usize,
}

/// The last such mistake, on `only` that address if one is given.
pub fn torn(story: &Story, only: Option<usize>) -> Option<Torn> {
    let events = story.events();
    for act in (0..events.len()).rev() {
        let (address, found) = match events[act].what {
            What::Store { address, .. } => (address, None),
            What::Update { address, read, written: Some(_), .. } => (address, Some(read)),
            _ => continue,
        };
        if only.is_some_and(|only| only != address) {
            continue;
        }
        let thread = events[act].thread;
        let own = |index: &usize| {
            events[*index].thread == thread && atomic_address(&events[*index].what) == Some(address)
        };
        let Some(look) = (0..act).rev().find(own) else { continue };
        let Some(seen) = stores(&events[look], address).or_else(|| reads(&events[look], address)) else {
            continue;
        };
        // An update looks again: only what a mere load has found out before can be out of date.
        if found.is_some_and(|found| found == seen || !matches!(events[look].what, What::Load { .. })) {
            continue;
        }
        // Whoever wakes a sleeper next has looked at what the update found.
        let next = events[act + 1..].iter().find(|event| event.thread == thread);
        if found.is_some()
            && next.is_some_and(
                |next| matches!(next.what, What::Wake { address: woken, .. } if woken == address),
            )
        {
            continue;
        }
        let changed = |index: &usize| {
            events[*index].thread != thread
                && stores(&events[*index], address).is_some_and(|value| value != seen)
        };
        if let Some(change) = (look + 1..act).find(changed) {
            return Some(Torn { look, change, act });
        }
    }
    None
}

/// A read of an old value, and the store that it did not see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stale {
    /// The read.
    pub read: usize,
    /// The newest store before it, which it does not see.
    pub missed: usize,
}

/// The last read of an old value by `thread`, or by anybody.
pub fn stale(story: &Story, thread: Option<usize>) -> Option<Stale> {
    let events = story.events();
    (0..events.len()).rev().find_map(|read| {
        let (address, behind) = match events[read].what {
            What::Load { address, behind, .. } | What::Update { address, behind, .. } => (address, behind),
            _ => return None,
        };
        if behind == 0 || thread.is_some_and(|thread| thread != events[read].thread) {
            return None;
        }
        let missed = (0..read).rev().find(|&index| stores(&events[index], address).is_some())?;
        Some(Stale { read, missed })
    })
}

/// A store and a read of what it stored that would order what came before the one and after the other, had they the orders for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unordered {
    /// The store.
    pub store: usize,
    /// The read.
    pub read: usize,
    /// The store releases.
    pub releases: bool,
    /// The read acquires.
    pub acquires: bool,
}

/// Where the thread `second`, before its step `until`, read what `first` had stored after its step `since`, without order.
pub fn unordered(
    story: &Story,
    (first, since): (usize, u32),
    (second, until): (usize, u32),
) -> Option<Unordered> {
    let events = story.events();
    let candidates =
        (0..events.len()).filter(|&read| events[read].thread == second && events[read].step <= until);
    candidates.rev().find_map(|read| {
        let (What::Load { from, order: acquire, address, .. }
        | What::Update { from, order: acquire, address, .. }) = events[read].what
        else {
            return None;
        };
        let store = events.iter().position(|event| {
            event.thread == first
                && event.step == from
                && event.step > since
                && stores(event, address).is_some()
        })?;
        let (What::Store { order: release, .. } | What::Update { order: release, .. }) = events[store].what
        else {
            return None;
        };
        let (releases, acquires) = (order::releases(release), order::acquires(acquire));
        (!releases || !acquires).then_some(Unordered { store, read, releases, acquires })
    })
}

/// Who set `address` from 0 to something and has not set it back: the holder, if it is a lock. The index of that event.
pub fn holder(story: &Story, address: usize) -> Option<usize> {
    let events = story.events();
    let mut held = None;
    let mut value = 0;
    for (index, event) in events.iter().enumerate() {
        let Some(stored) = stores(event, address) else { continue };
        if matches!(event.what, What::Update { name: "fetch_add" | "fetch_sub", .. }) {
            // A counter, not a lock.
            return None;
        }
        if matches!(event.what, What::Store { .. }) && ![0, value].contains(&stored) && value != 0 {
            // A number that goes on, such as the one that is served next.
            return None;
        }
        let taken = reads(event, address).unwrap_or(value) == 0 && stored != 0;
        if stored == 0 {
            held = None;
        } else if taken {
            held = Some(index);
        }
        value = stored;
    }
    held
}
