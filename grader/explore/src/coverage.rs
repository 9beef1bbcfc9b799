//! What an exploration covered, and how that is said.

use std::fmt;

/// Which old values reads were offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Older {
    /// All that C11 allows.
    #[default]
    Allowed,
    /// Not all: stores of inline assembly or volatile ones were delayed, or more than fifteen newer ones had been made.
    Some,
    /// None.
    None,
}

/// What was covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Coverage {
    /// All executions with at most this many deviations were visited; None: not even those with none.
    pub bound: Option<u8>,
    /// There are no executions with more.
    pub complete: bool,
    /// How many executions of the last complete bound there are.
    pub within: u64,
    /// Executions beyond it.
    pub beyond: u64,
    /// Random executions.
    pub random: u64,
    /// What reads saw.
    pub older: Older,
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let within = grouped(self.within);
        match self.bound {
            _ if self.complete => write!(f, "all interleavings: {within} {}", executions(self.within))?,
            Some(0) => {
                write!(f, "all interleavings without a preemption: {within} {}", executions(self.within))?
            }
            Some(1) => write!(
                f,
                "all interleavings with at most 1 preemption: {within} {}",
                executions(self.within)
            )?,
            Some(bound) => {
                write!(
                    f,
                    "all interleavings with at most {bound} preemptions: {within} {}",
                    executions(self.within)
                )?;
            }
            None => f.write_str("no bound was exhausted")?,
        }
        if self.beyond + self.random > 0 {
            write!(f, "; {} more beyond", grouped(self.beyond + self.random))?;
        }
        match self.older {
            Older::Allowed => Ok(()),
            Older::Some => f.write_str("; some old values were left out"),
            Older::None => f.write_str("; every read saw the newest value"),
        }
    }
}

fn executions(count: u64) -> &'static str {
    if count == 1 { "execution" } else { "executions" }
}

/// `12,345`
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(coverage: Coverage, says: &str) {
        assert_eq!(coverage.to_string(), says);
    }

    #[test]
    fn a_bound_is_named_with_its_executions() {
        let coverage = Coverage { bound: Some(3), within: 5436, ..Coverage::default() };
        check(coverage, "all interleavings with at most 3 preemptions: 5,436 executions");
    }

    #[test]
    fn what_was_left_out_is_said() {
        let coverage = Coverage { complete: true, within: 1, older: Older::None, ..Coverage::default() };
        check(coverage, "all interleavings: 1 execution; every read saw the newest value");
        let coverage =
            Coverage { bound: Some(0), within: 2, random: 7, older: Older::Some, ..Coverage::default() };
        let says = "all interleavings without a preemption: 2 executions; 7 more beyond; some old values were left out";
        check(coverage, says);
    }
}
