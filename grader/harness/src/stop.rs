//! Why a check ends before its last line: everything but "the property holds".

use crate::event::{Event, Finding, Place};

/// What a check returns: `Ok` when the property was seen to hold.
pub type Outcome = Result<(), Stop>;

/// A property that does not hold, in the student's vocabulary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What the contract asks for.
    pub expected: String,
    /// What was seen instead.
    pub observed: String,
    /// Where to look.
    pub look: String,
}

/// Why a check stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// The property does not hold.
    Failed(Failure),
    /// A worker died: a panic, a signal, an early exit.
    Crashed {
        /// What happened.
        how: String,
        /// Where a panic was raised.
        place: Option<Place>,
    },
    /// A worker did not finish in time; the text says what everybody waited for.
    TimedOut(String),
    /// A `todo!()` was reached.
    Unimplemented {
        /// Its text.
        todo: String,
        /// Where it stands.
        place: Option<Place>,
    },
    /// An exploration found an execution that violates the property.
    Found(Box<Finding>),
    /// The execution that was to be replayed does not fail.
    Replayed {
        /// Whether there still is such an execution.
        fits: bool,
    },
    /// Something was left behind.
    Leaked(String),
    /// The machine could not show the property.
    Inconclusive(String),
    /// The grader is gone: clean up and leave.
    Abandoned,
}

impl Stop {
    /// The property does not hold: what was expected, what was observed, where to look.
    pub fn failed(expected: impl Into<String>, observed: impl Into<String>, look: impl Into<String>) -> Stop {
        Stop::Failed(Failure { expected: expected.into(), observed: observed.into(), look: look.into() })
    }

    /// The machine cannot show the property, and why.
    pub fn inconclusive(why: impl Into<String>) -> Stop {
        Stop::Inconclusive(why.into())
    }

    pub(crate) fn event(self) -> Option<Event> {
        Some(match self {
            Stop::Failed(Failure { expected, observed, look }) => {
                Event::Failed { expected, observed, look, place: None }
            }
            Stop::Crashed { how, place } => Event::Crashed { how, place },
            Stop::TimedOut(why) => Event::TimedOut { why },
            Stop::Unimplemented { todo, place } => Event::Unimplemented { todo, place },
            Stop::Leaked(what) => Event::Leaked { what },
            Stop::Inconclusive(why) => Event::Inconclusive { why },
            Stop::Found(finding) => Event::Found(*finding),
            Stop::Replayed { fits } => Event::Replayed { fits },
            Stop::Abandoned => return None,
        })
    }
}

/// How a worker ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending<T> {
    /// The closure returned this.
    Returned(T),
    /// The process called `exit` or `_exit` with this code before the closure returned.
    Exited(i32),
    /// The process was killed by this signal.
    Signalled(i32),
    /// The closure panicked.
    Panicked {
        /// The panic message.
        message: String,
        /// Where it was raised.
        place: Option<Place>,
    },
}

/// Stops the check unless the condition holds.
///
/// The three texts are literals with inline arguments, or any expression that turns into a `String`.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, expected: $e:literal, observed: $o:literal, look: $l:literal $(,)?) => {
        $crate::ensure!(@ $condition, ::std::format!($e), ::std::format!($o), ::std::format!($l))
    };
    ($condition:expr, expected: $e:literal, observed: $o:literal, look: $l:expr $(,)?) => {
        $crate::ensure!(@ $condition, ::std::format!($e), ::std::format!($o), $l)
    };
    ($condition:expr, expected: $e:literal, observed: $o:expr, look: $l:literal $(,)?) => {
        $crate::ensure!(@ $condition, ::std::format!($e), $o, ::std::format!($l))
    };
    ($condition:expr, expected: $e:literal, observed: $o:expr, look: $l:expr $(,)?) => {
        $crate::ensure!(@ $condition, ::std::format!($e), $o, $l)
    };
    ($condition:expr, expected: $e:expr, observed: $o:literal, look: $l:literal $(,)?) => {
        $crate::ensure!(@ $condition, $e, ::std::format!($o), ::std::format!($l))
    };
    ($condition:expr, expected: $e:expr, observed: $o:literal, look: $l:expr $(,)?) => {
        $crate::ensure!(@ $condition, $e, ::std::format!($o), $l)
    };
    ($condition:expr, expected: $e:expr, observed: $o:expr, look: $l:literal $(,)?) => {
        $crate::ensure!(@ $condition, $e, $o, ::std::format!($l))
    };
    ($condition:expr, expected: $e:expr, observed: $o:expr, look: $l:expr $(,)?) => {
        $crate::ensure!(@ $condition, $e, $o, $l)
    };
    (@ $condition:expr, $e:expr, $o:expr, $l:expr) => {
        if !$condition {
            return ::std::result::Result::Err($crate::Stop::failed($e, $o, $l));
        }
    };
}
