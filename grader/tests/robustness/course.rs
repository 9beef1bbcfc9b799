//! The course of these tests: one lab whose submission does everything it should not.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Longer than anything here takes, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(240);

/// The checks, with their deadlines in seconds.
const CHECKS: [(&str, f64); 9] = [
    ("ends", 5.0),
    ("leaves-daemons", 600.0),
    ("floods", 60.0),
    ("speaks", 5.0),
    ("stops-its-supervisor", 0.2),
    ("kills-its-supervisor", 5.0),
    ("leaves-ipc", 5.0),
    ("leaves-a-crowd", 60.0),
    ("waits", 600.0),
];

/// The shared target directory.
pub fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("robustness-target")
}

/// The shared course.
pub fn course() -> &'static Path {
    static COURSE: OnceLock<PathBuf> = OnceLock::new();
    COURSE.get_or_init(|| {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("robustness-course");
        write_course(&root, include_str!("submission.rs"));
        root
    })
}

/// Writes a course whose one lab is answered by `submission`.
pub fn write_course(root: &Path, submission: &str) {
    let harness = Path::new(env!("CARGO_MANIFEST_DIR")).join("harness");
    let manifest = format!(
        "[workspace]\nresolver = '3'\nmembers = ['labs/*']\n[workspace.dependencies]\n\
         harness = {{ path = '{}' }}\nlibc = '0.2'\nnix = '0.31'\n",
        harness.display()
    );
    let lab = root.join("labs/01-yard");
    write(&root.join("Cargo.toml"), &manifest);
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock");
    write(&root.join("Cargo.lock"), &fs::read_to_string(lock).unwrap());
    write(
        &lab.join("Cargo.toml"),
        "[package]\nname = 'yard'\nedition = '2024'\n[dependencies]\nlibc.workspace = true\n",
    );
    write(&lab.join("lab.toml"), &rubric());
    write(&lab.join("checks.rs"), &checks());
    write(&lab.join("src/lib.rs"), submission);
}

fn rubric() -> String {
    let head = "title = 'Yard'\nsummary = 'Misbehaves.'\n[[parts]]\nname = 'yard'\ntitle = 'Yard'\n\
                hints = ['a', 'b', 'c']\n";
    let check = |(name, deadline): &(&str, f64)| {
        format!(
            "[[parts.checks]]\nname = '{name}'\npoints = 10\ndeadline = {deadline}\n\
             says = 'It ends.'\nevidence = 'answers'\n"
        )
    };
    CHECKS.iter().fold(head.to_owned(), |text, entry| text + &check(entry))
}

/// Each check asks the submission for the function of its name.
fn checks() -> String {
    let names: Vec<(&str, String)> = CHECKS.iter().map(|(name, _)| (*name, name.replace('-', "_"))).collect();
    let table: String = names.iter().map(|(name, function)| format!("\"{name}\" => {function},")).collect();
    let functions = names.iter().map(|(_, function)| {
        format!("fn {function}(check: &mut Check) -> Outcome {{ check.ask(\"`{function}`\", || yard::{function}()) }}\n")
    });
    let functions: String = functions.collect();
    format!("//! Checks.\nuse harness::{{Check, Outcome}};\nharness::checks! {{ {table} }}\n{functions}")
}

fn write(path: &Path, text: &str) {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return;
    }
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// A grader for some checks of the shared course, in the tier that the machine gives.
pub fn grader(checks: &[&str]) -> Command {
    let mut command = grader_in(course());
    command.arg("yard").args(checks);
    command
}

/// The same where nothing is shut in: what reaches the supervisor or the machine's objects does so only there.
pub fn open_grader(checks: &[&str]) -> Command {
    let mut command = grader(checks);
    command.args(["--tier", "open"]);
    command
}

/// A grader in any course, with the shared target directory.
pub fn grader_in(course: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_grader"));
    command.current_dir(course).env("CARGO_TARGET_DIR", target());
    command.env_remove("GITHUB_STEP_SUMMARY");
    command
}

/// A grader at work.
pub struct Running {
    child: Child,
}

