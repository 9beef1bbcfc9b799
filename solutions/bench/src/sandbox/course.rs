//! A course of one lab, whose checks do nothing, sleep too long, or are many processes; and the grader at work in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// How many checks of a kind are run at a time.
const CHECKS: usize = 20;
/// The deadline of those that sleep too long, in seconds.
pub const DEADLINE: f64 = 0.2;
/// How many processes a crowd is.
pub const PROCESSES: usize = 300;

/// What the submission does.
const SUBMISSION: &str = "//! Does nothing, for different lengths of time.

/// Nothing at all.
pub fn empty() {}

/// Nothing, for ever.
pub fn overruns() {
    loop {
        unsafe { libc::pause() };
    }
}

/// Nothing, by 15 children and 19 more of each.
pub fn crowd() {
    if (0..15).any(|_| unsafe { libc::fork() } == 0) {
        let _ = (0..19).any(|_| unsafe { libc::fork() } == 0);
    }
    overruns();
}
";

/// What a check does.
#[derive(Clone, Copy)]
pub enum Kind {
    /// Nothing.
    Empty,
    /// It sleeps beyond its deadline.
    Overruns,
    /// It is [`PROCESSES`] processes, which sleep.
    Crowd,
}

/// What came of the checks of one kind.
pub struct Run {
    /// How long each took.
    pub seconds: Vec<f64>,
    /// By how much deadlines were stretched.
    pub slowness: f64,
}

/// The course, and the grader of this repository.
pub struct Course {
    /// Kept from run to run: what is built there is built once.
    folder: PathBuf,
    grader: PathBuf,
}

impl Course {
    /// Writes the course and builds the grader as `cargo run` does.
    pub fn new() -> Result<Course, String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let target = build_grader(&root)?;
        let course = Course { folder: target.join("bench-sandbox"), grader: target.join("debug/grader") };
        course.put(
            "Cargo.toml",
            &format!(
                "[workspace]\nresolver = '3'\nmembers = ['labs/*']\n[workspace.dependencies]\n\
                 harness = {{ path = '{}' }}\nlibc = '0.2'\nnix = '0.31'\n",
                root.join("grader/harness").display()
            ),
        )?;
        let lock =
            fs::read_to_string(root.join("Cargo.lock")).map_err(|error| format!("Cargo.lock: {error}"))?;
        course.put("Cargo.lock", &lock)?;
        let manifest = "[package]\nname = 'idle'\nedition = '2024'\n[dependencies]\nlibc.workspace = true\n";
        course.put("labs/01-idle/Cargo.toml", manifest)?;
        course.put("labs/01-idle/lab.toml", &rubric())?;
        course.put("labs/01-idle/checks.rs", &checks())?;
        course.put("labs/01-idle/src/lib.rs", SUBMISSION)?;
        Ok(course)
    }

    /// Runs the checks of a kind to their end; none if this machine does not offer the tier.
    pub fn seconds(&self, kind: Kind, tier: &str) -> Result<Option<Run>, String> {
        let report = self.folder.join("report.json");
        let mut command = self.command(kind, tier);
        command.arg("--output").arg(&report);
        let output = command.output().map_err(|error| format!("cannot run the grader: {error}"))?;
        match output.status.code() {
            Some(0 | 1) => {}
            // No such tier.
            Some(4) => return Ok(None),
            _ => return Err(format!("the grader: {}", String::from_utf8_lossy(&output.stderr))),
        }
        let text = fs::read(&report).map_err(|error| format!("the report: {error}"))?;
        let report: Value = serde_json::from_slice(&text).map_err(|error| format!("the report: {error}"))?;
        let checks = report["labs"][0]["checks"].as_array().map_or(&[][..], Vec::as_slice);
        Ok(Some(Run {
            seconds: checks.iter().filter_map(|check| check["seconds"].as_f64()).collect(),
            slowness: report["slowness"].as_f64().unwrap_or(1.0),
        }))
    }

    /// Starts the grader with the check of a kind.
    pub fn start(&self, kind: Kind, tier: &str) -> Result<Child, String> {
        let mut command = self.command(kind, tier);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().map_err(|error| format!("cannot run the grader: {error}"))
    }

    fn command(&self, kind: Kind, tier: &str) -> Command {
        let mut command = Command::new(&self.grader);
        command.current_dir(&self.folder).env("CARGO_TARGET_DIR", self.folder.join("target"));
        command.args(["idle", "--tier", tier, "--exit-policy", "ran"]).args(kind.checks());
        command.env_remove("GITHUB_STEP_SUMMARY");
        command
    }

    fn put(&self, path: &str, text: &str) -> Result<(), String> {
        let path = self.folder.join(path);
        let folder = path.parent().unwrap_or(&path);
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&path, text))
            .map_err(|error| format!("{}: {error}", path.display()))
    }
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::Empty, Kind::Overruns, Kind::Crowd];

    /// The function of the submission, the number of checks that call it, and their deadline in seconds.
    fn what(self) -> (&'static str, usize, f64) {
        match self {
            Kind::Empty => ("empty", CHECKS, 60.0),
            Kind::Overruns => ("overruns", CHECKS, DEADLINE),
            Kind::Crowd => ("crowd", 1, 600.0),
        }
    }

    fn checks(self) -> impl Iterator<Item = String> {
        let (function, count, _) = self.what();
        (1..=count).map(move |number| format!("{function}-{number}"))
    }
}

