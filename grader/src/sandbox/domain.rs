//! The Landlock domain of a check: what it may open, and that no signal leaves it.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, RulesetStatus, Scope, path_beneath_rules,
};

/// The newest rights that are asked for; a kernel that does not know them is asked for less.
const NEWEST: ABI = ABI::V7;

/// Where programs and libraries are: to be read and run.
const PROGRAMS: [&str; 10] =
    ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix", "/gnu"];
/// To be read.
const READABLE: [&str; 4] = ["/etc", "/proc", "/sys", "/dev"];
/// Where names of shared objects are. What else has names there would stay.
const OBJECTS: [&str; 2] = ["/dev/shm", "/dev/mqueue"];
const DEVICES: [&str; 8] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/ptmx",
    "/dev/pts",
];

/// Whether signals stay inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signals {
    /// The kernel must be able to, or it is an error.
    StayInside,
    /// As far as the kernel is able to.
    StayInsideIfPossible,
}

/// Shuts the calling process in: programs to run, system folders and `shown` to read, `work` to write, and little else.
///
/// # Errors
/// What the kernel does not offer of that which was asked for. With [`Signals::StayInsideIfPossible`] a kernel without
/// Landlock is no error.
pub fn enter(program: &Path, work: &Path, shown: &[PathBuf], signals: Signals) -> Result<(), String> {
    shut_in(program, work, shown, signals).map_err(|error| format!("Landlock: {error}"))
}

fn shut_in(program: &Path, work: &Path, shown: &[PathBuf], signals: Signals) -> Result<(), RulesetError> {
    let all = AccessFs::from_all(NEWEST);
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    scoped(signals)?
        .handle_access(all)?
        .handle_access(AccessNet::from_all(NEWEST))?
        .create()?
        .add_rules(path_beneath_rules(PROGRAMS, AccessFs::from_read(NEWEST)))?
        .add_rules(path_beneath_rules([program], AccessFs::from_read(NEWEST)))?
        .add_rules(path_beneath_rules(READABLE, read))?
        .add_rules(path_beneath_rules(shown, read))?
        .add_rules(path_beneath_rules(DEVICES, AccessFs::from_file(NEWEST)))?
        .add_rules(path_beneath_rules(OBJECTS, all & !(AccessFs::MakeDir | AccessFs::MakeSock)))?
        .add_rules(path_beneath_rules([work], all))?
        .restrict_self()?;
    Ok(())
}

/// Keeps signals of the calling process inside a domain that holds it and all it will start, and nothing else.
///
/// # Errors
/// When the kernel cannot.
pub fn keep_signals_inside() -> Result<(), String> {
    let enforced = || -> Result<RulesetStatus, RulesetError> {
        Ok(scoped(Signals::StayInside)?.create()?.restrict_self()?.ruleset)
    };
    match enforced() {
        Ok(RulesetStatus::FullyEnforced) => Ok(()),
        Ok(status) => Err(format!("Landlock: signals are {status:?}")),
        Err(error) => Err(format!("Landlock: {error}")),
    }
}

fn scoped(signals: Signals) -> Result<Ruleset, RulesetError> {
    let level = match signals {
        Signals::StayInside => CompatLevel::HardRequirement,
        Signals::StayInsideIfPossible => CompatLevel::BestEffort,
    };
    let scope = Scope::from_all(NEWEST);
    Ok(Ruleset::default().set_compatibility(level).scope(scope)?.set_compatibility(CompatLevel::BestEffort))
}
