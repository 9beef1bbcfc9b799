//! Runs one check in a process of its own and watches it until nothing of it is left.
//!
//! The check process gets a session, an empty directory, a cleared environment and one descriptor
//! for its events. A [`warden`] between it and the grader shuts it in as well as the machine is able to ([`Tier`]), ends
//! whatever it leaves running, and says what that was. Should the warden die, the grader (a subreaper) does it.

pub mod directory;
mod domain;
mod entry;
mod filter;
mod gate;
mod handed;
mod limits;
mod namespaces;
mod network;
mod plan;
pub mod probe;
pub mod protection;
mod sweep;
pub mod tier;
mod tree;
mod unmapped;
pub mod warden;
mod watch;
pub mod word;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use harness::event::Event;
use nix::fcntl::OFlag;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use serde::{Deserialize, Serialize};

use self::directory::Directory;
use self::plan::Plan;
use self::protection::Protection;
use self::sweep::Swept;
use self::tier::Tier;
use self::watch::Watch;
pub use self::word::Resource;
use self::word::Word;
use crate::descendants;
use crate::error::{Error, Result};
use crate::output::Output;

/// More output than this ends the check.
const MOST_OUTPUT: u64 = 64 * 1024 * 1024;
/// How much later than four deadlines a check is taken to have lost its way: by itself it ends after three, and takes 5 s at
/// most to end what resists.
const CLEAN_UP: Duration = Duration::from_secs(6);
/// User numbers that no person and no service of a machine has; a check takes one of them.
const FIRST_USER: u32 = 61_500;
const USERS: u64 = 3000;

/// What to run, and how.
#[derive(Debug, Clone)]
pub struct Order<'a> {
    /// The check binary.
    pub binary: &'a Path,
    /// The check's name.
    pub check: &'a str,
    /// The check's own seed.
    pub seed: u64,
    /// The deadline on this machine, as it is now.
    pub deadline: Duration,
    /// How slow this machine is.
    pub slowness: f64,
    /// More for its command line: `--replay 2:17t2`.
    pub options: &'a [&'a str],
    /// The folder in which the private directory is made.
    pub scratch: &'a Path,
    /// How the check is shut in.
    pub tier: Tier,
    /// Folders that it has no business in, hidden where that can be.
    pub hidden: &'a [PathBuf],
    /// Folders that it may read: an exploration quotes the sources.
    pub shown: &'a [PathBuf],
    /// Whether it may have sockets with a name in every tier.
    pub sockets: bool,
    /// A protection that is off, in tests.
    pub without: Option<Protection>,
}

/// Everything that was seen of one check.
#[derive(Debug)]
pub struct Execution {
    /// In the order received.
    pub events: Vec<Event>,
    /// Frames that were no events.
    pub malformed: usize,
    /// How the check process ended.
    pub exit: Exit,
    /// Why the grader ended it, if it did.
    pub stopped: Option<Stopped>,
    /// What it and its workers wrote.
    pub output: Output,
    /// From start to end.
    pub elapsed: Duration,
    /// Processes that outlived the check, by number and name.
    pub leftovers: Vec<String>,
    /// What everything was waiting for when the check had overrun; empty if it did not.
    pub hang: String,
    /// The sandbox made a call of the check fail that would not have failed without.
    pub interrupted: bool,
    /// The sandbox refused a socket with a name.
    pub refused_socket: bool,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// By `exit`, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// Why the grader ended a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// It overran even the grader's own deadline.
    Overran,
    /// It wrote more than can be looked at.
    Flooded,
    /// It took more of the machine than a check may.
    Exhausted(Resource),
    /// Somebody did, and it is not known to have been the check.
    Crowded,
    /// The grader itself was told to stop.
    Interrupted,
}

/// What an ordinary user runs when the first check begins: a limit on all his processes and threads must leave room for it.
static OTHERS_TASKS: LazyLock<Option<u64>> =
    LazyLock::new(|| (!nix::unistd::geteuid().is_root()).then(limits::tasks_of_the_user));

