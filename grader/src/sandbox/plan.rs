//! The plan by which a warden starts a check, as the grader writes it down.

use std::os::fd::RawFd;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::filter::Asking;
use super::limits;
use super::namespaces;
use super::protection::Protection;
use super::tier::Tier;

/// What to start, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// How the check is shut in.
    pub tier: Tier,
    /// The check binary.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The check's end of the event socket.
    pub events: RawFd,
    /// The pipe for [`Word`]s.
    pub words: RawFd,
    /// The grader.
    pub grader: i32,
    /// The check's directory outside namespaces.
    pub directory: PathBuf,
    /// Folders that a check in namespaces does not see into.
    pub hidden: Vec<PathBuf>,
    /// Folders that it may read in any case.
    pub shown: Vec<PathBuf>,
    /// A protection that is off, in tests.
    pub without: Option<Protection>,
    /// Whether it may have sockets with a name where such names lead to programs outside.
    pub sockets: bool,
    /// Processes and threads that the user of the grader has; none for root, whose the kernel does not count.
    pub others_tasks: Option<u64>,
    /// User and group number of the check, for [`Tier::SeparateUser`].
    pub user: u32,
}

impl Plan {
    /// The check's directory, as it is named where the check runs.
    pub fn work(&self) -> PathBuf {
        match self.tier.has_namespaces() {
            true => PathBuf::from(namespaces::WORK),
            false => self.directory.clone(),
        }
    }

    /// What the warden is to be asked about, where anything.
    pub fn asking(&self) -> Option<Asking> {
        let shut = matches!(self.tier, Tier::Gate | Tier::Domain);
        let sockets = shut && !self.sockets && self.has(Protection::Filter);
        let objects = shut && self.has(Protection::Sweep);
        let asking = Asking { forks: shut && !self.kernel_counts_tasks(), sockets, objects };
        (asking.forks || asking.sockets || asking.objects).then_some(asking)
    }

    /// How many processes and threads the kernel lets the check's user have: in namespaces, and under a user number of its own, those
    /// of the check; else, in tier 1, those of an ordinary user together, with all that he runs besides. Root it does not count, and in
    /// tier 0 the gate does.
    pub fn tasks(&self) -> Option<u64> {
        match self.tier {
            Tier::SeparateUser | Tier::Namespaces => Some(limits::TASKS),
            Tier::Domain => self.others_tasks.map(|others| others + limits::TASKS),
            Tier::Gate | Tier::Open => None,
        }
    }

    fn kernel_counts_tasks(&self) -> bool {
        self.tasks().is_some()
    }

    /// Whether this protection is on.
    pub fn has(&self, protection: Protection) -> bool {
        self.without != Some(protection)
    }
}
