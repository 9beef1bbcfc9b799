//! A finding in words: what went wrong, the failing execution as a timeline with one column per thread, and why.
//!
//! `source` finds the lines, `story` the names, `pattern` the well-known mistakes, `relevance` the steps that matter;
//! `timeline` makes rows of them and `layout` lines; `cause` says it in sentences, `assembly` what only
//! inline assembly can do; `steps` tells every single step.

mod assembly;
mod cause;
mod expression;
mod headline;
mod layout;
mod pattern;
mod relevance;
mod source;
mod steps;
mod story;
mod timeline;

use crate::finding::{Cause, Finding};
use crate::trace::What;
use source::Sources;
use story::Story;

pub use layout::{Kind, Line};
pub use source::Place;
pub use steps::Step;

/// A finding in words, in the pieces that a report is put together from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// `lost wake-up: thread 2 sleeps for ever`
    pub headline: String,
    /// The failing execution, a line for each step that matters; empty when there is nothing to show.
    pub timeline: String,
    /// The same lines, with what each of them is.
    pub lines: Vec<Line>,
    /// Why it fails, in a sentence or two.
    pub cause: String,
    /// The line to look at first, if one stands out.
    pub place: Option<Place>,
}

impl Finding {
    /// The finding in words, in pieces; no line of the timeline is longer than `width`.
    pub fn told(&self, width: usize) -> Told {
        let mut sources = Sources::of_this_program();
        let story = Story::new(self, &mut sources);
        let lines = layout::lines(&story, &timeline::rows(&story), width);
        let timeline = lines.iter().map(|line| format!("{}\n", line.text)).collect();
        let place = place(&story);
        let mut cause = cause::explain(&story, &mut sources);
        if let Some(more) = assembly::explain(&story) {
            cause = format!("{cause}{}{more}", if cause.is_empty() { "" } else { "\n" });
        }
        Told { headline: self.headline(), timeline, lines, cause, place }
    }

    /// The report for a reader: a headline, the timeline, and the cause; no line is longer than `width`, if its words are not.
    pub fn render(&self, width: usize) -> String {
        let Told { headline, timeline, cause, .. } = self.told(width);
        let mut text = String::new();
        for line in layout::wrap(&headline, width) {
            text.push_str(&line);
            text.push('\n');
        }
        if !timeline.is_empty() {
            text.push('\n');
            text.push_str(&timeline);
        }
        if !cause.is_empty() {
            text.push('\n');
            for line in layout::wrap(&cause, width) {
                text.push_str(&line);
                text.push('\n');
            }
        }
        text
    }

    /// The line to look at first in a file that is wanted: the last one that the failing thread ran, or any thread if it
    /// ran none. What is asserted, or read under a lock, is seldom where the mistake is. Of wanted lines that call each
    /// other, the outermost: the function whose work is judged.
    pub fn last_line(&self, is_wanted: impl Fn(&str) -> bool) -> Option<Place> {
        let mut sources = Sources::of_this_program();
        let events = &self.trace.events[..=wrong_step(&Story::new(self, &mut sources))?];
        let failing = events.last()?.thread;
        let mut last = |of: &dyn Fn(usize) -> bool| {
            let mut steps = events.iter().rev().filter(|event| of(event.thread));
            steps.find_map(|event| {
                let frames = story::frames(event, self, &mut sources).into_iter();
                let wanted = frames.skip_while(|place| !is_wanted(&place.file));
                wanted.take_while(|place| is_wanted(&place.file)).last()
            })
        };
        last(&|thread| thread == failing).or_else(|| last(&|_| true))
    }

    /// The headline alone: `lost wake-up: thread 2 sleeps for ever`.
    pub fn headline(&self) -> String {
        headline::headline(&self.cause, &self.trace.threads)
    }

    /// Every step of the execution, also those that the timeline leaves out.
    pub fn steps(&self) -> impl Iterator<Item = Step> + use<> {
        let mut sources = Sources::of_this_program();
        steps::steps(&Story::new(self, &mut sources)).into_iter()
    }
}

/// Where the wrong step is.
fn place(story: &Story) -> Option<Place> {
    story.places[wrong_step(story)?].clone()
}

/// The wrong step: the last one of the failing thread that has a line.
fn wrong_step(story: &Story) -> Option<usize> {
    let events = story.events();
    let of = |thread: usize| {
        (0..events.len()).rev().find(|&index| events[index].thread == thread && story.places[index].is_some())
    };
    match &story.finding.cause {
        Cause::Race { later: site, .. } | Cause::UseAfterFree { used: site, .. } => {
            events.iter().rposition(|event| relevance::is_site(event, site))
        }
        Cause::Deadlock { blocked } | Cause::LostWakeUp { blocked } | Cause::Livelock { blocked } => {
            blocked.iter().find_map(relevance::stuck).and_then(of)
        }
        Cause::Crash { thread, .. }
        | Cause::StackOverflow { thread }
        | Cause::Refused { thread, .. }
        | Cause::Leaves { thread, .. } => of(*thread),
        Cause::Panic { .. } => events.iter().rposition(|event| matches!(event.what, What::Panic { .. })),
        Cause::Endless { .. } => (0..events.len()).rev().find(|&index| story.places[index].is_some()),
        Cause::Unseen { .. } | Cause::Diverged => None,
    }
}