fn rubric() -> String {
    let mut text = "title = 'Idle'\nsummary = 'Does nothing.'\n[[parts]]\nname = 'idle'\ntitle = 'Idle'\n\
                    hints = ['a', 'b', 'c']\n"
        .to_owned();
    for kind in Kind::ALL {
        let (_, _, deadline) = kind.what();
        for name in kind.checks() {
            text.push_str(&format!(
                "[[parts.checks]]\nname = '{name}'\npoints = 1\ndeadline = {deadline:?}\nsays = 'It ends.'\n\
                 evidence = 'answers'\n"
            ));
        }
    }
    text
}

/// A check that does nothing does not even start a worker: what is measured is the grader's part.
fn checks() -> String {
    let mut table = String::new();
    for kind in Kind::ALL {
        let (function, _, _) = kind.what();
        kind.checks().for_each(|name| table.push_str(&format!("\"{name}\" => {function},\n")));
    }
    format!(
        "//! Checks.\nuse harness::{{Check, Outcome}};\nharness::checks! {{ {table} }}\n\
         fn empty(_: &mut Check) -> Outcome {{ idle::empty(); Ok(()) }}\n\
         fn overruns(check: &mut Check) -> Outcome {{ check.ask(\"`overruns`\", idle::overruns) }}\n\
         fn crowd(check: &mut Check) -> Outcome {{ check.ask(\"`crowd`\", idle::crowd) }}\n"
    )
}

/// Builds the grader; returns the directory of all that is built.
fn build_grader(root: &Path) -> Result<PathBuf, String> {
    let cargo = |arguments: &[&str]| {
        let mut command = Command::new("cargo");
        let output = command.current_dir(root).args(arguments).stderr(Stdio::inherit()).output();
        let output = output.map_err(|error| format!("cannot run cargo: {error}"))?;
        if output.status.success() {
            Ok(output.stdout)
        } else {
            Err(format!("{command:?}: {}", output.status))
        }
    };
    cargo(&["build", "--quiet", "--locked", "--package", "grader"])?;
    let metadata = cargo(&["metadata", "--no-deps", "--format-version", "1"])?;
    let metadata: Value =
        serde_json::from_slice(&metadata).map_err(|error| format!("cargo metadata: {error}"))?;
    let target = metadata["target_directory"].as_str().ok_or("cargo names no target directory")?;
    Ok(PathBuf::from(target))
}

/// The processes of a grader's checks, by the variable that the grader puts into their environment.
pub fn processes_of(grader: u32) -> Vec<i32> {
    let mark = format!("GRADER_CHECK={grader}-");
    let is_marked = |pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|variable| variable.starts_with(mark.as_bytes()))
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_marked).collect()
}
