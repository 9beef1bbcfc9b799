//! What only the processor's own instructions can do wrong: a read-modify-write without `lock`, and a store that waits in
//! the store buffer while a later load is made.

use super::story::{Story, atomic_address};
use crate::operations::order;
use crate::trace::{Event, What};

/// Sentences for both, if they were part of the execution.
pub fn explain(story: &Story) -> Option<String> {
    let sentences: Vec<String> = [unlocked(story), delayed(story)].into_iter().flatten().collect();
    (!sentences.is_empty()).then(|| sentences.join("\n"))
}

/// Whether the store at `index` stays in its thread's buffer.
pub fn stays(story: &Story, index: usize) -> bool {
    follow(story, index).is_some_and(|event| matches!(event.what, What::Delayed { .. }))
}

/// The next event of the same thread at the same address.
fn follow<'a>(story: &'a Story, index: usize) -> Option<&'a Event> {
    let event = &story.events()[index];
    let address = atomic_address(&event.what);
    story.events()[index + 1..]
        .iter()
        .find(|next| next.thread == event.thread && atomic_address(&next.what) == address)
}

/// The static rule: whatever the interleaving was, this instruction is wrong on memory that others use.
fn unlocked(story: &Story) -> Option<String> {
    let events = story.events();
    let shared = |index: usize, at: usize| {
        let thread = events[index].thread;
        events.iter().any(|other| other.thread != thread && atomic_address(&other.what) == Some(at))
    };
    let index = (0..events.len()).find(|&index| match events[index].what {
        What::Store { order: order::UNLOCKED, address, .. } => shared(index, address),
        _ => false,
    })?;
    let word = atomic_address(&events[index].what).map(|address| story.word(address)).unwrap_or_default();
    Some(format!(
        "{} reads and writes {word} without the `lock` prefix ({}): between its read and its write another processor can \
         come in.",
        story.name(events[index].thread),
        story.at(index)
    ))
}

fn delayed(story: &Story) -> Option<String> {
    let events = story.events();
    let store = (0..events.len())
        .find(|&index| matches!(events[index].what, What::Store { .. }) && stays(story, index))?;
    let (thread, address) = (events[store].thread, atomic_address(&events[store].what)?);
    let arrives = (store..events.len())
        .find(|&index| {
            let event = &events[index];
            let arrives = matches!(event.what, What::Arrives { address: at, .. } if at == address);
            arrives && event.thread == thread
        })
        .unwrap_or(events.len());
    let load = (store..arrives).find(|&index| match events[index].what {
        What::Load { address: at, .. } => events[index].thread == thread && at != address,
        _ => false,
    })?;
    let read = atomic_address(&events[load].what)?;
    Some(format!(
        "{} stores to {} ({}) and then reads {} ({}), but on x86-64 a load may overtake an older store: the store was still \
         in the store buffer, where nobody else sees it. A fence between the two (`mfence`, or a locked instruction) makes \
         the load wait.",
        story.name(thread),
        story.word(address),
        story.at(store),
        story.word(read),
        story.at(load),
    ))
}