/// What the checks so far have left on the machine, in this grader's whole run.
static SWEPT: Mutex<Swept> = Mutex::new(Swept::NOTHING);

/// A sentence about the objects of the kernel's that were removed because checks had left them, if any were.
pub fn swept() -> Option<String> {
    SWEPT.lock().unwrap_or_else(PoisonError::into_inner).sentence()
}

/// Makes the grader the parent of whatever a check leaves behind. Called once, at the start.
pub fn adopt_orphans() {
    // SAFETY: PR_SET_CHILD_SUBREAPER takes one integer.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
}

/// Shuts the calling process's memory and descriptors to other processes of the same user: what it has to say about a
/// submission is its own word. A program that it becomes or starts decides anew.
pub fn shut_memory() {
    // SAFETY: PR_SET_DUMPABLE takes one integer.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
}

/// Runs the check to its end.
///
/// # Errors
/// [`Error::Internal`] when the process cannot be started or watched.
pub fn run(order: &Order<'_>) -> Result<Execution> {
    let failed = |error: io::Error| Error::Internal(format!("cannot run `{}`: {error}", order.check));
    let marker = Marker::new();
    let directory = Directory::create(order.scratch, &marker.0)?;
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .map_err(|error| failed(error.into()))?;
    let (words, warden_words) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(|error| failed(error.into()))?;
    let plan = plan(order, &marker, directory.path(), theirs.as_raw_fd(), warden_words.as_raw_fd());
    let mut command = command(&plan, &marker).map_err(failed)?;
    let started = Instant::now();
    let mut child = descendants::spawn(&mut command).map_err(failed)?;
    drop((theirs, warden_words));
    let pid = child.id().cast_signed();
    let pipes = [child.stdout.take().map(OwnedFd::from), child.stderr.take().map(OwnedFd::from), Some(words)];
    let mut watch = Watch::new(ours, pipes, order.tier).map_err(failed)?;
    let stopped = watch.until_ended(pid, started + order.deadline * 4 + CLEAN_UP);
    let (own, orphans) = if stopped.is_ok() && watch.nothing_is_left() {
        descendants::let_go(child);
        (Exit::Code(0), Vec::new())
    } else {
        if stopped.is_err() {
            descendants::kill(pid);
        }
        let status = child.wait().map_err(failed)?;
        let orphans = descendants::end_orphans(pid, &marker.assignment());
        descendants::forget(pid);
        (exit(status), orphans)
    };
    watch.drain();
    let said = Said::by_the_warden(&watch.words, own);
    if let Some(why) = said.failed {
        let number = order.tier;
        return Err(Error::Internal(format!("cannot make a sandbox of tier {number}: {why}")));
    }
    SWEPT.lock().unwrap_or_else(PoisonError::into_inner).join(said.swept);
    // The last output may have come together with the end.
    let flooded = (watch.output.total() > MOST_OUTPUT).then_some(Stopped::Flooded);
    Ok(Execution {
        stopped: stopped?.or(said.stopped).or(flooded),
        hang: watch.hang,
        interrupted: said.interrupted,
        refused_socket: said.refused_socket,
        events: watch.received,
        malformed: watch.malformed,
        exit: said.exit,
        output: watch.output,
        elapsed: started.elapsed(),
        leftovers: said.left.into_iter().chain(orphans).collect(),
    })
}

/// What a warden has said, in the end.
pub struct Said {
    failed: Option<String>,
    /// How the check process ended.
    pub exit: Exit,
    left: Vec<String>,
    stopped: Option<Stopped>,
    interrupted: bool,
    refused_socket: bool,
    swept: Swept,
}

