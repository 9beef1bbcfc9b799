//! The cause in one or two sentences, in the reader's own lines.

mod sleeper;

use self::sleeper::Sleeper;
use super::headline::{list, touch};
use super::pattern::{Stale, Torn, Unordered, holder, stale, torn, unordered};
use super::source::{Place, Sources};
use super::story::{Story, atomic_address, reads, stores};
use crate::finding::{Blocked, Cause, Site};
use crate::memory::race::Touch;
use crate::operations::order;
use crate::trace::What;

/// One or two sentences that say why.
pub fn explain(story: &Story, sources: &mut Sources) -> String {
    match &story.finding.cause {
        Cause::Deadlock { blocked } | Cause::LostWakeUp { blocked } | Cause::Livelock { blocked } => {
            let mut sentences: Vec<String> =
                blocked.iter().filter_map(|blocked| why_blocked(blocked, story)).collect();
            if sentences.is_empty() {
                sentences.push(why_joining(blocked, story));
            }
            let spins = blocked.iter().any(|blocked| matches!(blocked, Blocked::Spinning { .. }));
            sentences.extend(torn(story, None).filter(|_| spins).map(|torn| why_torn(story, torn)));
            sentences.join("\n")
        }
        Cause::Race { earlier, later, .. } => {
            let sites = format!("{}, and {}", site(earlier, story, sources), site(later, story, sources));
            match missing_order(story, (earlier.thread, earlier.step), (later.thread, later.step)) {
                Some(hint) => format!("{sites}. {hint}"),
                None if later.touch == Touch::Free => {
                    format!("{sites}. Nothing makes {} wait until nobody uses it.", story.name(later.thread))
                }
                None => format!("{sites}. Nothing makes the one happen before the other."),
            }
        }
        Cause::UseAfterFree { freed, used, .. } => {
            format!("{}, but {}.", site(freed, story, sources), site(used, story, sources))
        }
        Cause::Crash { thread, pc, .. } => match sources.find(&[*pc + 1]) {
            Some(place) => format!("It happens in {}{}.", place.short(), quoted(&place)),
            None => last_seen(story, *thread),
        },
        Cause::Panic { thread, place, .. } => why_panic(story, *thread, sources.named(place)),
        Cause::StackOverflow { thread } => format!(
            "A model thread has {} KiB of stack: look for a recursion without an end or a large array. {}",
            crate::engine::STACK >> 10,
            last_seen(story, *thread)
        ),
        Cause::Endless { .. } => {
            let last = story.events().iter().rev().find(|event| atomic_address(&event.what).is_some());
            format!(
                "Every thread had its turn again and again, so it is no matter of luck: a loop does not end. {}",
                last_seen(story, last.map_or(0, |event| event.thread))
            )
        }
        Cause::Unseen { .. } => {
            "Exploring the rest would find failures that are none, and miss others.".to_owned()
        }
        Cause::Refused { .. } => {
            "A call that could block for real would stop the exploration, so it is not made.".to_owned()
        }
        Cause::Leaves { thread, call } => {
            let why = match call.as_str() {
                "exit" | "_exit" | "exit_group" => {
                    "All other threads would end with it, wherever they are: code that others call returns or panics."
                }
                "execve" | "execveat" => {
                    "All other threads would be gone, and so would what called this code."
                }
                _ => {
                    "The new process would have a copy of this thread only: locks that other threads hold stay \
                     locked in it for ever."
                }
            };
            format!("{why} {}", last_seen(story, *thread))
        }
        Cause::Diverged => "It must not depend on addresses, on time, on random numbers, or on what an \
                            earlier run left in memory."
            .to_owned(),
    }
}

fn quoted(place: &Place) -> String {
    if place.text.is_empty() || place.text == "}" { String::new() } else { format!(" (`{}`)", place.text) }
}

