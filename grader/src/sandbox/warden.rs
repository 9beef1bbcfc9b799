//! The process between the grader and a check: makes the sandbox, starts the check in it, watches what it takes, ends what is
//! left, and tells the grader. It is the grader's own program under another name, so that it has one thread and may allocate.
//!
//! It runs no code of a submission, and a submission holds nothing of it: its pipe to the grader closes when the check begins.
//! In namespaces there are two of it, one outside and the first process inside; the outer one only waits.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Gid, Pid, Uid, fork};
use serde::{Deserialize, Serialize};

use super::domain::{self, Signals};
use super::filter::Queues;
use super::gate::{self, Gate};
use super::limits::Disk;
use super::namespaces::{self, View};
use super::protection::Protection;
use super::tier::Tier;
use super::word::{Resource, Word};
use super::{Exit, filter, limits, tree};

/// The name under which the grader's program is a warden.
pub const NAME: &str = "grader-warden";
/// How often it is looked at what the check takes.
const LOOK: Duration = Duration::from_millis(100);

/// What to start, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// How the check is shut in.
    pub tier: Tier,
    /// The check binary.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The check's end of the event socket.
    pub events: RawFd,
    /// The pipe for [`Word`]s.
    pub words: RawFd,
    /// The grader.
    pub grader: i32,
    /// The check's directory outside namespaces.
    pub directory: PathBuf,
    /// Folders that a check in namespaces does not see into.
    pub hidden: Vec<PathBuf>,
    /// Folders that it may read in any case.
    pub shown: Vec<PathBuf>,
    /// A protection that is off, in tests.
    pub without: Option<Protection>,
    /// User and group number of the check, for [`Tier::SeparateUser`].
    pub user: u32,
}

/// When called by the grader as a warden: is one.
pub fn in_place_of_grader() -> Option<ExitCode> {
    let mut arguments = std::env::args();
    if arguments.next().as_deref() != Some(NAME) {
        return None;
    }
    let plan: Plan = serde_json::from_str(&arguments.next()?).ok()?;
    // SAFETY: the grader has passed us this descriptor, for us alone.
    let words = unsafe { File::from_raw_fd(plan.words) };
    let warden = Warden { plan, words };
    if let Err(why) = warden.run() {
        Word::Failed(why).say(&warden.words);
    }
    Some(ExitCode::SUCCESS)
}

struct Warden {
    plan: Plan,
    words: File,
}

/// Why watching ended.
enum Ended {
    /// The check did.
    Itself(Exit),
    /// The grader said so, or is gone.
    Told,
    /// It took too much.
    Exhausted(Resource),
}

