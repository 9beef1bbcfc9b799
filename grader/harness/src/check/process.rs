//! One forked worker: what runs in it, what it leaves on record, and how its end is read.

use std::fs::{self, File};
use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::deadline;
use crate::panics::{self, Text};
use crate::shared::Shared;
use crate::stop::{Ending, Stop};

use super::Options;

/// Descriptors of the harness live up here, so that a student's start at 3.
const HIGH: RawFd = 500;

/// What a worker writes about itself: shared with the supervisor, readable after its death.
struct Record {
    /// 0 while the closure runs, then [`RETURNED`], [`PANICKED`] or [`NO_ROOM`].
    stage: AtomicU32,
    /// 1 if a child of the worker came back out of the closure, 2 if it did so by a panic.
    stray: AtomicU32,
    zombies: AtomicU32,
    running: AtomicU32,
    descriptors: Text<512>,
}

const RETURNED: u32 = 1;
const PANICKED: u32 = 2;
/// The closure has returned, and the machine had no memory for what it returned.
const NO_ROOM: u32 = 3;

/// How the kernel says a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    Code(i32),
    Signal(i32),
}

/// A forked worker.
pub(crate) struct Process {
    pub(super) pid: i32,
    pub(super) what: String,
    pub(super) exit: Option<Exit>,
    pub(super) pidfd: Option<OwnedFd>,
    options: Options,
    record: Shared<Record>,
    answer: File,
}

impl Process {
    /// Forks a worker that runs the closure and hands over the bytes it returns.
    pub(super) fn fork(
        what: &str,
        options: Options,
        events: Option<RawFd>,
        cpu: Option<usize>,
        closure: impl FnOnce() -> Vec<u8>,
    ) -> Result<Process, Stop> {
        let answer = memory_file().map_err(|error| Stop::inconclusive(format!("no memory file: {error}")))?;
        Process::answering_in(answer, what, options, (events, cpu), closure)
    }

    fn answering_in(
        answer: File,
        what: &str,
        options: Options,
        (events, cpu): (Option<RawFd>, Option<usize>),
        closure: impl FnOnce() -> Vec<u8>,
    ) -> Result<Process, Stop> {
        let record = Shared::new(Record {
            stage: AtomicU32::new(0),
            stray: AtomicU32::new(0),
            zombies: AtomicU32::new(0),
            running: AtomicU32::new(0),
            descriptors: Text::new(),
        });
        // What is still buffered here would be written a second time by the worker.
        let _ = io::stdout().flush();
        // SAFETY: the supervisor is single-threaded, so the child may run any code after fork.
        match unsafe { libc::fork() } {
            -1 => Err(Stop::inconclusive(format!("cannot fork: {}", io::Error::last_os_error()))),
            0 => live(&record, &answer, options, events, cpu, closure),
            pid => {
                let pidfd = pidfd_open(pid);
                Ok(Process { pid, what: what.to_string(), exit: None, pidfd, options, record, answer })
            }
        }
    }

    /// Asks the kernel whether the process has ended; reaps it if so.
    pub(super) fn reap(&mut self) -> bool {
        if self.exit.is_some() {
            return true;
        }
        let left = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        let mut seen = MaybeUninit::<libc::siginfo_t>::zeroed();
        // SAFETY: the place is a siginfo_t, all-zero is a valid one, and the pid stays so when nothing has ended.
        let has_ended = unsafe {
            libc::waitid(libc::P_PID, self.pid as libc::id_t, seen.as_mut_ptr(), left) == 0
                && seen.assume_init().si_pid() == self.pid
        };
        if has_ended {
            deadline::ended(self.pid);
        }
        let mut status = 0;
        // SAFETY: `status` is a valid place for the result.
        let pid = unsafe { libc::waitpid(self.pid, &raw mut status, libc::WNOHANG) };
        if pid == self.pid {
            // One that has made us its tracer is told about when it stops as well.
            if libc::WIFSIGNALED(status) {
                self.exit = Some(Exit::Signal(libc::WTERMSIG(status)));
            } else if libc::WIFEXITED(status) {
                self.exit = Some(Exit::Code(libc::WEXITSTATUS(status)));
            }
        } else if pid == -1 {
            // Somebody else reaped it: the status is lost.
            self.exit = Some(Exit::Code(0));
        }
        self.exit.is_some()
    }

