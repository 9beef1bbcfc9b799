//! A thread that sleeps on a futex word for ever: because of what it saw, or because of what became of the calls that should
//! have woken it.

use super::{left, why_held, why_torn};
use crate::finding::Waker;
use crate::report::headline::list;
use crate::report::pattern::{Stale, holder, stale, torn};
use crate::report::story::{Story, atomic_address, reads, stores};
use crate::trace::What;

/// A thread that sleeps for ever.
pub struct Sleeper<'a> {
    pub story: &'a Story<'a>,
    pub thread: usize,
    pub address: usize,
    pub expected: u32,
    pub now: u32,
    pub private: bool,
    pub step: u32,
}

impl Sleeper<'_> {
    /// Why it sleeps, and why none of these calls helped.
    pub fn why(&self, calls: &[Waker]) -> String {
        let Sleeper { story, thread, address, expected, now, step, .. } = *self;
        let events = story.events();
        let asleep = events.iter().rposition(|event| {
            event.thread == thread && matches!(event.what, What::Wait { address: at, .. } if at == address)
        });
        let at = asleep.map_or_else(|| format!("step {step}"), |index| story.at(index));
        let (word, name) = (story.word(address), story.name(thread));
        let value = story.value(u128::from(expected));
        let others: Vec<&Waker> = calls.iter().filter(|call| call.thread != thread).collect();
        let missed = others.iter().any(|call| call.woken == 0 || call.private != self.private);
        let again = others.last().filter(|call| expected == now && self.was_woken_by(call));
        if expected == now && (!missed || again.is_some()) {
            if let Some(held) = holder(story, address) {
                return why_held(story, thread, &format!("{name} sleeps on {word} ({at})"), held);
            }
            let text = format!("{name} sleeps on {word} ({at}) because it is {value}");
            if let Some(call) = again {
                return format!("{text}. {}", self.slept_again(call));
            }
            return match others.last() {
                None => format!("{text}, and nobody calls FUTEX_WAKE on it."),
                Some(call) => format!(
                    "{text}. The last FUTEX_WAKE, by {} ({}), came before, and nobody calls again.",
                    story.name(call.thread),
                    self.call_at(call)
                ),
            };
        }
        let text = format!("{name} sleeps on {word} ({at}), which was {value}");
        match (torn(story, Some(address)), others.last()) {
            // What was lost is the store, rather than the call before it.
            (Some(torn), Some(call)) if call.step < step && call.private == self.private => {
                format!("{text}, and nobody calls FUTEX_WAKE again.\n{}", why_torn(story, torn))
            }
            (Some(torn), last) => format!("{text}{}\n{}", self.missed(last.copied()), why_torn(story, torn)),
            (None, last) => format!("{text}{}", self.missed(last.copied())),
        }
    }

    /// What became of the call that should have woken it.
    fn missed(&self, last: Option<&Waker>) -> String {
        let Sleeper { story, address, expected, now, step, .. } = *self;
        let events = story.events();
        let change = events.iter().rposition(|event| event.step > step && stores(event, address).is_some());
        match (change.filter(|_| expected != now), last) {
            (_, Some(call)) if call.private != self.private => format!(
                ". {}'s FUTEX_WAKE ({}) does not reach it: one of the two calls has FUTEX_PRIVATE_FLAG, the other has not.",
                story.name(call.thread),
                self.call_at(call)
            ),
            (change, Some(call)) if call.step < step && (change.is_none() || call.woken == 0) => format!(
                ". {}'s FUTEX_WAKE ({}) found nobody, because {} had not slept yet{}",
                story.name(call.thread),
                self.call_at(call),
                story.name(self.thread),
                self.late_look(call.step)
            ),
            (_, Some(call)) if call.step > step && call.woken > 0 => format!(
                ". {}'s FUTEX_WAKE ({}) woke {}{}",
                story.name(call.thread),
                self.call_at(call),
                self.woken(call),
                match change.filter(|&change| events[change].step > call.step) {
                    Some(change) => self.changes(change),
                    None => ", and nobody calls again.".to_owned(),
                }
            ),
            (Some(change), _) => self.changes(change),
            (None, _) => ", and nobody calls FUTEX_WAKE on it.".to_owned(),
        }
    }

    /// The last change of what it sleeps on, after which nobody called: the end of the sentence.
    fn changes(&self, change: usize) -> String {
        let Sleeper { story, now, .. } = *self;
        let event = &story.events()[change];
        let because = match event.what {
            What::Update { read, .. } => format!(" from {}", story.value(read)),
            _ => String::new(),
        };
        format!(
            ". Then {} changes it{because} to {} ({}) and calls nobody.{}",
            story.name(event.thread),
            story.value(u128::from(now)),
            story.at(change),
            self.looked_too_early(change).unwrap_or_default()
        )
    }

    /// Whoever changes one word and then sees an old value of another has read before its change was there for all.
    fn looked_too_early(&self, change: usize) -> Option<String> {
        let Sleeper { story, address, .. } = *self;
        let events = story.events();
        let changer = events[change].thread;
        let Stale { read, missed } = stale(story, Some(changer)).filter(|stale| stale.read > change)?;
        let other = atomic_address(&events[read].what).filter(|other| *other != address)?;
        Some(format!(
            " It has read {} from {} ({}) although {} had stored {} ({}). Between a change of one word and a look at \
             another there must be a fence, or both must be SeqCst: otherwise the look may come first.",
            left(story, read, other, reads),
            story.word(other),
            story.at(read),
            story.name(events[missed].thread),
            left(story, missed, other, stores),
            story.at(missed),
        ))
    }

    /// Whether the call woke this thread, which has fallen asleep again since.
    fn was_woken_by(&self, call: &Waker) -> bool {
        call.step < self.step && self.woken_by(call).contains(&self.thread)
    }

    /// What a thread saw that a call woke, so that it slept again.
    fn slept_again(&self, call: &Waker) -> String {
        let Sleeper { story, thread, address, .. } = *self;
        let events = story.events();
        let woken = format!("{}'s FUTEX_WAKE ({}) woke it", story.name(call.thread), self.call_at(call));
        // What it has stored itself tells it nothing.
        let found = (0..events.len()).find_map(|look| {
            let own = events[look].thread == thread && events[look].step > call.step;
            let value = reads(&events[look], address).filter(|_| own)?;
            let store = (0..look).rev().find(|&index| stores(&events[index], address).is_some())?;
            let is_seen = stores(&events[store], address) == Some(value) && events[store].thread != thread;
            is_seen.then_some((look, value, store))
        });
        match found {
            Some((look, value, store)) => format!(
                "{woken}; it then found {} at {} ({}), as {} had left it ({}), and slept again; nobody calls again.",
                story.word(address),
                story.value(value),
                story.at(look),
                story.name(events[store].thread),
                story.at(store),
            ),
            None => format!("{woken}, it slept again, and nobody calls again."),
        }
    }

    /// Whom a call woke.
    fn woken_by(&self, call: &Waker) -> &[usize] {
        let woken = self.story.events().iter().find_map(|event| match &event.what {
            What::Wake { woken, .. } if event.thread == call.thread && event.step == call.step => Some(woken),
            _ => None,
        });
        woken.map_or(&[], Vec::as_slice)
    }

    /// Whom a call woke instead, by name.
    fn woken(&self, call: &Waker) -> String {
        let names: Vec<&str> = self.woken_by(call).iter().map(|&thread| self.story.name(thread)).collect();
        if names.is_empty() { "another waiter".to_owned() } else { list(&names) }
    }

    /// How a sleeper that came too late did not notice that it was too late: the end of the sentence.
    fn late_look(&self, call: u32) -> String {
        let Sleeper { story, thread, address, step, .. } = *self;
        let events = story.events();
        let look = events.iter().rposition(|event| {
            event.thread == thread
                && event.step < step
                && event.step > call
                && matches!(event.what, What::Load { address: at, .. } if at == address)
        });
        let changed = events
            .iter()
            .any(|event| event.step <= call && event.thread != thread && stores(event, address).is_some());
        match look {
            Some(look) if changed => format!(
                ". It read {} only after that call ({}), so its FUTEX_WAIT could not notice.",
                story.word(address),
                story.at(look)
            ),
            _ => ".".to_owned(),
        }
    }

    fn call_at(&self, call: &Waker) -> String {
        let index = self.story.events().iter().position(|event| {
            event.thread == call.thread && event.step == call.step && matches!(event.what, What::Wake { .. })
        });
        index.map_or_else(|| format!("step {}", call.step), |index| self.story.at(index))
    }
}