impl Warden {
    fn run(&self) -> Result<(), String> {
        close_on_exec(self.plan.words)?;
        close_on_exec(self.plan.events)?;
        // SAFETY: plain prctl calls: the end of the grader is told by a signal; orphans below us become our children.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
            libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1);
        }
        let signals = signals()?;
        if std::os::unix::process::parent_id().cast_signed() != self.plan.grader {
            return Err("the grader is gone".to_owned());
        }
        match self.plan.tier {
            Tier::Namespaces | Tier::SeparateUser => self.run_in_namespaces(&signals),
            Tier::Domain => {
                domain::keep_signals_inside()?;
                self.supervise(&signals)
            }
            Tier::Gate | Tier::Open => self.supervise(&signals),
        }
    }

    fn run_in_namespaces(&self, signals: &SignalFd) -> Result<(), String> {
        namespaces::enter(self.plan.tier == Tier::SeparateUser)?;
        // SAFETY: this process has one thread.
        let inner = match unsafe { fork() }.map_err(|error| format!("fork: {error}"))? {
            ForkResult::Child => {
                if let Err(why) = self.be_the_first() {
                    Word::Failed(why).say(&self.words);
                }
                // The kernel ends everybody else in the namespace.
                std::process::exit(0);
            }
            ForkResult::Parent { child } => child,
        };
        loop {
            wait_for(&[signals.as_fd()], None)?;
            while let Ok(Some(signal)) = signals.read_signal() {
                if signal.ssi_signo != Signal::SIGCHLD as u32 {
                    // SAFETY: our child, not waited for yet.
                    unsafe { libc::kill(inner.as_raw(), libc::SIGKILL) };
                }
            }
            match waitpid(inner, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => {}
                Ok(_) | Err(_) => return Ok(()),
            }
        }
    }

    /// The first process of the namespaces.
    fn be_the_first(&self) -> Result<(), String> {
        // SAFETY: a plain prctl call: the inner warden does not outlive the outer one.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        let as_root = self.plan.tier == Tier::SeparateUser;
        let Plan { program, hidden, shown, directory, user, .. } = &self.plan;
        if as_root {
            std::os::unix::fs::chown(directory, Some(*user), Some(*user))
                .map_err(|error| format!("give {} away: {error}", directory.display()))?;
        }
        let hidden = if self.has(Protection::Hidden) { hidden.as_slice() } else { &[] };
        View { program, hidden, shown, work: directory }.build()?;
        namespaces::limit(as_root);
        namespaces::seal()?;
        self.supervise(&signals()?)
    }

    /// Starts the check and watches it to its end.
    fn supervise(&self, signals: &SignalFd) -> Result<(), String> {
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
                .map_err(|error| format!("socketpair: {error}"))?;
        // SAFETY: this process has one thread.
        let check = match unsafe { fork() }.map_err(|error| format!("fork: {error}"))? {
            ForkResult::Child => {
                drop(ours);
                let why = self.become_the_check(&theirs);
                Word::Failed(why).say(&self.words);
                std::process::exit(127);
            }
            ForkResult::Parent { child } => child,
        };
        drop(theirs);
        let gate = match self.plan.tier {
            Tier::Gate => Gate::receive(ours.as_fd()).ok(),
            Tier::Open | Tier::Domain | Tier::Namespaces | Tier::SeparateUser => None,
        };
        let ended = self.watch(check, signals, gate);
        if let Ok(Ended::Itself(_)) = ended {
            tree::living().into_iter().for_each(|name| Word::Left(name).say(&self.words));
        }
        tree::end(self.plan.tier, self.plan.grader);
        match ended? {
            Ended::Itself(exit) => Word::Ended(exit).say(&self.words),
            Ended::Told => Word::Ended(Exit::Signal(libc::SIGKILL)).say(&self.words),
            Ended::Exhausted(resource) => {
                Word::Exhausted(resource).say(&self.words);
                Word::Ended(Exit::Signal(libc::SIGKILL)).say(&self.words);
            }
        }
        Ok(())
    }

    /// The gate closes when this returns.
    fn watch(&self, check: Pid, signals: &SignalFd, mut gate: Option<Gate>) -> Result<Ended, String> {
        let us = std::process::id().cast_signed();
        let mut looked = Instant::now();
        let mut disk = Disk::new(self.work());
        loop {
            let mut sources = vec![signals.as_fd()];
            sources.extend(gate.as_ref().map(Gate::descriptor));
            let ready = wait_for(&sources, Some(LOOK))?;
            if ready.get(1) == Some(&true) && gate.as_mut().is_some_and(|gate| !gate.answer(us)) {
                return Ok(Ended::Exhausted(Resource::Processes));
            }
            while let Ok(Some(signal)) = signals.read_signal() {
                if signal.ssi_signo != Signal::SIGCHLD as u32 {
                    return Ok(Ended::Told);
                }
            }
            loop {
                match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                    Ok(WaitStatus::Exited(pid, code)) if pid == check => {
                        return Ok(Ended::Itself(Exit::Code(code)));
                    }
                    Ok(WaitStatus::Signaled(pid, signal, _)) if pid == check => {
                        return Ok(Ended::Itself(Exit::Signal(signal as i32)));
                    }
                    Ok(WaitStatus::StillAlive) | Err(_) => break,
                    // An orphan of the check.
                    Ok(_) => {}
                }
            }
            if looked.elapsed() >= LOOK {
                if let Some(resource) = limits::exhausted(us).or_else(|| disk.exhausted()) {
                    return Ok(Ended::Exhausted(resource));
                }
                looked = Instant::now();
            }
        }
    }

    /// Shuts itself in and becomes the check. Returns only when something failed: what.
    fn become_the_check(&self, warden: &OwnedFd) -> String {
        match self.shut_in(warden) {
            Ok(mut command) => format!("cannot run the check: {}", command.exec()),
            Err(why) => why,
        }
    }

    fn shut_in(&self, warden: &OwnedFd) -> Result<Command, String> {
        let Plan { tier, ref arguments, user, .. } = self.plan;
        let failed = |what: &'static str| move |error: nix::Error| format!("{what}: {error}");
        nix::unistd::setsid().map_err(failed("setsid"))?;
        let work = self.work();
        let program = match tier.has_namespaces() {
            true => PathBuf::from(namespaces::PROGRAM),
            false => self.plan.program.clone(),
        };
        std::env::set_current_dir(&work).map_err(|error| format!("{}: {error}", work.display()))?;
        if self.has(Protection::Limits) {
            limits::set(tier.has_namespaces()).map_err(|error| format!("limits: {error}"))?;
        }
        if tier >= Tier::Gate && self.has(Protection::Privileges) {
            // While there still is the right to.
            give_up_capabilities_of_programs();
        }
        if tier == Tier::SeparateUser {
            become_user(user).map_err(failed("take another user number"))?;
        }
        if tier >= Tier::Gate {
            // Before the filter, which asks about them.
            only_keep(self.plan.events, self.plan.words).map_err(|error| format!("close: {error}"))?;
            self.close_the_doors(&program, &work, warden)?;
        }
        keep_on_exec(self.plan.events)?;
        SigSet::empty().thread_set_mask().map_err(failed("signal mask"))?;
        let mut command = Command::new(program);
        command.args(arguments).env("TMPDIR", &work);
        Ok(command)
    }

    fn close_the_doors(&self, program: &Path, work: &Path, warden: &OwnedFd) -> Result<(), String> {
        let tier = self.plan.tier;
        if self.has(Protection::Privileges) {
            give_up_privileges().map_err(|error| format!("give up privileges: {error}"))?;
        }
        if self.has(Protection::Landlock) {
            let signals = match tier {
                Tier::Domain => Signals::StayInside,
                _ => Signals::StayInsideIfPossible,
            };
            domain::enter(program, work, &self.plan.shown, signals)?;
        }
        if tier == Tier::Gate {
            gate::install(warden.as_fd()).map_err(|error| format!("fork gate: {error}"))?;
        }
        let mut untouchable = Vec::new();
        if self.has(Protection::Supervisor) {
            untouchable.push(std::process::id().cast_signed());
        }
        if tier == Tier::Gate {
            untouchable.extend([self.plan.grader, std::os::unix::process::parent_id().cast_signed()]);
        }
        match self.has(Protection::Filter) {
            true => filter::install(&untouchable, queues()),
            false => Ok(()),
        }
    }

    /// The check's directory, as it is named where the check runs.
    fn work(&self) -> PathBuf {
        match self.plan.tier.has_namespaces() {
            true => PathBuf::from(namespaces::WORK),
            false => self.plan.directory.clone(),
        }
    }

    fn has(&self, protection: Protection) -> bool {
        self.plan.without != Some(protection)
    }
}

