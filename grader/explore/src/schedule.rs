//! A schedule: what one execution did other than by default. It is short, and it replays the execution in any process.
//!
//! `17t2.23r1` reads: at visible step 17 thread 2 goes on, and step 23 reads the store before the newest one.
//! The grader compiles this file as well, so it refers to no other.

use std::fmt;
use std::str::FromStr;

/// What is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Which thread goes on: its number; plus 16 when its wait times out, plus 32 when it wakes for no reason, plus 48 when
    /// a signal wakes it.
    Thread,
    /// How many stores before the newest one are skipped by a read.
    Read,
    /// Before how many of the stores at the end of the modification order a store goes.
    Place,
    /// Which of the waiters is woken, in order of arrival.
    Waiter,
    /// Whether a store waits in its thread's store buffer.
    Delay,
    /// How many of the stores in its thread's buffer reach memory before a load.
    Arrive,
}

impl Decision {
    fn letter(self) -> char {
        match self {
            Decision::Thread => 't',
            Decision::Read => 'r',
            Decision::Place => 's',
            Decision::Waiter => 'w',
            Decision::Delay => 'd',
            Decision::Arrive => 'a',
        }
    }
}

/// One decision other than the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deviation {
    /// The visible step before or at which it is taken.
    pub step: u32,
    /// What is decided.
    pub decision: Decision,
    /// The way taken.
    pub way: u8,
}

/// All decisions of an execution that are not the default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schedule(pub Vec<Deviation>);

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("0");
        }
        for (index, deviation) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "." };
            write!(f, "{separator}{}{}{}", deviation.step, deviation.decision.letter(), deviation.way)?;
        }
        Ok(())
    }
}

/// The text is not a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotASchedule(String);

impl fmt::Display for NotASchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a schedule; copy it from the report, for example `17t2.23r1`", self.0)
    }
}

impl std::error::Error for NotASchedule {}

impl FromStr for Schedule {
    type Err = NotASchedule;

    fn from_str(text: &str) -> Result<Schedule, NotASchedule> {
        if text == "0" {
            return Ok(Schedule::default());
        }
        let part = |part: &str| {
            let at = part.find(|character: char| character.is_ascii_alphabetic())?;
            let decision = match &part[at..=at] {
                "t" => Decision::Thread,
                "r" => Decision::Read,
                "s" => Decision::Place,
                "w" => Decision::Waiter,
                "d" => Decision::Delay,
                "a" => Decision::Arrive,
                _ => return None,
            };
            let way: u8 = part[at + 1..].parse().ok().filter(|&way| way < 64)?;
            Some(Deviation { step: part[..at].parse().ok()?, decision, way })
        };
        let parts: Option<Vec<Deviation>> = text.split('.').map(part).collect();
        parts.map(Schedule).ok_or_else(|| NotASchedule(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) {
        assert_eq!(text.parse::<Schedule>().map(|schedule| schedule.to_string()), Ok(text.to_owned()));
    }

    #[test]
    fn the_default_schedule_is_a_zero() {
        check("0");
    }

    #[test]
    fn every_kind_of_decision_is_read_back() {
        check("17t2.18t35.23r1.24s2.30w1.31d1.35a2");
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "t", "17", "17t", "x1", "1t64", "1q2", "1t2..3t4"] {
            assert!(text.parse::<Schedule>().is_err(), "{text}");
        }
    }
}
