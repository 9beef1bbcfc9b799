//! The events of a failing execution with their source lines, and the words in which a report speaks of them: threads by name,
//! memory by what the source calls it, pointers by letters. Nothing here depends on addresses.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{Place, Sources};
use crate::finding::{Cause, Finding};
use crate::trace::{Event, What};

/// A finding's events, ready to be told.
pub struct Story<'a> {
    /// What is told.
    pub finding: &'a Finding,
    /// The line of each event, as far as known.
    pub places: Vec<Option<Place>>,
    /// The line calls what does it, because the line that does it would not say to which object.
    pub called: Vec<bool>,
    words: BTreeMap<usize, String>,
    pointers: BTreeMap<u128, String>,
}

impl<'a> Story<'a> {
    /// Finds the lines and the names.
    pub fn new(finding: &'a Finding, sources: &mut Sources) -> Story<'a> {
        let events = &finding.trace.events;
        let frames: Vec<Vec<Place>> = events.iter().map(|event| frames(event, finding, sources)).collect();
        let wrappers = wrappers(&frames);
        let mut levels: Vec<usize> =
            frames.iter().zip(events).map(|(frames, event)| level(frames, event, &wrappers)).collect();
        let mut words = words(events, &frames, &levels);
        // Two objects of one name: the line that calls may tell them apart.
        let ambiguous: BTreeSet<usize> = ambiguous(&words);
        let mut called = vec![false; events.len()];
        if !ambiguous.is_empty() {
            let mut raised = levels.clone();
            for (index, event) in events.iter().enumerate() {
                if atomic_address(&event.what).is_some_and(|address| ambiguous.contains(&address))
                    && raised[index] + 1 < frames[index].len()
                {
                    raised[index] += 1;
                }
            }
            let outer = self::words(events, &frames, &raised);
            if ambiguous.iter().all(|address| outer.contains_key(address))
                && self::ambiguous(&outer).is_disjoint(&ambiguous)
            {
                called = raised.iter().zip(&levels).map(|(raised, level)| raised > level).collect();
                (levels, words) = (raised, outer);
            }
        }
        let places = frames.into_iter().zip(levels).map(|(mut frames, level)| {
            if level < frames.len() { Some(frames.swap_remove(level)) } else { None }
        });
        Story { finding, places: places.collect(), called, words, pointers: pointers(events) }
    }

    /// The events, in order of time.
    pub fn events(&self) -> &'a [Event] {
        &self.finding.trace.events
    }

    /// A thread's name.
    pub fn name(&self, thread: usize) -> &'a str {
        self.finding.trace.threads.get(thread).map_or("a thread", String::as_str)
    }

    /// What the source calls the memory at `address`, in backquotes.
    pub fn word(&self, address: usize) -> String {
        self.words.get(&address).map_or_else(|| "the word".to_owned(), |word| format!("`{word}`"))
    }

    /// A value as a reader likes it.
    pub fn value(&self, value: u128) -> String {
        match self.pointers.get(&value) {
            Some(letter) => letter.clone(),
            None if value <= u128::from(u32::MAX) => value.to_string(),
            None if value == u128::from(u64::MAX) => "u64::MAX".to_owned(),
            None => format!("{value:#x}"),
        }
    }

    /// `step 5, lib.rs:41`
    pub fn at(&self, index: usize) -> String {
        let step = self.events()[index].step;
        match &self.places[index] {
            Some(place) => format!("step {step}, {}", place.short()),
            None => format!("step {step}"),
        }
    }

    /// `lib.rs:41`, or the step where the line is not known.
    pub fn line(&self, index: usize) -> String {
        match &self.places[index] {
            Some(place) => place.short(),
            None => format!("step {}", self.events()[index].step),
        }
    }
}

pub(super) fn frames(event: &Event, finding: &Finding, sources: &mut Sources) -> Vec<Place> {
    match (&event.what, &finding.cause) {
        (What::Panic { message }, Cause::Panic { message: cause, place, .. }) if message == cause => {
            sources.named(place).into_iter().collect()
        }
        _ => sources.places(&event.callers),
    }
}

/// A function of one line that several lines of its own file call: the calling line says more.
fn wrappers(frames: &[Vec<Place>]) -> BTreeSet<(String, String)> {
    /// Of a function: its own lines, and those that call it.
    type Lines = (BTreeSet<u32>, BTreeSet<u32>);
    let mut lines: BTreeMap<(&str, &str), Lines> = BTreeMap::new();
    for frames in frames {
        if let [inner, outer, ..] = frames.as_slice()
            && inner.file == outer.file
            && inner.function != outer.function
        {
            let seen = lines.entry((&inner.file, &inner.function)).or_default();
            seen.0.insert(inner.line);
            seen.1.insert(outer.line);
        }
    }
    let wraps = lines.into_iter().filter(|(_, (own, callers))| own.len() == 1 && callers.len() > 1);
    wraps.map(|((file, function), _)| (file.to_owned(), function.to_owned())).collect()
}

