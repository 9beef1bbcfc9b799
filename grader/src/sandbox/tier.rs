//! How well a check is shut in, from best to worst, and what each kind of shutting in gives.
//!
//! A lower tier never changes a score silently: a check whose proof needs what the tier does not give is Inconclusive.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How a check is shut in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Tier {
    /// Not at all: by convention only.
    Open,
    /// 0: a filter on system calls, and every fork asked for.
    Gate,
    /// 1: a Landlock domain that no signal leaves, and the filter.
    Domain,
    /// 2: namespaces of the check's own, and domain and filter inside them.
    Namespaces,
    /// 3: as 2, and under a user number that nobody else has. Needs root.
    SeparateUser,
}

/// What the proof of a check may need of the sandbox: `needs` in lab.toml.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// A table of IPC objects in which there are only the check's.
    PrivateIpc,
    /// Process numbers of its own, and no other process to be seen.
    PrivateProcesses,
    /// No file outside the check's directory can be written.
    ClosedFiles,
    /// No process outside the check can be sent a signal.
    ClosedSignals,
}

impl Tier {
    /// From best to worst.
    pub const ALL: [Tier; 5] = [Tier::SeparateUser, Tier::Namespaces, Tier::Domain, Tier::Gate, Tier::Open];

    /// The number that the command line and the report use; none for [`Tier::Open`].
    pub fn number(self) -> Option<u8> {
        match self {
            Tier::Open => None,
            Tier::Gate => Some(0),
            Tier::Domain => Some(1),
            Tier::Namespaces => Some(2),
            Tier::SeparateUser => Some(3),
        }
    }

    /// Whether the check lives in namespaces of its own.
    pub fn has_namespaces(self) -> bool {
        self >= Tier::Namespaces
    }

    /// In one line, what a check is shut in by.
    pub fn says(self) -> &'static str {
        match self {
            Tier::Open => "nothing but convention",
            Tier::Gate => "a system-call filter, and a gate that counts forks",
            Tier::Domain => "a Landlock domain that files and signals do not leave, and a system-call filter",
            Tier::Namespaces => "namespaces of its own, a Landlock domain, and a system-call filter",
            Tier::SeparateUser => {
                "a user number and namespaces of its own, a Landlock domain, and a system-call filter"
            }
        }
    }

    /// Whether the tier gives what a check needs.
    pub fn gives(self, need: Need) -> bool {
        match need {
            Need::PrivateIpc | Need::PrivateProcesses => self >= Tier::Namespaces,
            Need::ClosedFiles | Need::ClosedSignals => self >= Tier::Domain,
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number() {
            Some(number) => write!(f, "{number}"),
            None => f.write_str("open"),
        }
    }
}

impl FromStr for Tier {
    type Err = String;

    fn from_str(text: &str) -> Result<Tier, String> {
        let named = Tier::ALL.into_iter().find(|tier| tier.to_string() == text);
        named.ok_or_else(|| "not 0, 1, 2, 3 or open; `grader doctor` says what they are".to_owned())
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Need::PrivateIpc => "a table of IPC objects of its own",
            Need::PrivateProcesses => "process numbers of its own",
            Need::ClosedFiles => "files outside its directory to be closed",
            Need::ClosedSignals => "processes outside to be out of reach",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tier_is_read_as_it_is_shown() {
        for tier in Tier::ALL {
            assert_eq!(tier.to_string().parse(), Ok(tier));
        }
        assert!("4".parse::<Tier>().is_err());
    }

    #[test]
    fn a_better_tier_gives_no_less() {
        let needs = [Need::PrivateIpc, Need::PrivateProcesses, Need::ClosedFiles, Need::ClosedSignals];
        for pair in Tier::ALL.windows(2) {
            assert!(needs.iter().all(|&need| pair[0].gives(need) || !pair[1].gives(need)), "{pair:?}");
        }
        assert!(!needs.iter().any(|&need| Tier::Open.gives(need)));
    }
}
