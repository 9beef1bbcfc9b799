//! One `cargo build` over the scratch workspace. What cargo says becomes, for each unit, a binary or
//! the compiler's errors in the course's own paths.

mod diagnostic;
mod inspection;
mod lines;
#[cfg(test)]
mod properties;

use std::collections::BTreeMap;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, ChildStdout, Stdio};

use harness::event::Place;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::Deserialize;

use self::diagnostic::Diagnostic;
use self::lines::Lines;
use crate::descendants;
use crate::error::{Error, Result};
use crate::output::harmless_but_coloured;
use crate::scratch::{Scratch, Unit, build_directory, cargo};
use crate::signals;
use crate::twin::{self, Twin};

/// More units than this are built once and not edited: what a second build would want for speed is not kept. For all
/// mutants of the course it would be three quarters of the disk space.
const MANY: usize = 30;

/// What compiler, linker and cargo say when there is no room left for what they write.
const FULL: &str = "No space left on device";

/// Processor time that one compiler may take, in seconds.
const COMPILE_SECONDS: u64 = 120;
/// Address space that one compiler may take, in bytes.
const COMPILE_MEMORY: u64 = 8 << 30;
/// More than this cargo does not say on its error output without a reason; in bytes.
const MOST_ERRORS: usize = 1 << 20;
/// So many errors of a package are kept, to find out what was wrong; one is shown.
const MOST_KEPT: usize = 10;
/// A larger program is not one of a lab: it is neither read nor run. In bytes.
const LARGEST_PROGRAM: u64 = 64 << 20;

/// What became of a unit.
#[derive(Debug, Clone)]
pub enum Build {
    /// The check binary.
    Binary(PathBuf),
    /// The compiler refused.
    Errors(CompileErrors),
    /// It compiles, but is not to be run, or the compiler had to be stopped: one sentence.
    Refused(String),
}

/// What the compiler said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CompileErrors {
    /// The first error as rustc rendered it, with its colours.
    pub first: String,
    /// Where it stands.
    pub place: Option<Place>,
    /// How many more there are.
    pub more: usize,
    /// Whether the submission compiles but the checks do not fit it.
    pub in_checks: bool,
}