fn site(site: &Site, story: &Story, sources: &mut Sources) -> String {
    let name = story.name(site.thread);
    // A helper that makes one access is shown by its caller, as in the timeline.
    let event = story.events().iter().position(|event| super::relevance::is_site(event, site));
    let place = event.and_then(|index| story.places[index].clone()).or_else(|| sources.find(&[site.pc]));
    match place {
        Some(place) => format!("{name} {} in {}{}", touch(site.touch), place.short(), quoted(&place)),
        None => format!("{name} {} after step {}", touch(site.touch), site.step),
    }
}

fn last_seen(story: &Story, thread: usize) -> String {
    let last = (0..story.events().len())
        .rev()
        .find(|&index| story.events()[index].thread == thread && story.places[index].is_some());
    match last.and_then(|index| story.places[index].as_ref()) {
        Some(place) => {
            format!("{} was last seen in {}{}.", story.name(thread), place.short(), quoted(place))
        }
        None => String::new(),
    }
}

fn why_panic(story: &Story, thread: usize, place: Option<Place>) -> String {
    let mut sentences = Vec::new();
    if let Some(Stale { read, missed }) = stale(story, Some(thread)).or_else(|| stale(story, None)) {
        let events = story.events();
        let (reader, writer) = (events[read].thread, events[missed].thread);
        let address = atomic_address(&events[read].what).unwrap_or(0);
        sentences.push(format!(
            "{} reads {} from {} ({}) although {} has stored {} there ({}).",
            story.name(reader),
            left(story, read, address, reads),
            story.word(address),
            story.at(read),
            story.name(writer),
            left(story, missed, address, stores),
            story.at(missed)
        ));
        let until = (reader, events[read].step);
        sentences.push(match missing_order(story, (writer, events[missed].step), until) {
            Some(hint) => hint,
            None => "Nothing before it orders the two, so it need not see the newer value.".to_owned(),
        });
    } else if let Some(torn) = torn(story, None) {
        sentences.push(why_torn(story, torn));
    }
    if let (true, Some(place)) = (sentences.is_empty(), place) {
        sentences.push(format!("It happens in {}{}.", place.short(), quoted(&place)));
        sentences.extend(came_from(story, thread, &place));
    }
    sentences.join(" ")
}

/// What the thread has last seen in a file other than that of the assertion: how it came to be where it should not be.
fn came_from(story: &Story, thread: usize, asserts: &Place) -> Option<String> {
    let events = story.events();
    let own = |index: &usize| {
        let elsewhere = story.places[*index].as_ref().is_some_and(|place| place.file != asserts.file);
        events[*index].thread == thread && elsewhere
    };
    let last = (0..events.len()).rev().filter(|_| asserts.is_in_a_check()).find(own)?;
    let address = atomic_address(&events[last].what)?;
    let seen = reads(&events[last], address)?;
    let (name, word) = (story.name(thread), story.word(address));
    Some(format!("{name} came there after it had seen {word} at {} ({}).", story.value(seen), story.at(last)))
}

fn left(
    story: &Story,
    index: usize,
    address: usize,
    of: impl Fn(&crate::trace::Event, usize) -> Option<u128>,
) -> String {
    of(&story.events()[index], address).map(|value| story.value(value)).unwrap_or_default()
}

fn why_torn(story: &Story, Torn { look, change, act }: Torn) -> String {
    let events = story.events();
    let address = atomic_address(&events[act].what).unwrap_or(0);
    let value = |index| {
        left(story, index, address, |event, address| stores(event, address).or_else(|| reads(event, address)))
    };
    let one = story.name(events[look].thread);
    let looked = if stores(&events[look], address).is_some() { "leaves" } else { "sees" };
    let acts = match events[act].what {
        What::Update { .. } => format!("changes it to {} as if it still were", value(act)),
        _ => format!("stores {} without looking again", value(act)),
    };
    format!(
        "{one} {looked} {} at {} ({}) and later {acts} ({}); in between {} made it {} ({}). \
         Looking and changing must be one atomic step.",
        story.word(address),
        value(look),
        story.at(look),
        story.at(act),
        story.name(events[change].thread),
        value(change),
        story.at(change),
    )
}

