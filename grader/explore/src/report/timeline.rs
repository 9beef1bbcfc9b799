//! The timeline: one column per thread, one row per step that matters.

use std::collections::{BTreeMap, BTreeSet};

use super::source::Sources;
use crate::finding::{Blocked, Cause, Finding, Site};
use crate::operations::order;
use crate::thread::Woken;
use crate::trace::{Event, What};

/// A row: the step, the thread, and what is shown.
struct Row {
    step: u32,
    thread: usize,
    place: String,
    text: String,
    effect: String,
    times: usize,
}

/// The most rows that are shown; of longer ones, the last.
const MOST_ROWS: usize = 24;

/// Renders the events of `finding` that matter.
pub fn render(finding: &Finding, sources: &mut Sources, width: usize) -> String {
    let shared = shared(&finding.trace.events);
    let race = race(&finding.cause);
    let mut rows: Vec<Row> = Vec::new();
    let events = &finding.trace.events;
    for event in events {
        let racing =
            race.as_ref().is_some_and(|(earlier, later)| racing(event, earlier) || racing(event, later));
        if !racing && !matters(event, &shared) {
            continue;
        }
        let line = sources.find(&event.callers);
        let (place, text) = match &line {
            Some(line) => (line.short(), line.text.clone()),
            None => (String::new(), String::new()),
        };
        let effect = effect(event, &finding.trace.threads, racing);
        let row = Row { step: event.step, thread: event.thread, place, text, effect, times: 1 };
        match rows.last_mut() {
            Some(last)
                if last.thread == row.thread && last.place == row.place && last.effect == row.effect =>
            {
                last.times += 1;
            }
            _ => rows.push(row),
        }
    }
    for thread in stuck(&finding.cause) {
        rows.push(Row {
            step: 0,
            thread,
            place: String::new(),
            text: String::new(),
            effect: "✗ never goes on".to_owned(),
            times: 1,
        });
    }
    draw(rows, &finding.trace.threads, width)
}

