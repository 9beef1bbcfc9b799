//! The process between the grader and a check: makes the sandbox, starts the check in it, watches what it takes, ends what is
//! left, and tells the grader. It is the grader's own program under another name, so that it has one thread and may allocate.
//!
//! It runs no code of a submission, and a submission holds nothing of it: its pipe to the grader closes when the check begins.
//! In namespaces there are two of it, one outside and the first process inside; the outer one only waits.

use std::fs::File;
use std::os::fd::{AsFd, FromRawFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use harness::observe::{descendants_of, has_children};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

use super::gate::{Gate, Heard};
use super::limits::{self, Disk};
use super::namespaces::{self, View};
use super::plan::Plan;
use super::protection::Protection;
use super::tier::Tier;
use super::unmapped::{Taken, Unmapped};
use super::word::{Resource, Word};
use super::{Exit, domain, entry, network, tree};

/// The name under which the grader's program is a warden.
pub const NAME: &str = "grader-warden";
/// How often it is looked at what the check takes.
const LOOK: Duration = Duration::from_millis(100);
/// How long a supervisor may take to remove what its workers have made.
const GRACE: Duration = Duration::from_secs(2);

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
    /// Somebody did.
    Crowded,
}

impl Warden {
    fn run(&self) -> Result<(), String> {
        entry::close_on_exec(self.plan.words)?;
        entry::close_on_exec(self.plan.events)?;
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
                super::shut_memory();
                domain::keep_signals_inside()?;
                self.supervise(&signals)
            }
            Tier::Gate => {
                super::shut_memory();
                self.supervise(&signals)
            }
            Tier::Open => self.supervise(&signals),
        }
    }

    fn run_in_namespaces(&self, signals: &SignalFd) -> Result<(), String> {
        namespaces::enter(self.plan.tier == Tier::SeparateUser)?;
        let (maker, taker) = network::handover()?;
        // SAFETY: this process has one thread.
        let inner = match unsafe { fork() }.map_err(|error| format!("fork: {error}"))? {
            ForkResult::Child => {
                drop(maker);
                if let Err(why) = self.be_the_first(taker) {
                    Word::Failed(why).say(&self.words);
                }
                // The kernel ends everybody else in the namespace.
                std::process::exit(0);
            }
            ForkResult::Parent { child } => child,
        };
        drop(taker);
        if let Err(why) = maker.make() {
            Word::Failed(why).say(&self.words);
        }
        drop(maker);
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
    fn be_the_first(&self, network: network::Taker) -> Result<(), String> {
        // SAFETY: a plain prctl call: the inner warden does not outlive the outer one.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        let as_root = self.plan.tier == Tier::SeparateUser;
        let Plan { program, hidden, shown, directory, user, .. } = &self.plan;
        if as_root {
            std::os::unix::fs::chown(directory, Some(*user), Some(*user))
                .map_err(|error| format!("give {} away: {error}", directory.display()))?;
        }
        let hidden = if self.plan.has(Protection::Hidden) { hidden.as_slice() } else { &[] };
        View { program, hidden, shown, work: directory }.build()?;
        namespaces::limit(as_root);
        network.move_in()?;
        namespaces::seal()?;
        self.supervise(&signals()?)
    }

    /// Starts the check and watches it to its end.
    fn supervise(&self, signals: &SignalFd) -> Result<(), String> {
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
                .map_err(|error| format!("socketpair: {error}"))?;
        let unmapped = Unmapped::new();
        // SAFETY: this process has one thread.
        let check = match unsafe { fork() }.map_err(|error| format!("fork: {error}"))? {
            ForkResult::Child => {
                drop(ours);
                let why = entry::become_the_check(&self.plan, &theirs);
                Word::Failed(why).say(&self.words);
                std::process::exit(127);
            }
            ForkResult::Parent { child } => child,
        };
        drop(theirs);
        // A check process that had no listener to send has said why.
        let gate = self.plan.asking().and_then(|_| Gate::open(ours.as_fd()).ok());
        let ended = self.watch(check, signals, gate.as_ref(), unmapped);
        let heard = gate.as_ref().map_or(Heard::default(), Gate::close);
        if matches!(ended, Ok(Ended::Exhausted(Resource::Unmapped) | Ended::Crowded))
            && !self.plan.tier.has_namespaces()
        {
            // Segments and names would stay on the machine.
            let_it_clean_up(check);
        }
        if let Ok(Ended::Itself(_)) = ended {
            tree::living().into_iter().for_each(|name| Word::Left(name).say(&self.words));
        }
        tree::end(self.plan.tier, self.plan.grader);
        if let Some(swept) = gate.map(|gate| gate.sweep()).filter(|swept| swept.count > 0) {
            Word::Swept(swept).say(&self.words);
        }
        if heard.interrupted {
            Word::Interrupted.say(&self.words);
        }
        if heard.sockets {
            Word::RefusedSocket.say(&self.words);
        }
        match ended? {
            Ended::Itself(exit) => Word::Ended(exit).say(&self.words),
            Ended::Told => Word::Ended(Exit::Signal(libc::SIGKILL)).say(&self.words),
            Ended::Exhausted(resource) => {
                Word::Exhausted(resource).say(&self.words);
                Word::Ended(Exit::Signal(libc::SIGKILL)).say(&self.words);
            }
            Ended::Crowded => {
                Word::Crowded.say(&self.words);
                Word::Ended(Exit::Signal(libc::SIGKILL)).say(&self.words);
            }
        }
        if self.plan.tier.has_namespaces() && !has_children() {
            // The kernel takes its time to take namespaces down; nobody needs to wait for that.
            Word::Gone.say(&self.words);
        }
        Ok(())
    }

    /// Of the segments and names that are new, what the check is known to have made; none in namespaces, where all that is new is
    /// its own.
    fn bytes_made(&self, gate: Option<&Gate>) -> Option<u64> {
        (!self.plan.tier.has_namespaces()).then(|| gate.map_or(0, Gate::bytes_made))
    }

    fn watch(
        &self,
        check: Pid,
        signals: &SignalFd,
        gate: Option<&Gate>,
        mut unmapped: Unmapped,
    ) -> Result<Ended, String> {
        let us = std::process::id().cast_signed();
        let mut looked = Instant::now();
        let mut disk = Disk::new(self.plan.work());
        loop {
            let mut sources = vec![signals.as_fd()];
            sources.extend(gate.map(Gate::crowd));
            if wait_for(&sources, Some(LOOK))?.get(1) == Some(&true) {
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
            if looked.elapsed() >= LOOK && self.plan.has(Protection::Look) {
                if let Some(resource) = limits::exhausted(us).or_else(|| disk.exhausted()) {
                    return Ok(Ended::Exhausted(resource));
                }
                match unmapped.look(us, || self.bytes_made(gate)) {
                    None => {}
                    Some(Taken::ByTheCheck) => return Ok(Ended::Exhausted(Resource::Unmapped)),
                    Some(Taken::BySomebody) => return Ok(Ended::Crowded),
                }
                looked = Instant::now();
            }
        }
    }
}

/// Ends all processes below the supervisor, and waits until it has removed what they have made and has ended itself.
fn let_it_clean_up(supervisor: Pid) {
    let start = Instant::now();
    while start.elapsed() < GRACE {
        for pid in descendants_of(supervisor.as_raw()) {
            // SAFETY: sends a signal to a process below the supervisor, whose number is not free before that has reaped it.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        match waitpid(supervisor, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => std::thread::park_timeout(Duration::from_millis(1)),
            Ok(_) | Err(_) => return,
        }
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
