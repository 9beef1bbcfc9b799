//! The generated workspace below the target directory in which subjects are built and run.
//!
//! A file is rewritten only when its text changed, so that cargo rebuilds only what a student edited.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::fcntl::{Flock, FlockArg};

use crate::course::Course;
use crate::error::{Error, Result};
use crate::lab::Lab;
use crate::manifest::{self, Dependencies};
use crate::sandbox::directory;
use crate::subject::Sources;
use crate::twin;

/// One subject of one lab, to be compiled together with the lab's checks.
#[derive(Debug, Clone)]
pub struct Unit<'a> {
    /// Unique among the units of a run: `spinlock-submission`.
    pub id: String,
    /// Whose checks.
    pub lab: &'a Lab,
    /// What to compile.
    pub sources: Sources,
    /// How messages name the folder the sources came from: `labs/05-spinlock/src`.
    pub shown: String,
}

/// The scratch workspace, held by one grader at a time.
#[derive(Debug)]
pub struct Scratch {
    /// The generated workspace's folder.
    pub root: PathBuf,
    _lock: Flock<fs::File>,
}

impl Scratch {
    /// Opens the scratch workspace of a course; `wait` is called when another grader holds it.
    ///
    /// # Errors
    /// [`Error::Internal`] when cargo or the target directory cannot be used.
    pub fn open(course: &Course, wait: impl Fn()) -> Result<Scratch> {
        let root = target_directory(&course.root)?.join("grader");
        fs::create_dir_all(&root).map_err(|error| Error::io("create", &root, &error))?;
        let path = root.join("lock");
        let open = fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = open.map_err(|error| Error::io("open", &path, &error))?;
        let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((file, nix::Error::EWOULDBLOCK)) => {
                wait();
                lock_patiently(file, &path)?
            }
            Err((_, error)) => return Err(Error::io("lock", &path, &error.into())),
        };
        directory::remove(&root.join("run"));
        Ok(Scratch { root, _lock: lock })
    }

    /// Makes the workspace hold exactly `units`.
    ///
    /// # Errors
    /// [`Error::Course`] for a manifest of the course that makes no sense, [`Error::Internal`] for I/O.
    pub fn write(&self, course: &Course, units: &[Unit<'_>]) -> Result<()> {
        for Unit { id, sources, .. } in units {
            write_sources(&self.root.join("subjects").join(id).join("src"), sources)?;
        }
        let members = write_packages(&self.root, course, units, |_| "src/lib.rs".to_owned(), None)?;
        write(&self.root.join("Cargo.toml"), &manifest::workspace(&members))?;
        copy_lock_file(&self.root, &course.root)
    }

    /// Makes the workspace of the explored twins hold exactly those of `units`, over the sources that [`Scratch::write`]
    /// puts down.
    ///
    /// # Errors
    /// As [`Scratch::write`].
    pub fn write_twins(&self, course: &Course, units: &[Unit<'_>]) -> Result<()> {
        let root = twin::root(&self.root);
        let file = |id: &str| self.root.join("subjects").join(id).join("src/lib.rs").display().to_string();
        let members = write_packages(&root, course, units, file, Some("explore"))?;
        write(&root.join("Cargo.toml"), &manifest::twin_workspace(&members))?;
        // cargo does not know what the wrapper adds.
        let arguments = root.join("arguments");
        let now = twin::ARGUMENTS.join("\n");
        if fs::read_to_string(&arguments).is_ok_and(|then| then != now) {
            let _ = fs::remove_dir_all(build_directory(&root));
        }
        write(&arguments, &now)?;
        copy_lock_file(&root, &course.root)
    }
}

/// Where cargo puts what it builds in a workspace.
pub fn build_directory(workspace: &Path) -> PathBuf {
    workspace.join("build")
}

/// Writes the manifests of two packages for each unit; returns the workspace's members.
fn write_packages(
    root: &Path,
    course: &Course,
    units: &[Unit<'_>],
    subject_file: impl Fn(&str) -> String,
    feature: Option<&str>,
) -> Result<Vec<String>> {
    let root_manifest = course.root.join("Cargo.toml");
    let root_text = read(&root_manifest)?;
    let inconsistent = |sentence| Error::Course(vec![sentence]);
    let mut members = Vec::new();
    for Unit { id, lab, .. } in units {
        let lab_manifest = course.lab_folder(lab).join("Cargo.toml");
        let lab_text = read(&lab_manifest)?;
        let plain = Dependencies::of_lab(&lab_manifest, &lab_text, &root_manifest, &root_text)
            .map_err(inconsistent)?;
        let mut checked =
            plain.with(&["harness", "libc", "nix"], &root_manifest, &root_text).map_err(inconsistent)?;
        if let Some(feature) = feature {
            checked = checked.with_feature("harness", feature);
        }
        let checks = course.lab_folder(lab).join("checks.rs");
        let crate_name = lab.crate_name();
        let text = manifest::subject(id, &crate_name, &subject_file(id), &plain);
        write(&root.join("subjects").join(id).join("Cargo.toml"), &text)?;
        let text = manifest::checks(id, &crate_name, id, &checks, &checked);
        write(&root.join("checks").join(id).join("Cargo.toml"), &text)?;
        members.extend([format!("subjects/{id}"), format!("checks/{id}")]);
    }
    Ok(members)
}

/// The course's lock file decides the versions: copied when it changed, else cargo keeps its own up to date.
fn copy_lock_file(root: &Path, course: &Path) -> Result<()> {
    let Ok(text) = fs::read_to_string(course.join("Cargo.lock")) else { return Ok(()) };
    let (ours, copied) = (root.join("Cargo.lock"), root.join("Cargo.lock.course"));
    if ours.exists() && fs::read_to_string(&copied).is_ok_and(|old| old == text) {
        return Ok(());
    }
    write(&ours, &text)?;
    write(&copied, &text)
}

/// The cargo that started us, or the one on the path.
pub fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn target_directory(root: &Path) -> Result<PathBuf> {
    let mut command = cargo();
    command.args(["metadata", "--no-deps", "--format-version", "1", "--offline"]).current_dir(root);
    let output = command
        .output()
        .map_err(|error| Error::Internal(format!("cannot run cargo: {error}; is Rust installed?")))?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    Ok(match metadata["target_directory"].as_str() {
        Some(path) => PathBuf::from(path),
        // cargo reads every lab: one without `src/lib.rs` must not keep the others from being graded.
        None => root.join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into())),
    })
}