fn draw(mut rows: Vec<Row>, names: &[String], width: usize) -> String {
    let left_out = rows.len().saturating_sub(MOST_ROWS);
    rows.drain(..left_out);
    let files: BTreeSet<&str> =
        rows.iter().filter_map(|row| row.place.split(':').next()).filter(|file| !file.is_empty()).collect();
    let one_file = files.len() == 1;
    let threads: BTreeSet<usize> = rows.iter().map(|row| row.thread).collect();
    if threads.is_empty() {
        return String::new();
    }
    let column = ((width - 5) / threads.len()).clamp(24, 70);
    let positions: BTreeMap<usize, usize> =
        threads.iter().enumerate().map(|(index, &thread)| (thread, 5 + index * column)).collect();
    let mut text = String::new();
    let mut header = "step ".to_owned();
    for &thread in &threads {
        header = pad(header, positions[&thread]);
        header.push_str(&cut(names.get(thread).map_or("", String::as_str), column - 2));
    }
    text.push_str(header.trim_end());
    if one_file && let Some(file) = files.iter().next() {
        text.push_str(&format!("   (lines of {file})"));
    }
    text.push('\n');
    if left_out > 0 {
        text.push_str(&format!("     … {left_out} earlier steps\n"));
    }
    let mut last_step = 0;
    for row in &rows {
        let step = if row.step == 0 || row.step == last_step { String::new() } else { row.step.to_string() };
        last_step = row.step;
        let mut line = pad(format!("{step:>4} "), positions[&row.thread]);
        line.push_str(&cell(row, one_file, column - 2));
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn cell(row: &Row, one_file: bool, width: usize) -> String {
    let place = if one_file { row.place.rsplit(':').next().unwrap_or_default() } else { &row.place };
    let times = if row.times > 1 { format!(" (×{})", row.times) } else { String::new() };
    let effect = format!("{}{times}", row.effect);
    let used = place.chars().count() + effect.chars().count() + 4;
    let room = width.saturating_sub(used);
    let source = if room >= 8 { cut(&row.text, room) } else { String::new() };
    let source = pad(source, room.min(row.text.chars().count()));
    let parts: Vec<&str> = [place, &source, &effect].into_iter().filter(|part| !part.is_empty()).collect();
    cut(&parts.join("  "), width)
}

fn pad(mut text: String, to: usize) -> String {
    let length = text.chars().count();
    text.extend(std::iter::repeat_n(' ', to.saturating_sub(length)));
    text
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// Addresses that at least two threads touch, one of them atomically.
fn shared(events: &[Event]) -> BTreeSet<usize> {
    let mut threads: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for event in events {
        if let Some(address) = atomic_address(&event.what) {
            threads.entry(address).or_default().insert(event.thread);
        }
    }
    threads.into_iter().filter(|(_, threads)| threads.len() > 1).map(|(address, _)| address).collect()
}

fn atomic_address(what: &What) -> Option<usize> {
    match what {
        What::Load { address, .. }
        | What::Store { address, .. }
        | What::Update { address, .. }
        | What::Wait { address, .. }
        | What::Wake { address, .. } => Some(*address),
        What::Fence { .. }
        | What::Read { .. }
        | What::Write { .. }
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

fn matters(event: &Event, shared: &BTreeSet<usize>) -> bool {
    match &event.what {
        What::Wait { .. } | What::Wake { .. } | What::Woke { .. } => true,
        What::Panic { .. } | What::Note { .. } | What::Fence { .. } | What::Sleep { .. } => true,
        What::Read { .. } | What::Write { .. } | What::Spawn { .. } | What::Join { .. } => false,
        What::Finish | What::Yield => false,
        What::Load { .. } | What::Store { .. } | What::Update { .. } => {
            atomic_address(&event.what).is_some_and(|address| shared.contains(&address))
        }
    }
}

fn race(cause: &Cause) -> Option<(Site, Site)> {
    match cause {
        Cause::Race { earlier, later, .. } => Some((earlier.clone(), later.clone())),
        Cause::UseAfterFree { freed, used, .. } => Some((freed.clone(), used.clone())),
        Cause::Panic { .. }
        | Cause::Deadlock { .. }
        | Cause::LostWakeUp { .. }
        | Cause::Livelock { .. }
        | Cause::Endless { .. }
        | Cause::Refused { .. }
        | Cause::Crash { .. }
        | Cause::StackOverflow { .. }
        | Cause::Diverged => None,
    }
}

fn racing(event: &Event, site: &Site) -> bool {
    event.thread == site.thread && event.step == site.step && event.callers.first() == Some(&site.pc)
}

fn stuck(cause: &Cause) -> Vec<usize> {
    let (Cause::Deadlock { blocked } | Cause::LostWakeUp { blocked } | Cause::Livelock { blocked }) = cause
    else {
        return Vec::new();
    };
    blocked
        .iter()
        .filter_map(|blocked| match blocked {
            Blocked::Waiting { thread, .. } | Blocked::Spinning { thread, .. } => Some(*thread),
            Blocked::Joining { .. } => None,
        })
        .collect()
}

/// A value as a reader likes it.
pub fn value(value: u128) -> String {
    if value < 100_000 { value.to_string() } else { format!("{value:#x}") }
}

fn stale(behind: u8, from: u32) -> String {
    match (behind, from) {
        (0, _) => String::new(),
        (1, 0) => " ◂ an old value: the initial one".to_owned(),
        (_, 0) => format!(" ◂ {behind} stores old: the initial value"),
        (1, step) => format!(" ◂ an old value, of step {step}"),
        (_, step) => format!(" ◂ {behind} stores old, of step {step}"),
    }
}

fn effect(event: &Event, names: &[String], racing: bool) -> String {
    let mark = if racing { " ✗ race" } else { "" };
    match &event.what {
        What::Load { value: read, behind, from, .. } => {
            format!("= {}{}", value(*read), stale(*behind, *from))
        }
        What::Store { value: written, before, .. } => {
            let late = if *before > 0 { " ◂ takes effect before older stores" } else { "" };
            format!("← {}{late}", value(*written))
        }
        What::Update { read, written: Some(written), behind, from, .. } => {
            format!("{} → {}{}", value(*read), value(*written), stale(*behind, *from))
        }
        What::Update { read, written: None, behind, from, .. } => {
            format!("= {}, no exchange{}", value(*read), stale(*behind, *from))
        }
        What::Fence { order } => format!("fence({})", order::name(*order)),
        What::Read { .. } => format!("reads{mark}"),
        What::Write { .. } => format!("writes{mark}"),
        What::Wait { expected, found, .. } if expected == found => {
            format!("FUTEX_WAIT: still {}, sleeps", value(u128::from(*expected)))
        }
        What::Wait { expected, found, .. } => {
            format!("FUTEX_WAIT: {}, not {}: EAGAIN", value(u128::from(*found)), value(u128::from(*expected)))
        }
        What::Woke { how: Woken::Asked } => "wakes".to_owned(),
        What::Woke { how: Woken::TimedOut } => "wakes: ETIMEDOUT".to_owned(),
        What::Woke { how: Woken::Spurious } => "wakes for no reason".to_owned(),
        What::Woke { how: Woken::Interrupted } => "wakes: EINTR".to_owned(),
        What::Wake { woken, .. } if woken.is_empty() => "FUTEX_WAKE: wakes nobody".to_owned(),
        What::Wake { woken, .. } => {
            let names: Vec<&str> =
                woken.iter().filter_map(|&thread| names.get(thread)).map(String::as_str).collect();
            format!("FUTEX_WAKE: wakes {}", names.join(", "))
        }
        What::Spawn { thread } => format!("starts {}", names.get(*thread).map_or("", String::as_str)),
        What::Join { thread } => format!("has waited for {}", names.get(*thread).map_or("", String::as_str)),
        What::Finish => "ends".to_owned(),
        What::Yield => "lets others run".to_owned(),
        What::Sleep { nanoseconds } => format!("sleeps {} µs", nanoseconds / 1_000),
        What::Panic { message } => format!("✗ panics: {}", message.lines().next().unwrap_or_default()),
        What::Note { text } => format!("· {text}"),
    }
}
