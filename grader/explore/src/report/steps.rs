//! Every step of an execution, one by one, for `grader replay --step`.

use std::fmt;

use super::relevance::{self, Need};
use super::source::Place;
use super::story::Story;
use super::timeline;
use crate::trace::What;

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The visible step, as in the timeline; several events may belong to one.
    pub number: u32,
    /// The thread's number.
    pub thread: usize,
    /// Its name.
    pub name: String,
    /// The source line.
    pub place: Option<Place>,
    /// What happened, in a few words: `0 → 1`.
    pub effect: String,
    /// What is odd about it; mostly empty.
    pub remark: String,
    /// The failure depends on it.
    pub matters: bool,
    /// Another thread ran before.
    pub switched: bool,
}

impl fmt::Display for Step {
    /// `  7  thread 1  lib.rs:41  self.word.swap(0, Release)  1 → 0`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>4}  {}", self.number, self.name)?;
        if let Some(place) = &self.place {
            write!(f, "  {}  {}", place.short(), place.text)?;
        }
        write!(f, "  {}", self.effect)?;
        if !self.remark.is_empty() {
            write!(f, " ({})", self.remark)?;
        }
        Ok(())
    }
}

/// Every step, in order of time.
pub fn steps(story: &Story) -> Vec<Step> {
    let needs = relevance::needs(story);
    let mut last = None;
    let mut steps = Vec::new();
    for (index, event) in story.events().iter().enumerate() {
        // What a thread does to plain memory between two visible steps is a step only where it fails.
        let plain = matches!(event.what, What::Read { .. } | What::Write { .. } | What::Free { .. });
        if plain && needs[index] == Need::None {
            continue;
        }
        let (remark, _) = timeline::remark(story, index, event);
        steps.push(Step {
            number: event.step,
            thread: event.thread,
            name: story.name(event.thread).to_owned(),
            place: story.places[index].clone(),
            effect: timeline::effect(story, event),
            remark,
            matters: needs[index] > Need::Context,
            switched: last.is_some_and(|last| last != event.thread),
        });
        last = Some(event.thread);
    }
    steps
}
