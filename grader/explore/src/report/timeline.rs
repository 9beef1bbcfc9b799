//! The rows of the timeline: what each event that matters looks like, repetitions and all the rest folded.

use super::assembly;
use super::pattern::stale;
use super::relevance::{self, Need};
use super::source::Place;
use super::story::{Story, stores};
use crate::finding::{Blocked, Cause};
use crate::thread::Woken;
use crate::trace::{Event, What};

/// The most steps that are shown.
const MOST: usize = 12;

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The visible step; 0: the same as above.
    pub step: u32,
    /// Whose column.
    pub thread: usize,
    /// What is there.
    pub what: Shown,
}

/// What a row shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// A step.
    Step {
        /// The source line.
        place: Option<Place>,
        /// `0 → 1`
        effect: String,
        /// What is to be said besides.
        remark: String,
        /// It is what goes wrong.
        wrong: bool,
        /// So many times in a row.
        times: usize,
    },
    /// So many steps are left out here.
    Folded(usize),
}

/// The rows of a failing execution.
pub fn rows(story: &Story) -> Vec<Row> {
    let needs = relevance::needs(story);
    let events = story.events();
    let mut candidates: Vec<(usize, Row)> = Vec::new();
    for (index, event) in events.iter().enumerate().filter(|(index, _)| needs[*index] > Need::None) {
        let row = row(story, index, event);
        match candidates.last_mut() {
            // Of what a call does step by step, the last counts.
            Some((at, last)) if story.called[*at] && story.called[index] && same_line(last, &row) => {
                (*at, *last) = (index, row);
            }
            Some((_, last)) if repeats(&last.what, &row.what) && last.thread == row.thread => {
                if let Shown::Step { times, .. } = &mut last.what {
                    *times += 1;
                }
            }
            _ => candidates.push((index, row)),
        }
    }
    fold_rounds(&mut candidates);
    // Of a loop without an end, a few rounds are enough.
    let most = if matches!(story.finding.cause, Cause::Endless { .. }) { MOST / 2 } else { MOST };
    let chosen = choose(&candidates, &needs, most);
    let mut rows: Vec<Row> = Vec::new();
    let mut last_step = 0;
    for ((_, mut row), chosen) in candidates.into_iter().zip(chosen) {
        match rows.last_mut().map(|last| &mut last.what) {
            _ if chosen => {
                if row.step == last_step {
                    row.step = 0;
                } else {
                    last_step = row.step;
                }
                rows.push(row);
            }
            Some(Shown::Folded(count)) => *count += 1,
            _ => rows.push(Row { what: Shown::Folded(1), ..row }),
        }
    }
    if rows.last().is_some_and(|last| matches!(last.what, Shown::Folded(_))) {
        rows.pop();
    }
    rows.extend(endings(story));
    rows
}

/// The rows that are shown: the most needed, and of equally needed ones the last.
fn choose(candidates: &[(usize, Row)], needs: &[Need], most: usize) -> Vec<bool> {
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_by_key(|&at| (std::cmp::Reverse(needs[candidates[at].0]), std::cmp::Reverse(at)));
    let mut chosen = vec![false; candidates.len()];
    for &at in order.iter().take(most) {
        chosen[at] = true;
    }
    // A single step takes no more room than the note that it is left out.
    for at in 0..chosen.len() {
        let neighbour = |at: Option<usize>| at.and_then(|at| chosen.get(at)).copied();
        if neighbour(at.checked_sub(1)).unwrap_or(at == 0) && neighbour(Some(at + 1)).unwrap_or(false) {
            chosen[at] = true;
        }
    }
    chosen
}

fn same_line(last: &Row, next: &Row) -> bool {
    match (&last.what, &next.what) {
        (Shown::Step { place, .. }, Shown::Step { place: next_place, .. }) => {
            last.thread == next.thread && place == next_place
        }
        _ => false,
    }
}

fn repeats(last: &Shown, next: &Shown) -> bool {
    match (last, next) {
        (
            Shown::Step { place, effect, remark, .. },
            Shown::Step { place: next_place, effect: next_effect, remark: next_remark, .. },
        ) => place == next_place && effect == next_effect && remark == next_remark,
        _ => false,
    }
}

/// Rounds of a loop of two to four rows that repeat are shown once.
fn fold_rounds(rows: &mut Vec<(usize, Row)>) {
    for length in 2..=4 {
        let mut at = 0;
        while at + 2 * length <= rows.len() {
            let same = (0..length).all(|offset| {
                let (first, second) = (&rows[at + offset].1, &rows[at + length + offset].1);
                first.thread == second.thread
                    && first.thread == rows[at].1.thread
                    && repeats(&first.what, &second.what)
            });
            if same {
                for offset in 0..length {
                    let again = match &rows[at + length + offset].1.what {
                        Shown::Step { times, .. } => *times,
                        Shown::Folded(_) => 0,
                    };
                    if let Shown::Step { times, .. } = &mut rows[at + offset].1.what {
                        *times += again;
                    }
                }
                rows.drain(at + length..at + 2 * length);
            } else {
                at += 1;
            }
        }
    }
}

/// What becomes of the threads that cannot go on.
fn endings(story: &Story) -> Vec<Row> {
    let (Cause::Deadlock { blocked } | Cause::LostWakeUp { blocked } | Cause::Livelock { blocked }) =
        &story.finding.cause
    else {
        return Vec::new();
    };
    let ending = |blocked: &Blocked| {
        let (thread, effect) = match blocked {
            Blocked::Waiting { thread, .. } => (*thread, "sleeps for ever"),
            Blocked::Spinning { thread, .. } => (*thread, "spins for ever"),
            Blocked::Joining { .. } => return None,
        };
        let effect = effect.to_owned();
        let what = Shown::Step { place: None, effect, remark: String::new(), wrong: true, times: 1 };
        Some(Row { step: 0, thread, what })
    };
    blocked.iter().filter_map(ending).collect()
}

