//! The course that the corpus is a submission to.

use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::Value;

use crate::asked::Asked;
use crate::left::processes_of;
use crate::memory;

/// A file of the course that no submission may read.
const SECRET: &str = "solutions/01-corpus/secret";
/// What each check is worth.
pub const POINTS: u64 = 10;

/// One submission, with what must come of it.
pub struct Entry {
    pub name: String,
    /// What must come of it in which tiers; the first that fits holds.
    ends: Vec<End>,
    tiers: Vec<String>,
    deadline: f64,
    needs: Option<String>,
    uses: Option<String>,
    asked: Asked,
    /// Files of a submission that nobody looks at, which the report names.
    pub ignored: Vec<String>,
    /// Whether its compiler gets less than others.
    pub is_bounded: bool,
    pub text: String,
}

/// What is done with an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It is a module of one large submission.
    Run,
    /// It is a submission, which is not run.
    Build,
    /// It is a checkout of the course, with other files than sources.
    Brought,
}

impl Kind {
    fn of_group(folder: &Path) -> Kind {
        match folder.file_name().and_then(|name| name.to_str()) {
            Some("build") => Kind::Build,
            Some("brought") => Kind::Brought,
            _ => Kind::Run,
        }
    }
}

/// What must come of an entry.
pub struct End {
    /// Empty: everywhere.
    tiers: Vec<String>,
    pub verdict: String,
    pub message: String,
}

impl Entry {
    /// An entry by its text.
    pub fn parse(name: &str, text: String) -> Entry {
        let head = text.lines().take_while(|line| line.starts_with("//!"));
        let lines: Vec<&str> = head.filter_map(|line| line.strip_prefix("//! ")).collect();
        let value = |key: &str| lines.iter().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let end = |at: &str, tiers| End {
            tiers,
            verdict: value(&format!("expect{at}")).unwrap_or("did-not-compile").to_owned(),
            message: value(&format!("message{at}")).unwrap_or_default().to_owned(),
        };
        let special = lines.iter().filter_map(|line| line.strip_prefix("expect in ")?.split_once(": "));
        let special = special.map(|(tiers, _)| end(&format!(" in {tiers}"), words(tiers)));
        Entry {
            name: name.to_owned(),
            ends: special.chain([end("", Vec::new())]).collect(),
            tiers: words(value("tiers").unwrap_or_default()),
            deadline: value("deadline").map_or(10.0, |seconds| seconds.parse().unwrap()),
            needs: value("needs").map(str::to_owned),
            uses: value("uses").map(str::to_owned),
            asked: Asked::parse(value("asked")),
            ignored: value("ignored").unwrap_or_default().split_whitespace().map(str::to_owned).collect(),
            is_bounded: value("bounded").is_some(),
            text,
        }
    }

    /// Whether it is run in this tier. `0+landlock`: in tier 0 where the kernel has Landlock as well; `1+queues`: in tier 1 where
    /// the folder of POSIX queues is mounted.
    pub fn runs_in(&self, tier: &str) -> bool {
        let runs = |name: &str| match name.split_once('+') {
            Some((name, "landlock")) => name == tier && kernel_could("1"),
            Some((name, _)) => name == tier && has_queues(),
            None => name == tier,
        };
        self.tiers.iter().any(|name| runs(name))
    }

    /// What must come of it.
    pub fn end_in(&self, tier: &str) -> &End {
        let fits = |end: &&End| end.tiers.is_empty() || end.tiers.iter().any(|name| name == tier);
        self.ends.iter().find(fits).unwrap()
    }
}

/// All entries of a kind, by name.
pub fn entries(kind: Kind) -> Vec<Entry> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let groups = fs::read_dir(folder)
        .unwrap()
        .map(|group| group.unwrap().path())
        .filter(|path| path.is_dir() && Kind::of_group(path) == kind);
    let files = groups.flat_map(|group| fs::read_dir(group).unwrap()).map(|file| file.unwrap().path());
    let mut entries: Vec<Entry> = files
        .map(|file| {
            Entry::parse(file.file_stem().unwrap().to_str().unwrap(), fs::read_to_string(&file).unwrap())
        })
        .collect();
    entries.sort_by(|one, other| one.name.cmp(&other.name));
    entries
}

pub fn scratch() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

pub fn target() -> PathBuf {
    scratch().join("corpus-target")
}

/// A course in a folder of its own.
pub struct Course(PathBuf);