/// The second thread read what the first stored after its access, but the orders do not make that count.
fn missing_order(story: &Story, first: (usize, u32), second: (usize, u32)) -> Option<String> {
    let Unordered { store, read, releases, acquires } = unordered(story, first, second)?;
    let events = story.events();
    let name = |index: usize| match events[index].what {
        What::Load { order, .. } | What::Store { order, .. } | What::Update { order, .. } => {
            order::name(order)
        }
        _ => "Relaxed",
    };
    let missing = match (releases, acquires) {
        (false, false) => {
            format!("the store is {}, not Release, and the read is {}, not Acquire", name(store), name(read))
        }
        (false, true) => format!("the store is {}, not Release", name(store)),
        (true, false) => format!("the read is {}, not Acquire", name(read)),
        (true, true) => return None,
    };
    let address = atomic_address(&events[store].what).unwrap_or(0);
    Some(format!(
        "{} did see what {} stored in {} afterwards ({}; seen in {}), but that orders nothing: {missing}.",
        story.name(events[read].thread),
        story.name(events[store].thread),
        story.word(address),
        story.at(store),
        story.at(read),
    ))
}

fn why_joining(blocked: &[Blocked], story: &Story) -> String {
    let waits = |blocked: &Blocked| match blocked {
        Blocked::Joining { thread, target } => {
            Some(format!("{} waits for the end of {}", story.name(*thread), story.name(*target)))
        }
        Blocked::Waiting { .. } | Blocked::Spinning { .. } => None,
    };
    let sentences: Vec<String> = blocked.iter().filter_map(waits).collect();
    let sentences: Vec<&str> = sentences.iter().map(String::as_str).collect();
    format!("{}.", list(&sentences))
}

fn why_blocked(blocked: &Blocked, story: &Story) -> Option<String> {
    match blocked {
        Blocked::Joining { .. } => None,
        Blocked::Spinning { thread, watches } => Some(why_spinning(*thread, *watches, story)),
        Blocked::Waiting { thread, address, expected, now, private, step, calls } => {
            let sleeper = Sleeper {
                story,
                thread: *thread,
                address: *address,
                expected: *expected,
                now: *now,
                private: *private,
                step: *step,
            };
            Some(sleeper.why(calls))
        }
    }
}

fn why_spinning(thread: usize, watches: Option<(usize, u128)>, story: &Story) -> String {
    let events = story.events();
    let name = story.name(thread);
    let last = (0..events.len())
        .rev()
        .find(|&index| events[index].thread == thread && story.places[index].is_some());
    let at = last.map_or_else(String::new, |index| format!(" in {}", story.line(index)));
    let Some((address, now)) = watches else {
        return format!("{name} goes round a loop{at} that looks at nothing another thread could change.");
    };
    let text =
        format!("{name} goes round its loop{at} while {} is {}", story.word(address), story.value(now));
    match holder(story, address) {
        // Who seems to hold it has taken it by mistake: the mistake is told after this.
        _ if torn(story, None).is_some() => format!("{text}."),
        Some(held) => why_held(story, thread, &text, held),
        None => format!("{text}, and no thread is left that will change it."),
    }
}

fn why_held(story: &Story, thread: usize, text: &str, held: usize) -> String {
    let event = &story.events()[held];
    if event.thread == thread {
        return format!("{text}, which it has taken itself ({}) and not given back.", story.at(held));
    }
    let ended = story.events().iter().any(|other| other.thread == event.thread && other.what == What::Finish);
    let then = if ended { "has not given back before its end" } else { "still holds" };
    format!("{text}, which {} has taken ({}) and {then}.", story.name(event.thread), story.at(held))
}
