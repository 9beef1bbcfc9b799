//! The grader's own speed, as a student meets it: `cargo run -p grader`, by the clock and by what all its processes used.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::machine;
use crate::table::{Row, SPREAD, Spread, Table};

/// The lab that is graded alone, and the line of it before which something is inserted.
const LAB: &str = "futex";
const SOURCE: &str = "solutions/06-futex/src/lib.rs";
const EDITED: &str = "        if self.state.swap(FREE, Release) == CONTENDED {\n";

/// The seconds of each thing that is done.
struct Seconds {
    name: String,
    wall: Vec<f64>,
    processor: Vec<f64>,
}

/// Everything, one lab, and one lab after an edit, `rounds` times in turn; then the first run in a fresh clone, once.
pub fn tables(rounds: usize) -> Result<Vec<Table>, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let source = fs::read_to_string(root.join(SOURCE)).map_err(|error| format!("{SOURCE}: {error}"))?;
    let folder = folder()?;
    let copy = folder.path().join("06-futex");
    let copy_name = copy.display().to_string();
    let mut all = Seconds::of("all references, nothing changed");
    let mut one = Seconds::of(format!("one reference (`{LAB}`), nothing changed"));
    let mut edited = Seconds::of(format!("one function of `{LAB}` edited"));
    for round in 0..=rounds {
        edit(&source, round, &copy)?;
        let counts = round > 0;
        all.add(counts, grade(&root, &["--subject", "reference"])?);
        one.add(counts, grade(&root, &[LAB, "--subject", "reference"])?);
        edited.add(counts, grade(&root, &[LAB, "--subject", &copy_name])?);
    }
    let mut first = Seconds::of("fresh clone to first report, crates downloaded before");
    first.add(true, clone_and_grade(&root, &folder.path().join("clone"))?);
    let rows = [&all, &one, &edited].into_iter().flat_map(Seconds::rows).collect();
    Ok(vec![
        Table {
            title: "cargo run -p grader".to_owned(),
            unit: "seconds, less is better",
            columns: SPREAD,
            rows,
        },
        Table {
            title: "the same, once".to_owned(),
            unit: "seconds, less is better",
            columns: SPREAD,
            rows: first.rows().into(),
        },
    ])
}

impl Seconds {
    fn of(name: impl Into<String>) -> Seconds {
        Seconds { name: name.into(), wall: Vec::new(), processor: Vec::new() }
    }

    fn add(&mut self, counts: bool, (wall, processor): (Duration, Duration)) {
        if counts {
            self.wall.push(wall.as_secs_f64());
            self.processor.push(processor.as_secs_f64());
        }
    }

    fn rows(&self) -> [Row; 2] {
        [("", &self.wall), (": processor time", &self.processor)].map(|(what, figures)| Row {
            name: format!("{}{what}", self.name),
            figures: Spread::of(figures),
            peer: None,
        })
    }
}

fn folder() -> Result<TempDir, String> {
    tempfile::tempdir().map_err(|error| format!("cannot make a folder: {error}"))
}

/// A copy of the lab's reference that differs in one line from that of any other round.
fn edit(source: &str, round: usize, copy: &Path) -> Result<(), String> {
    let edited = source.replacen(EDITED, &format!("        let _edit = {round}_u32;\n{EDITED}"), 1);
    if edited == source {
        return Err(format!("nothing to edit in {SOURCE}: `{}`", EDITED.trim()));
    }
    fs::create_dir_all(copy.join("src"))
        .and_then(|()| fs::write(copy.join("src/lib.rs"), edited))
        .map_err(|error| format!("cannot write the edited lab: {error}"))
}

fn grade(root: &Path, arguments: &[&str]) -> Result<(Duration, Duration), String> {
    let mut command = Command::new("cargo");
    command
        .current_dir(root)
        .args(["run", "--quiet", "--locked", "--package", "grader", "--"])
        .args(arguments);
    timed(command, &[0])
}

/// All labs are unfinished there: that is exit code 1.
fn clone_and_grade(root: &Path, clone: &PathBuf) -> Result<(Duration, Duration), String> {
    let mut git = Command::new("git");
    git.args(["clone", "--quiet"]).arg(root).arg(clone);
    timed(git, &[0])?;
    let mut command = Command::new("cargo");
    command.current_dir(clone).env_remove("CARGO_TARGET_DIR");
    command.args(["run", "--quiet", "--locked", "--package", "grader"]);
    timed(command, &[1])
}

/// How long it took, and how much processor time it and everything below it used.
fn timed(mut command: Command, expected: &[i32]) -> Result<(Duration, Duration), String> {
    let (start, used) = (Instant::now(), machine::processor_time_of_children());
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    let figures = (start.elapsed(), machine::processor_time_of_children() - used);
    match output.status.code() {
        Some(code) if expected.contains(&code) => Ok(figures),
        _ => Err(format!(
            "{command:?}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )),
    }
}