fn row(story: &Story, index: usize, event: &Event) -> Row {
    let racing = relevance::sites(&story.finding.cause)
        .is_some_and(|sites| sites.iter().any(|site| relevance::is_site(event, site)));
    let (remark, odd) = remark(story, index, event);
    let what = Shown::Step {
        place: story.places[index].clone(),
        effect: effect(story, event),
        remark,
        wrong: racing || odd,
        times: 1,
    };
    Row { step: event.step, thread: event.thread, what }
}

/// What an event did, in a few characters.
pub fn effect(story: &Story, event: &Event) -> String {
    let value = |number: u128| story.value(number);
    let word = |number: u32| story.value(u128::from(number));
    match &event.what {
        What::Load { value: read, .. } => format!("reads {}", value(*read)),
        What::Store { value: written, .. } => format!("stores {}", value(*written)),
        What::Update { read, written: Some(written), .. } => {
            format!("{} → {}", value(*read), value(*written))
        }
        What::Update { read, written: None, .. } => format!("is {}: fails", value(*read)),
        What::Delayed { .. } => "stays in the store buffer".to_owned(),
        What::Arrives { value: stored, .. } => format!("its {} reaches memory", value(*stored)),
        What::Fence { .. } => "fence".to_owned(),
        What::Read { .. } => "reads".to_owned(),
        What::Write { .. } => "writes".to_owned(),
        What::Free { .. } => "frees".to_owned(),
        What::Wait { expected, found, .. } if expected == found => format!("is {}: sleeps", word(*found)),
        What::Wait { expected, found, .. } => {
            format!("is {}, not {}: returns", word(*found), word(*expected))
        }
        What::Woke { how: Woken::Asked } => "wakes up".to_owned(),
        What::Woke { how: Woken::TimedOut } => "times out".to_owned(),
        What::Woke { how: Woken::Spurious } => "wakes up".to_owned(),
        What::Woke { how: Woken::Interrupted } => "EINTR".to_owned(),
        What::Wake { woken, .. } if woken.is_empty() => "wakes nobody".to_owned(),
        What::Wake { woken, .. } => {
            let names: Vec<&str> = woken.iter().map(|&thread| story.name(thread)).collect();
            format!("wakes {}", names.join(", "))
        }
        What::Spawn { thread } => format!("starts {}", story.name(*thread)),
        What::Join { thread } => format!("has waited for {}", story.name(*thread)),
        What::Finish => "ends".to_owned(),
        What::Yield => "lets others run".to_owned(),
        What::Sleep { nanoseconds } => format!("sleeps {} µs", nanoseconds / 1_000),
        What::Panic { .. } => "panics".to_owned(),
        What::Note { text } => text.clone(),
    }
}

/// What is odd about an event, and whether it is what goes wrong.
pub fn remark(story: &Story, index: usize, event: &Event) -> (String, bool) {
    match &event.what {
        What::Load { address, behind, .. } | What::Update { address, behind, .. } if *behind > 0 => {
            let events = story.events();
            let missed = (0..index).rev().find(|&at| stores(&events[at], *address).is_some());
            let remark = match missed {
                Some(missed) => {
                    let newest = stores(&events[missed], *address).map(|value| story.value(value));
                    let newest = newest.unwrap_or_default();
                    let (step, writer) = (events[missed].step, story.name(events[missed].thread));
                    format!("an old value: {writer} stored {newest} at step {step}")
                }
                None => "an old value".to_owned(),
            };
            (remark, stale(story, None).is_some_and(|stale| stale.read == index))
        }
        What::Store { before, .. } if *before > 0 => ("takes effect before older stores".to_owned(), false),
        What::Store { .. } if assembly::stays(story, index) => {
            ("in its store buffer: others do not see it yet".to_owned(), true)
        }
        What::Woke { how: Woken::Spurious } => ("for no reason, as the kernel may".to_owned(), false),
        What::Woke { how: Woken::Interrupted } => ("a signal may end a wait".to_owned(), false),
        What::Wake { address, woken, .. } if woken.is_empty() => {
            (String::new(), went_nowhere(story, *address, event))
        }
        What::Panic { .. } => (String::new(), true),
        What::Load { .. }
        | What::Store { .. }
        | What::Update { .. }
        | What::Delayed { .. }
        | What::Arrives { .. }
        | What::Fence { .. }
        | What::Read { .. }
        | What::Write { .. }
        | What::Free { .. }
        | What::Wait { .. }
        | What::Woke { .. }
        | What::Wake { .. }
        | What::Spawn { .. }
        | What::Join { .. }
        | What::Finish
        | What::Yield
        | What::Sleep { .. }
        | What::Note { .. } => (String::new(), false),
    }
}

/// The last call on a word that somebody sleeps on for ever, and it woke nobody.
fn went_nowhere(story: &Story, address: usize, event: &Event) -> bool {
    let (Cause::Deadlock { blocked } | Cause::LostWakeUp { blocked } | Cause::Livelock { blocked }) =
        &story.finding.cause
    else {
        return false;
    };
    blocked.iter().any(|blocked| match blocked {
        Blocked::Waiting { address: word, calls, thread, .. } => {
            *word == address
                && *thread != event.thread
                && calls.last().is_some_and(|call| call.step == event.step && call.woken == 0)
        }
        Blocked::Joining { .. } | Blocked::Spinning { .. } => false,
    })
}