impl Said {
    /// A warden that says nothing about the check's end was killed: that is the end then.
    pub fn by_the_warden(words: &[u8], own: Exit) -> Said {
        let own = if own == Exit::Code(0) { Exit::Code(70) } else { own };
        let mut said = Said {
            failed: None,
            exit: own,
            left: Vec::new(),
            stopped: None,
            interrupted: false,
            refused_socket: false,
            swept: Swept::default(),
        };
        for word in Word::read_all(words).unwrap_or_default() {
            match word {
                Word::Failed(why) => said.failed = said.failed.or(Some(why)),
                Word::Ended(exit) => said.exit = exit,
                Word::Interrupted => said.interrupted = true,
                Word::Swept(swept) => said.swept.join(swept),
                Word::RefusedSocket => said.refused_socket = true,
                Word::Left(name) => said.left.push(name),
                Word::Exhausted(resource) => said.stopped = Some(Stopped::Exhausted(resource)),
                Word::Crowded => said.stopped = Some(Stopped::Crowded),
                Word::Gone => {}
            }
        }
        said
    }
}

/// What the descendants of one check can be told by: a variable in their environment.
struct Marker(String, u64);

impl Marker {
    const NAME: &str = "GRADER_CHECK";

    fn new() -> Marker {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Marker(format!("{}-{number}", std::process::id()), number)
    }

    /// A user number, different from those of the checks before and beside this one.
    fn user(&self) -> u32 {
        let number = (u64::from(std::process::id()) * 101 + self.1) % USERS;
        FIRST_USER + number as u32
    }

    fn assignment(&self) -> String {
        format!("{}={}", Marker::NAME, self.0)
    }
}

fn plan(order: &Order<'_>, marker: &Marker, directory: &Path, events: RawFd, words: RawFd) -> Plan {
    let mut arguments = vec!["run".to_owned(), order.check.to_owned()];
    let options = [
        ("--events", events.to_string()),
        ("--seed", order.seed.to_string()),
        ("--deadline-ms", order.deadline.as_millis().to_string()),
        ("--slowness", order.slowness.to_string()),
    ];
    arguments.extend(options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]));
    arguments.extend(order.options.iter().map(|&option| option.to_owned()));
    Plan {
        tier: order.tier,
        program: order.binary.to_owned(),
        arguments,
        events,
        words,
        grader: std::process::id().cast_signed(),
        directory: directory.to_owned(),
        hidden: order.hidden.to_owned(),
        shown: order.shown.to_owned(),
        sockets: order.sockets,
        without: order.without,
        others_tasks: *OTHERS_TASKS,
        user: marker.user(),
    }
}

/// The grader's own program, also when it has been built anew meanwhile; where there is no `/proc` that knows, the name it was
/// called by.
fn this_program() -> io::Result<PathBuf> {
    let called = std::env::args_os().next().map(PathBuf::from);
    let candidates = [Some(PathBuf::from("/proc/self/exe")), called];
    let found = candidates.into_iter().flatten().find(|path| path.is_file());
    found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "this program cannot be found"))
}

fn command(plan: &Plan, marker: &Marker) -> io::Result<Command> {
    let mut command = Command::new(this_program()?);
    command.arg0(warden::NAME).arg(serde_json::to_string(plan)?);
    let kept = std::env::vars_os().filter(|(name, _)| {
        let name = name.to_string_lossy();
        name == "PATH" || name == "HOME" || name == "LANG" || name.starts_with("LC_")
    });
    let kept: Vec<_> = kept.collect();
    command.env_clear().envs(kept).env("RUST_BACKTRACE", "0").env(Marker::NAME, &marker.0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (events, words) = (plan.events, plan.words);
    let prepare = move || {
        nix::unistd::setsid()?;
        for fd in [events, words] {
            // SAFETY: open in this child, a copy of the parent's; clears its close-on-exec flag.
            if unsafe { libc::fcntl(fd, libc::F_SETFD, 0) } == -1 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: `prepare` makes only async-signal-safe calls and allocates nothing.
    unsafe { command.pre_exec(prepare) };
    Ok(command)
}

fn exit(status: std::process::ExitStatus) -> Exit {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, signal) => Exit::Signal(signal.unwrap_or(0)),
    }
}
