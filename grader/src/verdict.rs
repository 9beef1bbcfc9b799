//! The one outcome every check ends in.

use harness::event::{Finding, Place};
use serde::{Serialize, Serializer};

use crate::compile::CompileErrors;

/// What was found about one property of a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The property held throughout.
    Passed,
    /// The property does not hold.
    Failed {
        /// What the contract asks for.
        expected: String,
        /// What was seen.
        observed: String,
        /// Where to look, in the student's words.
        look: String,
        /// The source line, when it is known.
        place: Option<Place>,
    },
    /// An exploration found an execution in which the property does not hold.
    Found(Finding),
    /// A `todo!()` was reached: not started, not wrong.
    Unimplemented {
        /// Its text.
        todo: String,
        /// Where it stands.
        place: Option<Place>,
    },
    /// There is nothing to run.
    DidNotCompile(Uncompiled),
    /// It did not finish in time.
    TimedOut {
        /// What everything was waiting for.
        why: String,
    },
    /// A process of the submission, or the check process itself, died.
    Crashed {
        /// What happened.
        how: String,
        /// Where a panic was raised.
        place: Option<Place>,
    },
    /// Something was left behind.
    Leaked {
        /// What.
        what: String,
    },
    /// The machine could not show it.
    Inconclusive {
        /// What was missing.
        why: String,
    },
}

/// Why there is no binary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uncompiled {
    /// The compiler refused the sources.
    Compiler(CompileErrors),
    /// The sources could not even be read, or what was made of them is not to be run; one sentence.
    Unreadable(String),
}

impl Verdict {
    /// The verdict on a check that was never begun.
    pub fn interrupted() -> Verdict {
        Verdict::Inconclusive { why: "the run was interrupted before this check began".to_owned() }
    }

    /// Whether the points are earned.
    pub fn is_passed(&self) -> bool {
        *self == Verdict::Passed
    }

    /// The kebab-case word of the JSON report.
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Passed => "passed",
            Verdict::Failed { .. } | Verdict::Found(_) => "failed",
            Verdict::Unimplemented { .. } => "unimplemented",
            Verdict::DidNotCompile(_) => "did-not-compile",
            Verdict::TimedOut { .. } => "timed-out",
            Verdict::Crashed { .. } => "crashed",
            Verdict::Leaked { .. } => "leaked",
            Verdict::Inconclusive { .. } => "inconclusive",
        }
    }

    /// The reason in plain text; none for a pass.
    pub fn why(&self) -> Option<String> {
        match self {
            Verdict::Passed => None,
            Verdict::Failed { expected, observed, look, .. } => {
                let look = if look.is_empty() { String::new() } else { format!("; look at {look}") };
                Some(format!("expected {expected}; observed {observed}{look}"))
            }
            Verdict::Found(finding) => {
                Some(format!("{}\n{}", finding.headline, finding.cause).trim_end().to_owned())
            }
            Verdict::Unimplemented { todo, .. } => Some(format!("not started: {todo}")),
            Verdict::DidNotCompile(Uncompiled::Compiler(errors)) => {
                Some(anstream::adapter::strip_str(&errors.first).to_string())
            }
            Verdict::DidNotCompile(Uncompiled::Unreadable(why)) => Some(why.clone()),
            Verdict::TimedOut { why } => Some(why.clone()),
            Verdict::Crashed { how, .. } => Some(how.clone()),
            Verdict::Leaked { what } => Some(format!("left behind: {what}")),
            Verdict::Inconclusive { why } => Some(format!("could not be decided: {why}")),
        }
    }

    /// The source line at fault, when it is known.
    pub fn place(&self) -> Option<&Place> {
        match self {
            Verdict::Failed { place, .. }
            | Verdict::Unimplemented { place, .. }
            | Verdict::Crashed { place, .. }
            | Verdict::Found(Finding { place, .. }) => place.as_ref(),
            Verdict::DidNotCompile(Uncompiled::Compiler(errors)) => errors.place.as_ref(),
            Verdict::Passed
            | Verdict::DidNotCompile(Uncompiled::Unreadable(_))
            | Verdict::TimedOut { .. }
            | Verdict::Leaked { .. }
            | Verdict::Inconclusive { .. } => None,
        }
    }

    /// The same verdict with every text and path passed through `readable`.
    pub fn map_text(mut self, readable: impl Fn(&str) -> String) -> Verdict {
        let change = |text: &mut String| *text = readable(text);
        let move_to = |place: &mut Option<Place>| {
            if let Some(place) = place {
                place.file = readable(&place.file);
            }
        };
        match &mut self {
            Verdict::Passed | Verdict::DidNotCompile(_) => {}
            Verdict::Failed { expected, observed, look, place } => {
                change(expected);
                change(observed);
                change(look);
                move_to(place);
            }
            Verdict::Found(finding) => {
                let Finding { headline, cause, timeline, schedule, coverage, place, preemptions: _ } =
                    finding;
                [headline, cause, schedule, coverage].into_iter().for_each(change);
                timeline.iter_mut().for_each(|line| change(&mut line.text));
                move_to(place);
            }
            Verdict::Unimplemented { todo: text, place } | Verdict::Crashed { how: text, place } => {
                change(text);
                move_to(place);
            }
            Verdict::TimedOut { why: text }
            | Verdict::Leaked { what: text }
            | Verdict::Inconclusive { why: text } => change(text),
        }
        self
    }
}

impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}
