//! A variant: nix wherever it has the call. The end of a child is told by `SIGCHLD` on a signalfd, a worker of a map sends all its
//! results at its end, and a failed process says so by its exit code, which is an errno.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::ops::Range;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, raise};
use nix::sys::signalfd::SignalFd;
use nix::sys::stat::Mode;
use nix::sys::uio::pread;
use nix::unistd::{
    ForkResult, Pid, SysconfVar, chdir, dup2_stderr, dup2_stdin, dup2_stdout, fork, getpid, setsid, sysconf,
};

/// How a child process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildExit {
    /// It ended by itself with this exit code.
    Code(u8),
    /// This signal ended it, 1 to 64.
    Signal(i32),
}

/// Part 1: runs `f` in a child process, waits for it, and tells how it ended.
///
/// # Errors
/// What flushing `stdout`, `fork` or `waitpid` report.
pub fn run_in_child(f: impl FnOnce() -> u8) -> io::Result<ChildExit> {
    wait_for(fork_child(f)?)
}

fn fork_child(body: impl FnOnce() -> u8) -> io::Result<Pid> {
    io::stdout().flush()?;
    // SAFETY: the contract of this crate: the caller has one thread, so no lock is left held in the child.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let code = catch_unwind(AssertUnwindSafe(body)).unwrap_or(101);
            let _ = io::stdout().flush();
            // SAFETY: ends the process without handlers or inherited buffers.
            unsafe { libc::_exit(code.into()) }
        }
    }
}

/// The exit code of a process that failed: its errno.
fn code_of(error: &io::Error) -> u8 {
    error.raw_os_error().and_then(|errno| u8::try_from(errno).ok()).filter(|code| *code != 0).unwrap_or(255)
}

/// `SIGCHLD` blocked, and readable from a descriptor instead. Dropped: as it was before.
struct ChildSignals {
    fd: SignalFd,
    mask: SigSet,
    /// The end of another child was told as well; whoever waits for that one must learn it.
    others: bool,
}

impl ChildSignals {
    fn block() -> nix::Result<ChildSignals> {
        let signals: SigSet = [Signal::SIGCHLD].into_iter().collect();
        let fd = SignalFd::new(&signals)?;
        let mask = signals.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        Ok(ChildSignals { fd, mask, others: false })
    }

