//! Runs one check in a process of its own and watches it until nothing of it is left.
//!
//! The check process gets a session, an empty directory, a cleared environment and one descriptor
//! for its events. Whatever it leaves running is adopted by the grader (a subreaper), killed and named.

use std::fs;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use harness::event::{Event, MAX_FRAME};
use harness::observe::Root;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, socketpair};

use crate::descendants;
use crate::error::{Error, Result};
use crate::output::Output;
use crate::signals;

/// More output than this ends the check.
const MOST_OUTPUT: u64 = 64 * 1024 * 1024;
/// More events than this are not kept.
const MOST_EVENTS: usize = 10_000;
/// How long a check may take to clean up once its socket is closed.
const GRACE: Duration = Duration::from_millis(500);

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
    /// The one execution to run again, if not all: `2:17t2`.
    pub replay: Option<&'a str>,
    /// The folder in which the private directory is made.
    pub scratch: &'a Path,
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
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// The grader itself was told to stop.
    Interrupted,
}

/// Makes the grader the parent of whatever a check leaves behind. Called once, at the start.
pub fn adopt_orphans() {
    // SAFETY: PR_SET_CHILD_SUBREAPER takes one integer.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
}

/// Runs the check to its end.
///
/// # Errors
/// [`Error::Internal`] when the process cannot be started or watched.
pub fn run(order: &Order<'_>) -> Result<Execution> {
    let failed = |error: std::io::Error| Error::Internal(format!("cannot run `{}`: {error}", order.check));
    let marker = Marker::new();
    let directory = Directory::create(order.scratch, &marker)?;
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .map_err(|error| failed(error.into()))?;
    let mut command = command(order, &marker, &directory.0, &theirs);
    let started = Instant::now();
    let mut child = descendants::spawn(&mut command).map_err(failed)?;
    drop(theirs);
    let pid = child.id().cast_signed();
    let mut watch = Watch {
        events: Some(ours),
        received: Vec::new(),
        malformed: 0,
        pipes: [child.stdout.take().map(OwnedFd::from), child.stderr.take().map(OwnedFd::from)]
            .map(|pipe| pipe.map(fs::File::from)),
        output: Output::default(),
        hang: String::new(),
    };
    for pipe in watch.pipes.iter().flatten() {
        nix::fcntl::fcntl(pipe, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))
            .map_err(|error| failed(error.into()))?;
    }
    let stopped = watch.until_ended(pid, started + order.deadline * 4 + Duration::from_secs(2));
    if stopped.is_err() {
        descendants::kill(pid);
    }
    let status = child.wait().map_err(failed)?;
    let leftovers = descendants::end_orphans(pid, &marker.assignment());
    descendants::forget(pid);
    watch.drain();
    // The last output may have come together with the end.
    let flooded = (watch.output.total() > MOST_OUTPUT).then_some(Stopped::Flooded);
    Ok(Execution {
        stopped: stopped?.or(flooded),
        hang: watch.hang,
        events: watch.received,
        malformed: watch.malformed,
        exit: exit(status),
        output: watch.output,
        elapsed: started.elapsed(),
        leftovers,
    })
}

/// What the descendants of one check can be told by: a variable in their environment.
struct Marker(String);

impl Marker {
    const NAME: &str = "GRADER_CHECK";

    fn new() -> Marker {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Marker(format!("{}-{number}", std::process::id()))
    }

    fn assignment(&self) -> String {
        format!("{}={}", Marker::NAME, self.0)
    }
}

/// The private directory of a check; gone when dropped.
struct Directory(PathBuf);