/// Which of the lines to show, the innermost being 0.
fn level(frames: &[Place], event: &Event, wrappers: &BTreeSet<(String, String)>) -> usize {
    let mut level = 0;
    while level + 1 < frames.len() && level < 3 {
        let place = &frames[level];
        let futex = matches!(event.what, What::Wait { .. } | What::Wake { .. } | What::Woke { .. });
        let calls =
            futex && level == 0 && (place.text.contains("syscall") || place.text.contains("SYS_futex"));
        if !calls && !wrappers.contains(&(place.file.clone(), place.function.clone())) {
            break;
        }
        level += 1;
    }
    level
}

/// What most of the lines that touch an address call it.
fn words(events: &[Event], frames: &[Vec<Place>], levels: &[usize]) -> BTreeMap<usize, String> {
    let mut votes: BTreeMap<usize, BTreeMap<&str, usize>> = BTreeMap::new();
    for (index, event) in events.iter().enumerate() {
        if let Some(address) = atomic_address(&event.what)
            && let Some(word) = frames[index].get(levels[index]).and_then(Place::operand)
        {
            *votes.entry(address).or_default().entry(word).or_default() += 1;
        }
    }
    let most = |votes: BTreeMap<&str, usize>| {
        votes
            .into_iter()
            .max_by_key(|&(word, count)| (count, std::cmp::Reverse(word)))
            .map(|(word, _)| word.to_owned())
    };
    votes.into_iter().filter_map(|(address, votes)| Some((address, most(votes)?))).collect()
}

/// Addresses whose name another one has, too.
fn ambiguous(words: &BTreeMap<usize, String>) -> BTreeSet<usize> {
    let mut by_word: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (&address, word) in words {
        by_word.entry(word).or_default().push(address);
    }
    by_word.into_values().filter(|addresses| addresses.len() > 1).flatten().collect()
}

/// Pointers among the values get letters, in order of appearance.
fn pointers(events: &[Event]) -> BTreeMap<u128, String> {
    let mut pointers: BTreeMap<u128, String> = BTreeMap::new();
    for event in events {
        let values = match event.what {
            What::Load { value, .. } | What::Store { value, .. } => [value, 0],
            What::Update { read, written, .. } => [read, written.unwrap_or(0)],
            _ => continue,
        };
        for value in values {
            let count = pointers.len();
            if looks_like_a_pointer(value) && count < 26 {
                pointers.entry(value).or_insert_with(|| format!("&{}", char::from(b'A' + count as u8)));
            }
        }
    }
    pointers
}

fn looks_like_a_pointer(value: u128) -> bool {
    matches!(value >> 40, 0x55..=0x57 | 0x7c..=0x7f)
}

/// The address that an atomic operation or a futex call is about.
pub fn atomic_address(what: &What) -> Option<usize> {
    match what {
        What::Load { address, .. }
        | What::Store { address, .. }
        | What::Update { address, .. }
        | What::Delayed { address, .. }
        | What::Arrives { address, .. }
        | What::Wait { address, .. }
        | What::Wake { address, .. } => Some(*address),
        What::Fence { .. }
        | What::Read { .. }
        | What::Write { .. }
        | What::Free { .. }
        | What::Woke { .. }
        | What::Spawn { .. }
        | What::Join { .. }
        | What::Finish
        | What::Yield
        | What::Sleep { .. }
        | What::Panic { .. }
        | What::Note { .. } => None,
    }
}

/// The value that an event leaves at `at`, if it stores there.
pub fn stores(event: &Event, at: usize) -> Option<u128> {
    match event.what {
        What::Store { address, value, .. } if address == at => Some(value),
        What::Update { address, written: Some(written), .. } if address == at => Some(written),
        _ => None,
    }
}

/// The value that an event sees at `at`, if it reads there.
pub fn reads(event: &Event, at: usize) -> Option<u128> {
    match event.what {
        What::Load { address, value, .. } if address == at => Some(value),
        What::Update { address, read, .. } if address == at => Some(read),
        What::Wait { address, found, .. } if address == at => Some(u128::from(found)),
        _ => None,
    }
}