    /// Whether the process was not known to have ended, and has.
    pub(super) fn has_just_ended(&mut self) -> bool {
        self.exit.is_none() && self.reap()
    }

    /// Whether the process ended without its closure having returned.
    pub(super) fn died(&self) -> bool {
        self.exit.is_some() && self.record.stage.load(Ordering::Acquire) != RETURNED
    }

    /// How the worker ended, and the bytes it returned. Call after it was reaped.
    pub(super) fn ending(&self) -> Result<Ending<Vec<u8>>, Stop> {
        let what = &self.what;
        if let Some(todo) = panics::first_todo() {
            return Err(Stop::Unimplemented { todo: todo.message, place: todo.place });
        }
        match self.record.stray.load(Ordering::Acquire) {
            0 => {}
            1 => {
                return Err(Stop::failed(
                    format!("{what} returns once, in the calling process; the child never returns from it"),
                    "a child process returned from it as well and went on with the caller's code",
                    "what the child does last: it must end with `_exit`, never return",
                ));
            }
            _ => {
                return Err(Stop::failed(
                    format!("a panic in the child of {what} stays in the child"),
                    "the panic unwound out of the child into the caller's code",
                    "what runs in the child: catch the panic there and end with `_exit`",
                ));
            }
        }
        let stage = self.record.stage.load(Ordering::Acquire);
        if stage == NO_ROOM {
            return Err(Stop::inconclusive(format!("the machine had no memory for what {what} returned")));
        }
        Ok(match self.exit {
            Some(Exit::Signal(signal)) => Ending::Signalled(signal),
            Some(Exit::Code(_)) if stage == RETURNED => {
                self.leaks()?;
                Ending::Returned(self.answer())
            }
            Some(Exit::Code(_)) if stage == PANICKED => {
                let panic = panics::of(self.pid);
                let message = panic.as_ref().map_or("(no message)".into(), |panic| panic.message.clone());
                Ending::Panicked { message, place: panic.and_then(|panic| panic.place) }
            }
            Some(Exit::Code(code)) => Ending::Exited(code),
            None => Ending::Signalled(libc::SIGKILL),
        })
    }

    fn answer(&self) -> Vec<u8> {
        let length = self.answer.metadata().map_or(0, |metadata| metadata.len());
        let mut bytes = vec![0; length as usize];
        match self.answer.read_exact_at(&mut bytes, 0) {
            Ok(()) => bytes,
            Err(_) => Vec::new(),
        }
    }

    fn leaks(&self) -> Result<(), Stop> {
        let what = &self.what;
        let zombies = self.record.zombies.load(Ordering::Acquire);
        let running = self.record.running.load(Ordering::Acquire);
        if zombies > 0 {
            return Err(Stop::Leaked(format!(
                "{} left behind by {what}: ended, but never waited for",
                plural(zombies, "zombie", "zombies")
            )));
        }
        if running > 0 && !self.options.may_leave_processes {
            return Err(Stop::Leaked(format!(
                "{} still running when {what} returned",
                plural(running, "child process was", "child processes were")
            )));
        }
        let descriptors = self.record.descriptors.get();
        if !descriptors.is_empty() && !self.options.may_keep_descriptors {
            return Err(Stop::Leaked(format!("descriptors still open when {what} returned: {descriptors}")));
        }
        Ok(())
    }
}

