//! The explored twin of a check binary: the same checks and the same subject, compiled once more with instrumentation, so
//! that the explorer owns every memory access. Only checks whose evidence is `explore` run from it.
//!
//! cargo is told to call this program instead of rustc for the packages of the twin's workspace, and for no other.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::{Condvar, Mutex, PoisonError};

use crate::compile;
use crate::error::{Error, Result};
use crate::lab::{Evidence, Lab};
use crate::scratch::{Scratch, Unit};

// Not by a dependency: the explorer's engine brings its own allocator and futex, which are not for the grader.
#[path = "../explore/src/twin.rs"]
mod arguments;

pub use arguments::ARGUMENTS;

/// Set for the cargo that builds twins: this program is then called in place of rustc.
pub const WRAPPER: &str = "GRADER_COMPILES_A_TWIN";

/// A twin's binary, or why there is none.
pub type Twin = std::result::Result<PathBuf, String>;

/// When called by cargo in place of rustc: becomes rustc, with the instrumentation.
pub fn in_place_of_rustc() -> Option<ExitCode> {
    std::env::var_os(WRAPPER)?;
    let mut arguments = std::env::args_os().skip(1);
    let rustc = arguments.next()?;
    let error = Command::new(&rustc).args(arguments).args(ARGUMENTS).exec();
    #[expect(clippy::print_stderr, reason = "cargo shows it")]
    {
        eprintln!("error: cannot run `{}`: {error}", rustc.display());
    }
    Some(ExitCode::from(70))
}

/// Whether some check of the lab needs the twin.
pub fn is_wanted(lab: &Lab) -> bool {
    lab.checks().any(|(_, check)| check.evidence == Evidence::Explore)
}

/// The twins of a run, built while other checks already run.
#[derive(Debug, Default)]
pub struct Twins {
    built: Mutex<Option<BTreeMap<String, Twin>>>,
    ready: Condvar,
}

impl Twins {
    /// Builds the twins of `units` and hands them to whoever waits. A failure is a reason, not an error: the plain build
    /// decides whether a submission compiles.
    pub fn build(&self, scratch: &Scratch, course: &crate::course::Course, units: &[Unit<'_>]) {
        let built = build(scratch, course, units);
        *self.built.lock().unwrap_or_else(PoisonError::into_inner) = Some(built);
        self.ready.notify_all();
    }

    /// The twin of a unit, once it is built.
    pub fn wait(&self, unit: &str) -> Twin {
        let built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        let built =
            self.ready.wait_while(built, |built| built.is_none()).unwrap_or_else(PoisonError::into_inner);
        let twin = built.as_ref().and_then(|built| built.get(unit)).cloned();
        twin.unwrap_or_else(|| Err("its explored build was not made".to_owned()))
    }
}

fn build(scratch: &Scratch, course: &crate::course::Course, units: &[Unit<'_>]) -> BTreeMap<String, Twin> {
    let all = |why: &str| units.iter().map(|unit| (unit.id.clone(), Err(why.to_owned()))).collect();
    if units.is_empty() {
        return BTreeMap::new();
    }
    if !cfg!(target_arch = "x86_64") {
        return all("interleavings can be explored on x86-64 only");
    }
    match try_to_build(scratch, course, units) {
        Ok(built) => built,
        Err(Error::Interrupted(_)) => all("the run was interrupted"),
        Err(error) => all(&format!("the explored build failed: {error}")),
    }
}

fn try_to_build(
    scratch: &Scratch,
    course: &crate::course::Course,
    units: &[Unit<'_>],
) -> Result<BTreeMap<String, Twin>> {
    scratch.write_twins(course, units)?;
    let wrapper = wrapper(&root(&scratch.root))?;
    compile::build_twins(scratch, units, &wrapper)
}

/// A name for this program that leads to it for as long as it runs, also when its file is replaced by a new build or
/// removed meanwhile. It is the same one in every run: for another one cargo would build all twins anew.
fn wrapper(root: &Path) -> Result<PathBuf> {
    let wrapper = root.join("rustc");
    let part = root.join("rustc.part");
    let _ = fs::remove_file(&part);
    symlink(format!("/proc/{}/exe", std::process::id()), &part)
        .and_then(|()| fs::rename(&part, &wrapper))
        .map_err(|error| Error::io("write", &wrapper, &error))?;
    if wrapper.is_file() {
        return Ok(wrapper);
    }
    std::env::current_exe().map_err(|error| Error::Internal(format!("this program cannot be found: {error}")))
}

/// The workspace of the twins.
pub fn root(scratch: &Path) -> PathBuf {
    scratch.join("twin")
}
