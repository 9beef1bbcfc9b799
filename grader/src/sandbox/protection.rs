//! Single protections of the sandbox, so that a test can take one away and see that something gets through.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// A protection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
pub enum Protection {
    /// The Landlock domain.
    Landlock,
    /// The filter on system calls.
    Filter,
    /// Limits of the kernel on processes, files and memory.
    Limits,
    /// The look, now and then, at what the check takes.
    Look,
    /// That no program gets privileges.
    Privileges,
    /// That the supervisor gets no signals from inside.
    Supervisor,
    /// Covered folders.
    Hidden,
    /// The removal of what is made in tables and folders of the whole machine.
    Sweep,
}