fn plural(count: u32, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// The life of a worker. Never returns.
fn live(
    record: &Record,
    answer: &File,
    options: Options,
    events: Option<RawFd>,
    cpu: Option<usize>,
    closure: impl FnOnce() -> Vec<u8>,
) -> ! {
    // SAFETY: plain system calls; the descriptor is the supervisor's copy, useless here.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        if let Some(events) = events {
            libc::close(events);
        }
    }
    if let Some(cpu) = cpu {
        super::worker::pin(cpu);
    }
    let pid = std::process::id();
    let before = descriptors();
    let result = catch_unwind(AssertUnwindSafe(closure));
    if std::process::id() != pid {
        // A child that the submission forked has come back out of the closure.
        record.stray.fetch_max(if result.is_ok() { 1 } else { 2 }, Ordering::AcqRel);
        leave(0);
    }
    match result {
        Ok(bytes) => {
            let (zombies, running) = children();
            record.zombies.store(zombies, Ordering::Relaxed);
            record.running.store(running, Ordering::Relaxed);
            if !options.may_keep_descriptors {
                record.descriptors.set(&opened_since(&before));
            }
            let _ = io::stdout().flush();
            let stage = match answer.write_all_at(&bytes, 0).map_err(|error| error.kind()) {
                Ok(()) => RETURNED,
                Err(io::ErrorKind::OutOfMemory | io::ErrorKind::StorageFull) => NO_ROOM,
                // The submission has seen to that.
                Err(_) => leave(0),
            };
            // Release: pairs with the Acquire in `ending`.
            record.stage.store(stage, Ordering::Release);
            leave(0)
        }
        Err(_) => {
            record.stage.store(PANICKED, Ordering::Release);
            leave(101)
        }
    }
}

fn leave(code: i32) -> ! {
    // SAFETY: ends this process without running anybody's exit handlers.
    unsafe { libc::_exit(code) }
}

/// Children of this process: (ended and not waited for, still running).
fn children() -> (u32, u32) {
    let (mut zombies, mut running) = (0, 0);
    for child in crate::observe::children_of(std::process::id().cast_signed()) {
        match crate::observe::state_of(child) {
            None => {}
            Some(_) if !crate::observe::has_ended(child) => running += 1,
            Some(_) => zombies += 1,
        }
    }
    (zombies, running)
}

/// The open descriptors, or none where `/proc` cannot be read.
fn descriptors() -> Vec<RawFd> {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else { return Vec::new() };
    let mut numbers: Vec<RawFd> =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    // The directory being listed was open only while it was being listed.
    // SAFETY: asks for the flags of a descriptor number.
    numbers.retain(|&fd| unsafe { libc::fcntl(fd, libc::F_GETFD) } >= 0);
    numbers
}

fn opened_since(before: &[RawFd]) -> String {
    let opened: Vec<String> = descriptors()
        .into_iter()
        .filter(|fd| !before.contains(fd))
        .filter_map(|fd| {
            let target = fs::read_link(format!("/proc/self/fd/{fd}")).ok()?;
            Some(format!("{fd} ({})", target.display()))
        })
        .collect();
    opened.join(", ")
}

/// An anonymous file whose descriptor is out of the student's way.
fn memory_file() -> io::Result<File> {
    // SAFETY: the name is a valid C string.
    let fd = unsafe { libc::memfd_create(c"answer".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(File::from(raise(fd)))
}

/// Moves a descriptor to a high number; keeps it where it is if the limit is too low for that.
pub(super) fn raise(fd: RawFd) -> OwnedFd {
    // SAFETY: `fd` is open and ours alone.
    let low = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: duplicates an open descriptor.
    let high = unsafe { libc::fcntl(low.as_raw_fd(), libc::F_DUPFD_CLOEXEC, HIGH) };
    // SAFETY: on success the new descriptor is open and ours alone.
    if high < 0 { low } else { unsafe { OwnedFd::from_raw_fd(high) } }
}

fn pidfd_open(pid: i32) -> Option<OwnedFd> {
    // SAFETY: takes a process number and flags.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    (fd >= 0).then(|| raise(fd as RawFd))
}

/// The worker's pidfd or any other raw descriptor to poll.
pub(super) fn raw(fd: Option<&OwnedFd>) -> Option<RawFd> {
    fd.map(AsRawFd::as_raw_fd)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusty_fork::rusty_fork_test;

    rusty_fork_test! {
        #[test]
        fn no_room_for_an_answer_is_nobodys_fault() {
            let full = File::options().write(true).open("/dev/full").unwrap();
            let answer = || vec![1, 2, 3];
            let mut process =
                Process::answering_in(full, "`f`", Options::default(), (None, None), answer).unwrap();
            while !process.reap() {
                std::thread::yield_now();
            }
            assert!(process.died());
            let why = "the machine had no memory for what `f` returned".to_owned();
            assert_eq!(process.ending(), Err(Stop::Inconclusive(why)));
        }
    }
}
