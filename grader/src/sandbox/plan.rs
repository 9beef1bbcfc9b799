//! The plan by which a warden starts a check, as the grader writes it down.

use std::os::fd::RawFd;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::filter::Asking;
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
        let asking = Asking { forks: self.tier == Tier::Gate, sockets, objects };
        (asking.forks || asking.sockets || asking.objects).then_some(asking)
    }

    /// Whether this protection is on.
    pub fn has(&self, protection: Protection) -> bool {
        self.without != Some(protection)
    }
}