/// Builds all units; `progress` hears how many are ready.
///
/// # Errors
/// [`Error::Internal`] when cargo itself fails, [`Error::Interrupted`] on a signal.
pub fn build(
    scratch: &Scratch,
    course: &Path,
    units: &[Unit<'_>],
    progress: &dyn Fn(usize),
) -> Result<BTreeMap<String, Build>> {
    let said = ask_cargo(&scratch.root, None, units, progress)?;
    if !said.finished {
        return Err(said.failure("cargo could not build the labs"));
    }
    units.iter().map(|unit| Ok((unit.id.clone(), said.outcome(scratch, course, unit)?))).collect()
}

/// Builds the explored twins of all units, `wrapper` being called in place of rustc. For each unit its binary, or in one
/// line why there is none.
///
/// # Errors
/// As [`build`].
pub fn build_twins(scratch: &Scratch, units: &[Unit<'_>], wrapper: &Path) -> Result<BTreeMap<String, Twin>> {
    let root = twin::root(&scratch.root);
    let said = ask_cargo(&root, Some(wrapper), units, &|_| {})?;
    let twin = |unit: &Unit<'_>| {
        let checks = root.join("checks").join(&unit.id).join("Cargo.toml");
        let errors =
            said.errors.values().flat_map(|errors| &errors.first).map(|error| error.message.as_str());
        let lines = said.stderr.lines().filter_map(|line| line.strip_prefix("error: "));
        // What cargo says about it says less.
        let lines =
            lines.filter(|line| !line.contains("exit successfully") && !line.starts_with("could not"));
        let why = errors.chain(lines).next().unwrap_or("the compiler made no binary").to_owned();
        said.binaries.get(&checks).cloned().ok_or(format!("the explored build failed: {why}"))
    };
    Ok(units.iter().map(|unit| (unit.id.clone(), twin(unit))).collect())
}

fn ask_cargo(
    root: &Path,
    wrapper: Option<&Path>,
    units: &[Unit<'_>],
    progress: &dyn Fn(usize),
) -> Result<Said> {
    let said = run_cargo(root, wrapper, units, true, progress)?;
    if !said.finished && said.stderr.contains("--offline") {
        return run_cargo(root, wrapper, units, false, progress);
    }
    Ok(said)
}

/// Replaces the scratch workspace's paths by the ones a reader knows.
pub fn readable_paths(text: &str, scratch: &Path, course: &Path, unit: &Unit<'_>) -> String {
    let inside = format!("subjects/{}/src", unit.id);
    let text = text.replace(&format!("{}/{inside}", scratch.display()), &unit.shown);
    text.replace(&inside, &unit.shown).replace(&format!("{}/", course.display()), "")
}

#[derive(Default)]
struct Said {
    /// cargo got as far as its last message.
    finished: bool,
    stderr: String,
    /// Manifest path to executable.
    binaries: BTreeMap<PathBuf, PathBuf>,
    /// Manifest path to library.
    libraries: BTreeMap<PathBuf, PathBuf>,
    /// Manifest path to the errors in that package.
    errors: BTreeMap<PathBuf, Errors>,
}

/// The first errors of a package, and how many there are.
#[derive(Default)]
struct Errors {
    first: Vec<Diagnostic>,
    count: usize,
}

impl Said {
    fn outcome(&self, scratch: &Scratch, course: &Path, unit: &Unit<'_>) -> Result<Build> {
        let manifest = |kind: &str| scratch.root.join(kind).join(&unit.id).join("Cargo.toml");
        let (subject, checks) = (manifest("subjects"), manifest("checks"));
        let in_subject = self.errors.get(&subject);
        let Some(errors) = in_subject.or_else(|| self.errors.get(&checks)) else {
            let own = format!("subjects/{}/src", unit.id);
            let library = self.libraries.get(&subject);
            let refusal =
                library.and_then(|library| inspection::refusal(library, &own, &unit.sources, &unit.shown));
            return match self.binaries.get(&checks) {
                _ if refusal.is_some() => Ok(Build::Refused(refusal.unwrap_or_default())),
                Some(binary) if is_too_large(binary) => Ok(Build::Refused(format!(
                    "the program made of {} has more than {} MiB; nothing in a lab needs that",
                    unit.shown,
                    LARGEST_PROGRAM >> 20
                ))),
                Some(binary) => Ok(Build::Binary(binary.clone())),
                None if self.was_stopped(unit) => Ok(Build::Refused(format!(
                    "the compiler did not come to an end with {} within {} s of processor time and {} GiB of memory, \
                     and was stopped",
                    unit.shown,
                    at_most(Resource::RLIMIT_CPU, COMPILE_SECONDS),
                    at_most(Resource::RLIMIT_AS, COMPILE_MEMORY) >> 30
                ))),
                None => Err(self.failure(&format!("cargo built no checks for `{}`", unit.id))),
            };
        };
        let Some(first) = errors.first.first() else {
            return Err(Error::Internal(format!("rustc said nothing about `{}`", unit.id)));
        };
        let rendered = first.rendered();
        if rendered.contains(FULL) {
            return Err(Error::Internal(format!("the disk is full: {}", first.message)));
        }
        let place = first.place().map(|(file, line, column)| Place {
            file: readable_paths(file, &scratch.root, course, unit),
            line,
            column,
        });
        Ok(Build::Errors(CompileErrors {
            first: harmless_but_coloured(&readable_paths(rendered, &scratch.root, course, unit)),
            place,
            more: errors.count - 1,
            in_checks: in_subject.is_none(),
        }))
    }

    /// Nothing was built, and for no error in a unit of ours: there was no room, perhaps already for a dependency, or cargo
    /// says what it was.
    fn failure(&self, what: &str) -> Error {
        let errors = self.errors.values().flat_map(|errors| &errors.first);
        let errors = errors.flat_map(|error| [error.message.as_str(), error.rendered()]);
        let mut lines = errors.flat_map(|said| said.lines()).chain(self.stderr.lines());
        Error::Internal(match lines.find(|line| line.contains(FULL)) {
            Some(line) => format!("the disk is full: {}", anstream::adapter::strip_str(line.trim())),
            None => format!("{what}: {}", self.stderr.trim()),
        })
    }

    /// Whether rustc died over the subject, by a signal.
    fn was_stopped(&self, unit: &Unit<'_>) -> bool {
        let failure = format!("could not compile `{}`", unit.id);
        let after = self.stderr.split_once(&failure).map(|(_, after)| after);
        !self.stderr.contains(FULL)
            && after.is_some_and(|after| {
                after.split("could not compile").next().unwrap_or_default().contains("(signal: ")
            })
    }

    fn hear(&mut self, line: &[u8]) {
        // A line that is not one of cargo's messages is not for us.
        match serde_json::from_slice::<Message>(line) {
            Ok(message) => self.understand(message),
            Err(_) if line.len() == lines::LONGEST => {
                if let Some((package, error)) = Diagnostic::of_a_beginning(line) {
                    self.add(package, error);
                }
            }
            Err(_) => {}
        }
    }

    fn understand(&mut self, message: Message) {
        match message {
            Message::CompilerArtifact { manifest_path, executable: Some(binary), .. } => {
                self.binaries.insert(manifest_path, binary);
            }
            Message::CompilerArtifact { manifest_path, executable: None, filenames } => {
                let is_library =
                    |path: &PathBuf| path.extension().is_some_and(|extension| extension == "rlib");
                if let Some(library) = filenames.into_iter().find(is_library) {
                    self.libraries.insert(manifest_path, library);
                }
            }
            Message::CompilerMessage { manifest_path, message } if message.level.starts_with("error") => {
                self.add(manifest_path, message);
            }
            Message::BuildFinished {} => self.finished = true,
            Message::CompilerMessage { .. } | Message::Other => {}
        }
    }

    fn add(&mut self, package: PathBuf, error: Diagnostic) {
        // rustc ends with "aborting due to 3 previous errors": no error of its own, and without a place.
        let errors = self.errors.entry(package).or_default();
        if !error.message.starts_with("aborting due to") {
            errors.count += 1;
            if errors.first.len() < MOST_KEPT {
                errors.first.push(error.bounded());
            }
        }
    }
}

fn is_too_large(program: &Path) -> bool {
    program.metadata().is_ok_and(|metadata| metadata.len() > LARGEST_PROGRAM)
}

#[derive(Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
#[expect(clippy::enum_variant_names, reason = "these are cargo's words")]
enum Message {
    CompilerArtifact {
        manifest_path: PathBuf,
        executable: Option<PathBuf>,
        filenames: Vec<PathBuf>,
    },
    CompilerMessage {
        manifest_path: PathBuf,
        message: Diagnostic,
    },
    BuildFinished {},
    #[serde(other)]
    Other,
}

fn run_cargo(
    root: &Path,
    wrapper: Option<&Path>,
    units: &[Unit<'_>],
    offline: bool,
    progress: &dyn Fn(usize),
) -> Result<Said> {
    let mut command = cargo();
    command.args(["build", "--keep-going", "--message-format=json-diagnostic-rendered-ansi"]);
    command.arg("--target-dir").arg(build_directory(root));
    command.args(offline.then_some("--offline"));
    for unit in units {
        // Not the subjects themselves: as roots their libraries, all of one name, would be put into one place.
        command.args(["-p", &format!("{}-checks", unit.id)]);
    }
    for (name, _) in std::env::vars_os() {
        let changes_the_build = name.to_str().is_some_and(|name| {
            let prefixes =
                ["RUSTFLAGS", "RUSTC", "CARGO_BUILD", "CARGO_ENCODED", "CARGO_PROFILE", "CARGO_TARGET"];
            prefixes.iter().any(|prefix| name.starts_with(prefix))
        });
        if changes_the_build {
            command.env_remove(name);
        }
    }
    if units.len() > MANY {
        command.env("CARGO_INCREMENTAL", "0");
    }
    if let Some(wrapper) = wrapper {
        command.env("RUSTC_WORKSPACE_WRAPPER", wrapper).env(twin::WRAPPER, "1");
    }
    command.current_dir(root).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // SAFETY: `bound` only makes system calls.
    unsafe { command.pre_exec(bound) };
    let mut child = descendants::spawn(&mut command)
        .map_err(|error| Error::Internal(format!("cannot run cargo: {error}")))?;
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(Error::Internal("cargo has no output".to_owned()));
    };
    let listened = listen(stdout, stderr, progress);
    let pid = child.id().cast_signed();
    if listened.is_err() {
        descendants::kill(pid);
    }
    let waited = child.wait();
    if listened.is_err() {
        descendants::end_group(pid);
    }
    descendants::forget(pid);
    let said = listened?;
    waited.map_err(|error| Error::Internal(format!("cannot wait for cargo: {error}")))?;
    Ok(said)
}

/// No compiler runs for ever, or takes all memory. For each process of cargo's; one that is honest needs a tenth of it.
fn bound() -> std::io::Result<()> {
    let limits = [
        (Resource::RLIMIT_CPU, COMPILE_SECONDS),
        (Resource::RLIMIT_AS, COMPILE_MEMORY),
        (Resource::RLIMIT_CORE, 0),
    ];
    for (limit, most) in limits {
        let (soft, hard) = getrlimit(limit)?;
        setrlimit(limit, soft.min(most), hard)?;
    }
    Ok(())
}

/// Less than `most`, where the grader itself was started with less.
fn at_most(limit: Resource, most: u64) -> u64 {
    getrlimit(limit).map_or(most, |(soft, _)| soft.min(most))
}

fn listen(mut stdout: ChildStdout, mut stderr: ChildStderr, progress: &dyn Fn(usize)) -> Result<Said> {
    let failed = |error: std::io::Error| Error::Internal(format!("cannot read from cargo: {error}"));
    let (mut said, mut lines, mut errors) = (Said::default(), Lines::default(), Vec::new());
    let (mut stdout_open, mut stderr_open) = (true, true);
    let mut chunk = vec![0; 64 * 1024];
    while stdout_open || stderr_open {
        let stop = signals::descriptor();
        let (out, err) = (stdout.as_fd(), stderr.as_fd());
        let watched: Vec<_> =
            [stop, stdout_open.then_some(out), stderr_open.then_some(err)].into_iter().flatten().collect();
        let mut polled: Vec<_> = watched.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(failed(error.into())),
        }
        let ready: Vec<bool> = polled.iter().map(|fd| fd.any() == Some(true)).collect();
        let mut ready = ready.into_iter().skip(usize::from(stop.is_some()));
        let out_ready = stdout_open && ready.next() == Some(true);
        let err_ready = stderr_open && ready.next() == Some(true);
        if let Some(signal) = signals::received() {
            return Err(Error::Interrupted(signal));
        }
        if out_ready {
            let count = stdout.read(&mut chunk).map_err(failed)?;
            stdout_open = count > 0;
            lines.push(&chunk[..count], |line| {
                said.hear(line);
                progress(said.binaries.len());
            });
        }
        if err_ready {
            let count = stderr.read(&mut chunk).map_err(failed)?;
            stderr_open = count > 0;
            errors.extend_from_slice(&chunk[..count.min(MOST_ERRORS.saturating_sub(errors.len()))]);
        }
    }
    said.stderr = String::from_utf8_lossy(&errors).into_owned();
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(message: &str, stderr: &str, expected: &str) {
        let mut said = Said { stderr: stderr.to_owned(), ..Said::default() };
        let message = serde_json::json!({
            "reason": "compiler-message",
            "manifest_path": "/registry/libc/Cargo.toml",
            "message": { "message": message, "level": "error", "rendered": null, "spans": [] },
        });
        said.hear(message.to_string().as_bytes());
        assert_eq!(said.failure("no checks").to_string(), expected);
    }

    #[test]
    fn a_full_disk_is_named_when_a_dependency_meets_it() {
        let message = "failed to write `liblibc.rmeta`: No space left on device (os error 28)";
        let expected = format!("the disk is full: {message}");
        check(message, "error: could not compile `libc` (lib)\n", &expected);
    }

    #[test]
    fn a_full_disk_is_named_when_cargo_meets_it() {
        check(
            "",
            "error: x\n\n  No space left on device (os error 28)\n",
            "the disk is full: No space left on device (os error 28)",
        );
    }

    #[test]
    fn any_other_failure_is_told_as_cargo_tells_it() {
        check("no such crate", "error: no network\n", "no checks: error: no network");
    }
}