impl Course {
    /// All entries as modules of one submission, each with a check.
    pub fn of_one_lab(entries: &[Entry]) -> Course {
        let course = Course::new("corpus-course");
        let modules =
            entries.iter().fold(String::new(), |text, entry| text + &format!("pub mod {};\n", entry.name));
        course.put_lab("corpus", entries, &format!("pub mod acts;\n{modules}"), "corpus::");
        course.put(SECRET, "nobody's business");
        let acts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/acts.rs");
        course.put("labs/01-corpus/src/acts.rs", &fs::read_to_string(acts).unwrap());
        for entry in entries {
            course.put(&format!("labs/01-corpus/src/{}.rs", entry.name), &entry.text);
        }
        course
    }

    /// Entries of one text, each with a check.
    pub fn of_one_loud_lab(entries: &[Entry]) -> Course {
        let course = Course::new("corpus-loud");
        let names = entries.iter().fold(String::new(), |text, Entry { name, .. }| {
            text + &format!("pub mod {name} {{ pub use super::run; }}\n")
        });
        course.put_lab("loud", entries, &format!("{}{names}", entries[0].text), "loud::");
        course
    }

    /// Each entry a submission of its own.
    pub fn of_a_lab_each(entries: &[Entry]) -> Course {
        let course = Course::new("corpus-builds");
        for entry in entries {
            course.put_lab(&entry.name, std::slice::from_ref(entry), &entry.text, "");
        }
        course
    }

    /// Each entry a checkout of the course; this is the course, with each lab answered wrongly.
    pub fn of_checkouts(entries: &[Entry]) -> Course {
        let course = Course::new("corpus-brought");
        for entry in entries {
            course.put_lab(&entry.name, std::slice::from_ref(entry), "pub fn run() -> u64 { 0 }\n", "");
        }
        course
    }

    /// One lab with two checks, `one` and `two`.
    pub fn of_two_checks(name: &str, submission: &str) -> Course {
        let course = Course::new(&format!("corpus-{name}"));
        let entries = ["one", "two"].map(|check| Entry::parse(check, String::new()));
        course.put_lab(name, &entries, submission, &format!("{name}::"));
        course
    }

    pub fn root(&self) -> &Path {
        &self.0
    }