impl Directory {
    fn create(scratch: &Path, marker: &Marker) -> Result<Directory> {
        let path = scratch.join("run").join(&marker.0);
        fs::create_dir_all(&path).map_err(|error| Error::io("create", &path, &error))?;
        Ok(Directory(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn command(order: &Order<'_>, marker: &Marker, directory: &Path, events: &OwnedFd) -> Command {
    let mut command = Command::new(order.binary);
    let events = events.as_raw_fd();
    command.args(["run", order.check, "--events", &events.to_string()]);
    command.args(["--seed", &order.seed.to_string()]);
    command.args(["--deadline-ms", &order.deadline.as_millis().to_string()]);
    command.args(["--slowness", &order.slowness.to_string()]);
    if let Some(replay) = order.replay {
        command.args(["--replay", replay]);
    }
    let kept = std::env::vars_os().filter(|(name, _)| {
        let name = name.to_string_lossy();
        name == "PATH" || name == "HOME" || name == "LANG" || name.starts_with("LC_")
    });
    let kept: Vec<_> = kept.collect();
    command
        .env_clear()
        .envs(kept)
        .env("RUST_BACKTRACE", "0")
        .env("TMPDIR", directory)
        .env(Marker::NAME, &marker.0);
    command.current_dir(directory);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let prepare = move || {
        nix::unistd::setsid()?;
        // SAFETY: `events` is open in this child, a copy of the parent's; clears its close-on-exec flag.
        if unsafe { libc::fcntl(events, libc::F_SETFD, 0) } == -1 {
            return Err(std::io::Error::last_os_error());
        }
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `none` is a valid limit: no core files.
        unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) };
        Ok(())
    };
    // SAFETY: `prepare` makes only async-signal-safe calls and allocates nothing.
    unsafe { command.pre_exec(prepare) };
    command
}

struct Watch {
    events: Option<OwnedFd>,
    received: Vec<Event>,
    malformed: usize,
    pipes: [Option<fs::File>; 2],
    output: Output,
    hang: String,
}

impl Watch {
    /// Listens until the process has ended, which it is made to do at the `hard_deadline`.
    fn until_ended(&mut self, pid: i32, hard_deadline: Instant) -> Result<Option<Stopped>> {
        let process = pidfd(pid)?;
        let mut stopped = None;
        let mut kill_at = hard_deadline;
        loop {
            let now = Instant::now();
            let why = if signals::received().is_some() {
                Some(Stopped::Interrupted)
            } else if self.output.total() > MOST_OUTPUT {
                Some(Stopped::Flooded)
            } else {
                (now >= hard_deadline).then_some(Stopped::Overran)
            };
            if stopped.is_none() && why.is_some() {
                stopped = why;
                if why == Some(Stopped::Overran) {
                    let check = Root { pid, name: "the check itself".to_owned() };
                    self.hang = harness::observe::hang_report_of(&[check], &[]);
                }
                self.events = None;
                kill_at = now + GRACE;
            } else if now >= kill_at {
                descendants::kill(pid);
                kill_at = now + GRACE;
            }
            if self.wait(&process, kill_at.saturating_duration_since(now), stopped.is_none())? {
                return Ok(stopped);
            }
        }
    }

    /// Waits for something to read, and reads it. True when the process has ended.
    fn wait(&mut self, process: &OwnedFd, patience: Duration, mind_signals: bool) -> Result<bool> {
        let sources = [
            Some(process.as_fd()),
            signals::descriptor().filter(|_| mind_signals),
            self.events.as_ref().map(AsFd::as_fd),
            self.pipes[0].as_ref().map(AsFd::as_fd),
            self.pipes[1].as_ref().map(AsFd::as_fd),
        ];
        let mut polled: Vec<_> =
            sources.into_iter().flatten().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        // Rounded up, so that the wait does not end just before its time.
        let milliseconds = u16::try_from(patience.as_millis() + 1).unwrap_or(u16::MAX);
        match poll(&mut polled, PollTimeout::from(milliseconds)) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(Error::Internal(format!("cannot watch a check: {error}"))),
        }
        let ended = polled.first().and_then(PollFd::any) == Some(true);
        self.drain();
        Ok(ended)
    }

    /// Reads all there is, without waiting.
    fn drain(&mut self) {
        while let Some(events) = &self.events {
            let mut frame = [0; MAX_FRAME + 1];
            match recv(events.as_raw_fd(), &mut frame, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => self.events = None,
                Ok(length) => match Event::decode(&frame[..length]) {
                    Ok(event) if self.received.len() < MOST_EVENTS => self.received.push(event),
                    Ok(_) | Err(_) => self.malformed += 1,
                },
                Err(nix::Error::EINTR) => {}
                Err(nix::Error::EAGAIN) => break,
                Err(_) => self.events = None,
            }
        }
        for pipe in &mut self.pipes {
            let mut chunk = [0; 16 * 1024];
            // Bounded, so that a flood of output does not keep the deadline from being looked at.
            for _ in 0..64 {
                let Some(file) = pipe else { break };
                match file.read(&mut chunk) {
                    Ok(0) => *pipe = None,
                    Ok(length) => self.output.push(&chunk[..length]),
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                    Err(_) => *pipe = None,
                }
            }
        }
    }
}

fn pidfd(pid: i32) -> Result<OwnedFd> {
    // SAFETY: pidfd_open takes a pid and flags; the child has not been waited for, so the pid is its own.
    let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    match i32::try_from(descriptor) {
        // SAFETY: a descriptor just returned by the kernel, owned by nobody else. It is close-on-exec.
        Ok(descriptor) if descriptor >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        _ => Err(Error::Internal(format!(
            "cannot watch process {pid}: {}; Linux 5.3 or newer is needed",
            std::io::Error::last_os_error()
        ))),
    }
}

fn exit(status: std::process::ExitStatus) -> Exit {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, signal) => Exit::Signal(signal.unwrap_or(0)),
    }
}
