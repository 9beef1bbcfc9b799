//! The cause in one or two sentences, in the reader's own lines.

use super::source::Sources;
use super::timeline::value;
use crate::finding::{Blocked, Cause, Finding, Site, Waker};
use crate::memory::race::Touch;
use crate::operations::order;
use crate::trace::{Event, What};

/// `lost wake-up: thread 2 sleeps for ever`
pub fn headline(cause: &Cause, names: &[String]) -> String {
    let name = |thread: usize| names.get(thread).map_or("a thread", String::as_str);
    let sleepers = |blocked: &[Blocked]| -> String {
        let who: Vec<&str> = blocked.iter().filter_map(stuck).map(name).collect();
        match who.as_slice() {
            [] => "every thread waits for another".to_owned(),
            [one] => format!("{one} never goes on"),
            [all @ .., last] => format!("{} and {last} never go on", all.join(", ")),
        }
    };
    match cause {
        Cause::Panic { thread, message, place } => {
            let place = place.rsplit('/').next().unwrap_or(place);
            format!("{} panics at {place}: {message}", name(*thread))
        }
        Cause::Race { earlier, later, .. } => {
            format!(
                "data race: {} {} and {} {} the same memory, and nothing orders the two",
                name(earlier.thread),
                touch(earlier.touch),
                name(later.thread),
                touch(later.touch)
            )
        }
        Cause::UseAfterFree { freed, used, .. } => {
            format!(
                "use after free: {} {} memory that {} has freed",
                name(used.thread),
                touch(used.touch),
                name(freed.thread)
            )
        }
        Cause::Deadlock { blocked } => format!("deadlock: {}", sleepers(blocked)),
        Cause::LostWakeUp { blocked } => format!("lost wake-up: {}", sleepers(blocked)),
        Cause::Livelock { blocked } => format!("livelock: {}", sleepers(blocked)),
        Cause::Endless { steps } => {
            format!(
                "no end: after {steps} operations, with every thread taking its turn, some thread still runs"
            )
        }
        Cause::Refused { thread, call } => {
            format!("{} makes a call that cannot be explored: {call}", name(*thread))
        }
        Cause::Crash { thread, signal, address, .. } => {
            format!("{} crashes: {signal} at address {address:#x}", name(*thread))
        }
        Cause::StackOverflow { thread } => format!("{} overflows its stack", name(*thread)),
        Cause::Diverged => {
            "the program is not deterministic: run again in the same way, it did something else".to_owned()
        }
    }
}

/// One or two sentences that say why.
pub fn explain(finding: &Finding, sources: &mut Sources) -> String {
    let names = &finding.trace.threads;
    match &finding.cause {
        Cause::Deadlock { blocked } | Cause::LostWakeUp { blocked } | Cause::Livelock { blocked } => {
            let sentences: Vec<String> =
                blocked.iter().filter_map(|blocked| blocked_sentence(blocked, finding, sources)).collect();
            sentences.join("\n")
        }
        Cause::Race { earlier, later, .. } => {
            let mut text = format!("{}; {}.", site(earlier, names, sources), site(later, names, sources));
            if let Some(hint) = missing_order(earlier, later, finding, sources) {
                text.push(' ');
                text.push_str(&hint);
            }
            text
        }
        Cause::UseAfterFree { used, .. } => format!("{}.", site(used, names, sources)),
        Cause::Crash { thread, pc, .. } => {
            site(&Site { thread: *thread, touch: Touch::Read, pc: *pc, step: 0 }, names, sources)
        }
        Cause::Panic { .. } | Cause::Endless { .. } | Cause::Refused { .. } | Cause::StackOverflow { .. } => {
            String::new()
        }
        Cause::Diverged => {
            "It must not depend on addresses, on time, on random numbers or on what an earlier run left in \
                            memory that was there before."
                .to_owned()
        }
    }
}

fn stuck(blocked: &Blocked) -> Option<usize> {
    match blocked {
        Blocked::Waiting { thread, .. } | Blocked::Spinning { thread, .. } => Some(*thread),
        Blocked::Joining { .. } => None,
    }
}

fn touch(touch: Touch) -> &'static str {
    match touch {
        Touch::Read => "reads",
        Touch::Write => "writes",
        Touch::AtomicRead => "reads (atomically)",
        Touch::AtomicWrite => "writes (atomically)",
        Touch::Free => "frees",
    }
}