    /// All files in it that are the course's own.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut folders = vec![self.0.clone()];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
            let (inner, own): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
            folders.extend(inner);
            files.extend(own);
        }
        files
    }

    fn new(name: &str) -> Course {
        let course = Course(scratch().join(name));
        let grader = Path::new(env!("CARGO_MANIFEST_DIR"));
        course.put(
            "Cargo.toml",
            &format!(
                "[workspace]\nresolver = '3'\nmembers = ['labs/*']\n[workspace.dependencies]\n\
                 harness = {{ path = '{}' }}\nlibc = '0.2'\nnix = '0.31'\n",
                grader.join("harness").display()
            ),
        );
        course.put("Cargo.lock", &fs::read_to_string(grader.join("../Cargo.lock")).unwrap());
        course
    }

    fn put_lab(&self, name: &str, entries: &[Entry], submission: &str, prefix: &str) {
        let file = |file: &str| format!("labs/01-{name}/{file}");
        let manifest =
            format!("[package]\nname = '{name}'\nedition = '2024'\n[dependencies]\nlibc.workspace = true\n");
        self.put(&file("Cargo.toml"), &manifest);
        self.put(&file("lab.toml"), &rubric(entries));
        self.put(&file("checks.rs"), &checks(entries, prefix));
        self.put(&file("src/lib.rs"), submission);
    }

    /// A file that has not changed keeps its age.
    fn put(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        if fs::read_to_string(&path).is_ok_and(|old| old == text) {
            return;
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn grader(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_grader"));
        command.current_dir(&self.0).env("CARGO_TARGET_DIR", target()).env("GITHUB_ENV", "/dev/null");
        command.env_remove("GITHUB_STEP_SUMMARY");
        // What no check is told.
        command.env("FAKETIME", "@2001-01-01 00:00:00").env("CI", "true");
        command
    }

    /// Whether the machine has this tier. The grader must not miss one that the kernel is able to give.
    pub fn offers(&self, tier: &str) -> bool {
        let output = self.grader().arg("doctor").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let offers = text.contains(&format!("\u{2713} tier {tier} "));
        assert!(offers || !kernel_could(tier), "tier {tier} is missed:\n{text}");
        offers
    }

    /// The report on what the words choose.
    pub fn grade(&self, tier: &str, words: &[&str]) -> Value {
        self.grade_with(&["--tier", tier], words)
    }

    /// The report on everything, in the tier that the machine gives.
    pub fn grade_in_the_best_tier(&self) -> Value {
        self.grade_with(&[], &[])
    }

    /// The same, with options.
    pub fn grade_with(&self, options: &[&str], words: &[&str]) -> Value {
        report(self.grader().args(options), words)
    }

    /// The same, with less for the compiler.
    pub fn grade_bounded(&self, words: &[&str]) -> Value {
        let mut command = self.grader();
        // SAFETY: only system calls are made.
        unsafe { command.pre_exec(bound) };
        report(command.args(["--tier", "open"]), words)
    }
}

/// What the grader says about `words`; nothing of it runs any more.
fn report(command: &mut Command, words: &[&str]) -> Value {
    command.args(words).args(["--format", "json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = child.id();
    let peak = memory::peak(&mut child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(processes_of(pid), Vec::<u32>::new(), "still running after {command:?}");
    memory::check(peak);
    let text = String::from_utf8(output.stdout).unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}\n{error}"))
}

/// A service of the machine, which listens to a name that is no file, and to one that is.
pub struct Service {
    _nameless: Option<UnixListener>,
    _named: UnixListener,
    name: PathBuf,
}

impl Service {
    pub fn new() -> Service {
        let name = std::env::temp_dir().join(format!("corpus-service-{}", std::process::id()));
        Service {
            // Where somebody else's has the name, that will do.
            _nameless: UnixListener::bind_addr(&SocketAddr::from_abstract_name("corpus-service").unwrap())
                .ok(),
            _named: UnixListener::bind(&name).unwrap(),
            name,
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        fs::remove_file(&self.name).unwrap();
    }
}

fn rubric(entries: &[Entry]) -> String {
    let head = "title = 'Corpus'\nsummary = 'Everything at once.'\n[[parts]]\nname = 'corpus'\n\
                title = 'Corpus'\nhints = ['a', 'b', 'c']\n";
    let list = |key: &str, value: &Option<String>| {
        value.as_ref().map_or(String::new(), |value| format!("{key} = ['{value}']\n"))
    };
    entries.iter().fold(head.to_owned(), |text, Entry { name, deadline, needs, uses, .. }| {
        let (needs, uses) = (list("needs", needs), list("uses", uses));
        text + &format!(
            "[[parts.checks]]\nname = '{name}'\npoints = {POINTS}\ndeadline = {deadline:?}\n\
             says = 'It answers 42.'\nevidence = 'answers'\n{needs}{uses}"
        )
    })
}

fn checks(entries: &[Entry], prefix: &str) -> String {
    let table = entries
        .iter()
        .fold(String::new(), |text, Entry { name, .. }| text + &format!("\"{name}\" => {name},"));
    let functions: String = entries
        .iter()
        .map(|Entry { name, asked, .. }| asked.check(name, &format!("{prefix}{name}")))
        .collect();
    format!(
        "//! Checks.\nuse harness::{{Check, Outcome, ensure}};\nharness::checks! {{ {table} }}\n{functions}"
    )
}

/// Bounds what the grader and every compiler that it starts may take.
fn bound() -> std::io::Result<()> {
    for (limit, most) in [(Resource::RLIMIT_CPU, 10), (Resource::RLIMIT_AS, 2 << 30)] {
        let (_, hard) = getrlimit(limit)?;
        setrlimit(limit, most.min(hard), hard)?;
    }
    Ok(())
}

/// Whether the folder of POSIX queues is mounted.
fn has_queues() -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    mounts.lines().any(|mount| mount.split(' ').nth(1) == Some("/dev/mqueue"))
}

/// What the kernel says when it is asked for the main part of a tier.
fn kernel_could(tier: &str) -> bool {
    let namespaces = libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWNET;
    // SAFETY: plain system calls; the child of this threaded process makes no other and leaves at once.
    unsafe {
        match tier {
            "3" => libc::geteuid() == 0 && can_enter(namespaces),
            "2" => can_enter(namespaces | libc::CLONE_NEWUSER),
            "1" => libc::syscall(libc::SYS_landlock_create_ruleset, 0, 0, 1) >= 6,
            "0" => {
                let action: u32 = libc::SECCOMP_RET_USER_NOTIF;
                libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) == 0
            }
            _ => true,
        }
    }
}

/// # Safety
/// None that is not met: see above.
unsafe fn can_enter(namespaces: i32) -> bool {
    // SAFETY: as above.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            if libc::unshare(namespaces) != 0 {
                libc::_exit(1);
            }
            // The first process of the namespaces.
            let inner = libc::fork();
            if inner == 0 {
                let (none, private) = (std::ptr::null(), libc::MS_REC | libc::MS_PRIVATE);
                let proc = c"proc".as_ptr();
                let mounted = libc::mount(none, c"/".as_ptr(), none, private, none.cast()) == 0
                    && libc::mount(proc, c"/proc".as_ptr(), proc, 0, none.cast()) == 0;
                libc::_exit(i32::from(!mounted));
            }
            let mut status = 0;
            libc::waitpid(inner, &mut status, 0);
            libc::_exit(i32::from(status != 0));
        }
        let mut status = 0;
        libc::waitpid(child, &mut status, 0);
        status == 0
    }
}