    /// Sleeps until some child has ended (or stopped).
    fn next(&mut self, awaited: Pid) -> nix::Result<()> {
        match self.fd.read_signal() {
            Ok(told) => {
                self.others |= told.is_some_and(|told| told.ssi_pid != awaited.as_raw().cast_unsigned());
                Ok(())
            }
            Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Drop for ChildSignals {
    fn drop(&mut self) {
        if self.others {
            let _ = raise(Signal::SIGCHLD);
        }
        let _ = self.mask.thread_set_mask();
    }
}

/// Waits for `pid`. The signal is blocked before the first look, so that an end between look and sleep is not missed.
fn wait_for(pid: Pid) -> io::Result<ChildExit> {
    let Ok(mut signals) = ChildSignals::block() else {
        // No descriptor left: wait in the ordinary way.
        loop {
            if let Some(exit) = look_at(pid, 0)? {
                return Ok(exit);
            }
        }
    };
    loop {
        if let Some(exit) = look_at(pid, libc::WNOHANG)? {
            return Ok(exit);
        }
        signals.next(pid)?;
    }
}

/// How `pid` ended, if it has. libc's call: nix's has no name for real-time signals.
fn look_at(pid: Pid, options: i32) -> io::Result<Option<ChildExit>> {
    let mut status = 0;
    // SAFETY: `status` is a valid place for the status word.
    match Errno::result(unsafe { libc::waitpid(pid.as_raw(), &mut status, options) }) {
        Ok(0) | Err(Errno::EINTR) => Ok(None),
        Ok(_) if libc::WIFSIGNALED(status) => Ok(Some(ChildExit::Signal(libc::WTERMSIG(status)))),
        Ok(_) => Ok(Some(ChildExit::Code(libc::WEXITSTATUS(status) as u8))),
        Err(error) => Err(error.into()),
    }
}

/// The worker process that had this item ended before it delivered the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerDied;

/// Part 2: applies `f` to every item, in child processes, and returns the results in the order of the items.
///
/// A worker sends all lengths, then all results, when it has them all. One that dies has sent nothing.
///
/// # Errors
/// `ErrorKind::InvalidInput` when `workers` is 0; what `pipe`, `fork` or a read report.
pub fn fork_map<T>(
    items: &[T],
    workers: usize,
    f: impl Fn(&T) -> Vec<u8>,
) -> io::Result<Vec<Result<Vec<u8>, WorkerDied>>> {
    if workers == 0 {
        return Err(Errno::EINVAL.into());
    }
    let mut started = Vec::new();
    for first in 0..workers.min(items.len()) {
        let share = items.iter().skip(first).step_by(workers);
        match start(share, &f) {
            Ok(worker) => started.push(worker),
            Err(error) => {
                for (pid, _) in started {
                    let _ = kill(pid, Signal::SIGKILL);
                    wait_for(pid)?;
                }
                return Err(error);
            }
        }
    }
    let mut results = vec![Err(WorkerDied); items.len()];
    let mut failure = Ok(());
    for (first, (pid, mut pipe)) in started.into_iter().enumerate() {
        let mut sent = Vec::new();
        failure = failure.and(pipe.read_to_end(&mut sent).map(drop));
        drop(pipe);
        wait_for(pid)?;
        let slots: Vec<_> = results.iter_mut().skip(first).step_by(workers).collect();
        for (slot, result) in slots.into_iter().zip(unpack(&sent).unwrap_or_default()) {
            *slot = Ok(result.to_vec());
        }
    }
    failure.map(|()| results)
}

fn start<'a, T: 'a>(
    share: impl Iterator<Item = &'a T>,
    f: impl Fn(&T) -> Vec<u8>,
) -> io::Result<(Pid, PipeReader)> {
    let (reader, mut writer) = io::pipe()?;
    let pid = fork_child(|| {
        let results: Vec<Vec<u8>> = share.map(f).collect();
        send(&mut writer, &results).map_or_else(|error| code_of(&error), |()| 0)
    })?;
    Ok((pid, reader))
}

fn send(writer: &mut PipeWriter, results: &[Vec<u8>]) -> io::Result<()> {
    let lengths = results.iter().map(Vec::len);
    let table: Vec<u8> =
        [results.len()].into_iter().chain(lengths).flat_map(|number| (number as u64).to_ne_bytes()).collect();
    writer.write_all(&table)?;
    results.iter().try_for_each(|result| writer.write_all(result))
}

/// The results that were sent; `None` unless they are complete.
fn unpack(sent: &[u8]) -> Option<Vec<&[u8]>> {
    let number = |at: usize| {
        let bytes = sent.get(at * 8..)?.first_chunk::<8>()?;
        usize::try_from(u64::from_ne_bytes(*bytes)).ok()
    };
    let count = number(0)?;
    let mut rest = sent.get((count + 1) * 8..)?;
    let mut results = Vec::new();
    for index in 1..=count {
        let (result, behind) = rest.split_at_checked(number(index)?)?;
        results.push(result);
        rest = behind;
    }
    Some(results)
}

/// The pages of a memory range, counted by how the calling process has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PageSharing {
    /// Anonymous pages in memory that another process maps too.
    pub shared: usize,
    /// Anonymous pages in memory that only this process maps.
    pub exclusive: usize,
    /// Pages in memory that belong to a file or to shared memory.
    pub file: usize,
    /// Pages not in memory.
    pub absent: usize,
}

/// Part 3: counts the pages of an address range by the way this process has them: all entries first, then one count for each kind.
///
/// # Errors
/// `ErrorKind::InvalidInput` when the range ends before it starts; what the page map reports.
pub fn resident_sharing(range: Range<usize>) -> io::Result<PageSharing> {
    let length = range.end.checked_sub(range.start).ok_or(io::ErrorKind::InvalidInput)?;
    let page = sysconf(SysconfVar::PAGE_SIZE)?.unwrap_or(4096) as usize;
    let pages = if length == 0 { 0 } else { (range.start % page + length).div_ceil(page) };
    let mut bytes = vec![0; pages * 8];
    let map = open("/proc/self/pagemap", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut filled = 0;
    while filled < bytes.len() {
        let offset = (range.start / page * 8 + filled) as i64;
        filled += match pread(&map, &mut bytes[filled..], offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(Errno::EINTR) => 0,
            read => read?,
        };
    }
    let entries: Vec<u64> = bytes.as_chunks::<8>().0.iter().map(|entry| u64::from_ne_bytes(*entry)).collect();
    let with = |bits: u64, values: u64| {
        let mask = 1 << 63 | bits;
        entries.iter().filter(|entry| **entry & mask == 1 << 63 | values).count()
    };
    let (shared_or_file, once) = (1 << 61, 1 << 56);
    Ok(PageSharing {
        shared: with(shared_or_file | once, 0),
        exclusive: with(shared_or_file | once, once),
        file: with(shared_or_file, shared_or_file),
        absent: entries.len() - with(0, 0),
    })
}

/// A snapshot being written by a child process. Dropping it waits for the child as well.
#[derive(Debug)]
pub struct Snapshot {
    writer: Option<Pid>,
}

/// Part 4: writes an image of `state` as it is now, while the caller goes on changing it.
///
/// # Errors
/// What `fork` reports.
pub fn snapshot(state: &[u8], write: impl FnOnce(&[u8]) -> io::Result<()>) -> io::Result<Snapshot> {
    let writer = fork_child(|| write(state).map_or_else(|error| code_of(&error), |()| 0))?;
    Ok(Snapshot { writer: Some(writer) })
}

impl Snapshot {
    /// Waits until the image is complete.
    ///
    /// # Errors
    /// The errno that `write` returned; another error if it had none, panicked, or was killed.
    pub fn finish(mut self) -> io::Result<()> {
        match self.writer.take().map(wait_for).transpose()? {
            Some(ChildExit::Code(0)) => Ok(()),
            Some(ChildExit::Code(code)) => Err(io::Error::from_raw_os_error(code.into())),
            ended => Err(io::Error::other(format!("{ended:?}"))),
        }
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            let _ = wait_for(writer);
        }
    }
}

/// Part 5: runs `f` in a daemon. Returns its pid.
///
/// What goes wrong before there is a daemon is the exit code of the process in between; the daemon itself tells its pid, or the
/// negative errno, over a pipe.
///
/// # Errors
/// What went wrong in any of the three processes.
pub fn daemonize(f: impl FnOnce()) -> io::Result<i32> {
    let (mut reader, writer) = io::pipe()?;
    let between = fork_child(move || {
        let daemon = setsid().map_err(io::Error::from).and_then(|_| fork_child(|| live(writer, f)));
        daemon.map_or_else(|error| code_of(&error), |_| 0)
    })?;
    match wait_for(between)? {
        ChildExit::Code(0) => {}
        ChildExit::Code(errno) => return Err(io::Error::from_raw_os_error(errno.into())),
        ended => return Err(io::Error::other(format!("the process in between: {ended:?}"))),
    }
    let mut answer = [0; 4];
    reader.read_exact(&mut answer)?;
    let answer = i32::from_ne_bytes(answer);
    if answer > 0 { Ok(answer) } else { Err(io::Error::from_raw_os_error(-answer)) }
}

/// The daemon's life.
fn live(mut writer: PipeWriter, f: impl FnOnce()) -> u8 {
    let ready = leave_directory_and_streams();
    let answer = ready.map_or_else(|errno| -(errno as i32), |()| getpid().as_raw());
    let told = writer.write_all(&answer.to_ne_bytes());
    drop(writer);
    if ready.is_ok() && told.is_ok() {
        f();
    }
    0
}

fn leave_directory_and_streams() -> nix::Result<()> {
    chdir("/")?;
    let null = File::from(open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?);
    dup2_stdin(null.as_fd())?;
    dup2_stdout(null.as_fd())?;
    dup2_stderr(null.as_fd())
}