fn site(site: &Site, names: &[String], sources: &mut Sources) -> String {
    let name = names.get(site.thread).map_or("a thread", String::as_str);
    match sources.find(&[site.pc]) {
        Some(line) => format!("{name} {} at {} (`{}`)", touch(site.touch), line.short(), line.text),
        None => format!("{name} {}", touch(site.touch)),
    }
}

fn place(event: &Event, sources: &mut Sources) -> String {
    match sources.find(&event.callers) {
        Some(line) => format!("step {}, {}", event.step, line.short()),
        None => format!("step {}", event.step),
    }
}

fn blocked_sentence(blocked: &Blocked, finding: &Finding, sources: &mut Sources) -> Option<String> {
    let name = |thread: usize| finding.trace.threads.get(thread).map_or("a thread", String::as_str);
    match blocked {
        Blocked::Joining { .. } => None,
        Blocked::Spinning { thread, watches } => Some(match watches {
            Some((_, now)) => format!(
                "{} goes round its loop for ever: what it looks at is {}, and no thread is left that will change it.",
                name(*thread),
                value(*now)
            ),
            None => format!(
                "{} goes round a loop that looks at nothing another thread could change.",
                name(*thread)
            ),
        }),
        Blocked::Waiting { thread, address, expected, now, private, step, calls } => {
            let mut text = format!(
                "{} fell asleep at step {step} because the word was {}. ",
                name(*thread),
                value(u128::from(*expected))
            );
            if expected != now {
                let change = finding
                    .trace
                    .events
                    .iter()
                    .rev()
                    .find(|event| event.step > *step && changes(event, *address));
                match change {
                    Some(event) => {
                        let place = place(event, sources);
                        text.push_str(&format!(
                            "{} then made it {} ({place}), ",
                            name(event.thread),
                            value(u128::from(*now))
                        ));
                    }
                    None => text.push_str(&format!("It is {} now, ", value(u128::from(*now)))),
                }
            } else {
                text.push_str("It still is, ");
            }
            text.push_str(&call_sentence(calls, *private, *step, &name));
            Some(text)
        }
    }
}

fn call_sentence<'a>(calls: &[Waker], private: bool, step: u32, name: &dyn Fn(usize) -> &'a str) -> String {
    match calls.last() {
        None => "and nobody called FUTEX_WAKE on it.".to_owned(),
        Some(call) if call.private != private => format!(
            "and the FUTEX_WAKE of {} at step {} does not reach it: one of the two calls has FUTEX_PRIVATE_FLAG, the other has not.",
            name(call.thread),
            call.step
        ),
        Some(call) if call.step < step => format!(
            "and the only FUTEX_WAKE that could have woken it, by {} at step {}, came before it slept.",
            name(call.thread),
            call.step
        ),
        Some(call) => {
            format!("and the FUTEX_WAKE of {} at step {} woke another.", name(call.thread), call.step)
        }
    }
}

fn changes(event: &Event, at: usize) -> bool {
    match &event.what {
        What::Store { address, .. } | What::Update { address, written: Some(_), .. } => *address == at,
        _ => false,
    }
}

/// The second thread read what the first stored after its access, but the orders do not make that count.
fn missing_order(earlier: &Site, later: &Site, finding: &Finding, sources: &mut Sources) -> Option<String> {
    let events = &finding.trace.events;
    let name = |thread: usize| finding.trace.threads.get(thread).map_or("a thread", String::as_str);
    for reader in events.iter().filter(|event| event.thread == later.thread && event.step <= later.step) {
        let (What::Load { from, order: read_order, address, .. }
        | What::Update { from, order: read_order, address, .. }) = &reader.what
        else {
            continue;
        };
        let writer = events.iter().find(|event| {
            event.thread == earlier.thread
                && event.step == *from
                && event.step > earlier.step
                && changes(event, *address)
        });
        let Some(writer) = writer else { continue };
        let (What::Store { order: write_order, .. } | What::Update { order: write_order, .. }) = &writer.what
        else {
            continue;
        };
        let missing = match (order::releases(*write_order), order::acquires(*read_order)) {
            (true, true) => continue,
            (false, true) => format!("the store is {}, not Release", order::name(*write_order)),
            (true, false) => format!("the read is {}, not Acquire", order::name(*read_order)),
            (false, false) => {
                format!(
                    "the store is {}, not Release, and the read is {}, not Acquire",
                    order::name(*write_order),
                    order::name(*read_order)
                )
            }
        };
        return Some(format!(
            "{} did see what {} stored after it ({} and {}), but that orders nothing: {missing}.",
            name(later.thread),
            name(earlier.thread),
            place(writer, sources),
            place(reader, sources),
        ));
    }
    None
}