impl Running {
    pub fn start(command: &mut Command) -> Running {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Running { child: command.spawn().unwrap() }
    }

    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Waits until a running check has written the file `name`; returns its text.
    pub fn until_file(&mut self, name: &str) -> String {
        let pid = self.pid();
        let mut found = None;
        wait_until(&format!("a check writes `{name}`"), || {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "the grader ended too early: {ended:?}");
            found = directories_of(pid).iter().find_map(|path| fs::read_to_string(path.join(name)).ok());
            found.is_some()
        });
        found.unwrap()
    }

    /// The numbers that processes of a check have for us: inside they may be others.
    pub fn outside(&self, inside: &str) -> Vec<i32> {
        let pids: Vec<&str> = inside.split_whitespace().collect();
        let below = below(self.pid());
        let has = |pid: i32, inner: &str| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
            numbers.and_then(|numbers| numbers.split_whitespace().next_back()) == Some(inner)
        };
        let outer = |inner: &&str| below.iter().copied().find(|&pid| has(pid, inner));
        pids.iter().map(|inner| outer(inner).unwrap_or_else(|| panic!("no process {inner}"))).collect()
    }

    /// Sends a signal, which ends the grader long before its check's deadline.
    pub fn signal(self, signal: i32) -> Ended {
        let sent = Instant::now();
        // SAFETY: `kill` takes two integers; our own child has not been waited for.
        unsafe { libc::kill(self.pid(), signal) };
        let ended = self.end();
        assert!(sent.elapsed() < PATIENCE, "went on for {:?}\n{ended}", sent.elapsed());
        ended
    }

    pub fn end(self) -> Ended {
        let pid = self.pid();
        let output = self.child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the grader writes UTF-8");
        Ended { pid, status: output.status, stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// What a grader said until it ended.
#[derive(Debug)]
pub struct Ended {
    pub pid: i32,
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    #[track_caller]
    pub fn code(self, code: i32) -> Ended {
        assert_eq!(self.status.code(), Some(code), "{self}");
        self
    }

    #[track_caller]
    pub fn killed_by(self, signal: i32) -> Ended {
        assert_eq!(self.status.signal(), Some(signal), "{self}");
        self
    }

    #[track_caller]
    pub fn says(self, text: &str) -> Ended {
        assert!(self.stdout.contains(text), "no `{text}` in\n{self}");
        self
    }

    #[track_caller]
    pub fn complains(self, text: &str) -> Ended {
        assert!(self.stderr.contains(text), "no `{text}` in\n{self}");
        assert!(!self.stderr.contains("panicked"), "{self}");
        self
    }

    /// Neither a process nor a directory of its checks is there any more.
    #[track_caller]
    pub fn left_nothing(self) -> Ended {
        assert_eq!(processes_of(self.pid), Vec::<i32>::new(), "{self}");
        assert_eq!(directories_of(self.pid), Vec::<PathBuf>::new(), "{self}");
        self
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\n--- stdout\n{}\n--- stderr\n{}", self.status, self.stdout, self.stderr)
    }
}

pub fn run(command: &mut Command) -> Ended {
    Running::start(command).end()
}

/// Looks again and again until it is so.
#[track_caller]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// Processes of the checks that the grader `pid` started, zombies aside.
pub fn processes_of(pid: i32) -> Vec<i32> {
    let mark = format!("GRADER_CHECK={pid}-");
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_marked = |pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|entry| entry.starts_with(mark.as_bytes()))
    };
    pids.filter(is_marked).filter(|&pid| is_alive(pid)).collect()
}

/// A process's descendants.
fn below(pid: i32) -> Vec<i32> {
    let children = |parent: i32| {
        let tasks = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
        let lists = tasks.map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default());
        lists.flat_map(|list| list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<i32>>())
    };
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        family.extend(children(parent));
        next += 1;
    }
    family
}

/// Whether a process exists and is no zombie.
pub fn is_alive(pid: i32) -> bool {
    let stat = fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
    let stat = String::from_utf8_lossy(&stat).into_owned();
    stat.rsplit_once(") ").is_some_and(|(_, after)| !after.starts_with(['Z', 'X']))
}

/// The private directories of the checks of the grader `pid`.
pub fn directories_of(pid: i32) -> Vec<PathBuf> {
    let entries = fs::read_dir(target().join("grader/run")).into_iter().flatten().flatten();
    let mark = format!("{pid}-");
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&mark)).map(|e| e.path()).collect()
}