/// Landlock opens POSIX queues only where their file system is mounted.
fn queues() -> Queues {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    match mounts.lines().any(|line| line.split(' ').nth(1) == Some("/dev/mqueue")) {
        true => Queues::Allowed,
        false => Queues::Refused,
    }
}

/// The signals that a warden waits for.
fn signals() -> Result<SignalFd, String> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGCHLD] {
        set.add(signal);
    }
    set.thread_block().map_err(|error| format!("signal mask: {error}"))?;
    SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        .map_err(|error| format!("signalfd: {error}"))
}

/// Waits until something can be read; says what.
fn wait_for(sources: &[std::os::fd::BorrowedFd<'_>], longest: Option<Duration>) -> Result<Vec<bool>, String> {
    let mut polled: Vec<_> = sources.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
    let timeout = longest
        .map_or(PollTimeout::NONE, |longest| PollTimeout::try_from(longest).unwrap_or(PollTimeout::MAX));
    match poll(&mut polled, timeout) {
        Ok(_) | Err(nix::Error::EINTR) => {}
        Err(error) => return Err(format!("poll: {error}")),
    }
    let readable = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| events.contains(PollFlags::POLLIN));
    Ok(polled.iter().map(readable).collect())
}

fn become_user(user: u32) -> nix::Result<()> {
    // The pipes that the grader reads, for a submission that opens `/dev/stdout`. A courtesy: they may be no pipes.
    for stream in [1, 2] {
        // SAFETY: plain integers.
        unsafe { libc::fchown(stream, user, user) };
    }
    nix::unistd::setgroups(&[])?;
    nix::unistd::setresgid(Gid::from_raw(user), Gid::from_raw(user), Gid::from_raw(user))?;
    nix::unistd::setresuid(Uid::from_raw(user), Uid::from_raw(user), Uid::from_raw(user))
}

/// Empties the set that a program may get capabilities from, as far as that is in our power: the next step is one that no
/// program gets around.
fn give_up_capabilities_of_programs() {
    let mut capability = 0;
    // SAFETY: a plain prctl call. It fails for the first number that is no capability.
    while unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } == 0 {
        capability += 1;
    }
}

/// No program that is run from here on has more rights than we, and we have none.
fn give_up_privileges() -> io::Result<()> {
    // SAFETY: plain prctl calls.
    unsafe {
        if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 {
            return Err(io::Error::last_os_error());
        }
        libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    }
    let (version_3, none) = ([0x2008_0522_u32, 0], [0_u32; 6]);
    // SAFETY: a header for the calling process, and the two empty sets of three words that version 3 has.
    match unsafe { libc::syscall(libc::SYS_capset, version_3.as_ptr(), none.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Closes at exec whatever is open but the standard streams.
fn only_keep(events: RawFd, words: RawFd) -> io::Result<()> {
    debug_assert!(events > 2 && words > 2, "the standard streams are open");
    // SAFETY: changes flags of descriptors only.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn close_on_exec(fd: RawFd) -> Result<(), String> {
    set_flags(fd, libc::FD_CLOEXEC)
}

fn keep_on_exec(fd: RawFd) -> Result<(), String> {
    set_flags(fd, 0)
}

fn set_flags(fd: RawFd, flags: i32) -> Result<(), String> {
    // SAFETY: changes the flags of a descriptor that the grader has passed us.
    match unsafe { libc::fcntl(fd, libc::F_SETFD, flags) } {
        -1 => Err(format!("fcntl: {}", io::Error::last_os_error())),
        _ => Ok(()),
    }
}