fn lock_patiently(mut file: fs::File, path: &Path) -> Result<Flock<fs::File>> {
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((_, error)) if error != nix::Error::EWOULDBLOCK => {
                return Err(Error::io("lock", path, &error.into()));
            }
            Err((same, _)) => file = same,
        }
        if let Some(signal) = crate::signals::received() {
            return Err(Error::Interrupted(signal));
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

fn write_sources(root: &Path, sources: &Sources) -> Result<()> {
    let mut wanted = BTreeSet::new();
    for (path, text) in sources.iter() {
        let path = root.join(path);
        wanted.extend(path.ancestors().take_while(|ancestor| *ancestor != root).map(Path::to_owned));
        write(&path, text)?;
    }
    remove_others(root, &wanted)
}

fn remove_others(folder: &Path, wanted: &BTreeSet<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).map_err(|error| Error::io("read", folder, &error))?;
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let is_folder = path.is_dir();
        match (wanted.contains(&path), is_folder) {
            (true, true) => remove_others(&path, wanted)?,
            (true, false) => {}
            (false, true) => {
                fs::remove_dir_all(&path).map_err(|error| Error::io("remove", &path, &error))?;
            }
            (false, false) => fs::remove_file(&path).map_err(|error| Error::io("remove", &path, &error))?,
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|error| Error::io("read", path, &error))
}

fn write(path: &Path, text: &str) -> Result<()> {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(|error| Error::io("create", folder, &error))?;
    fs::write(path, text).map_err(|error| Error::io("write", path, &error))
}
