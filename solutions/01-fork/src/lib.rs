//! Processes by `fork(2)`: run a function in a child, share work among children, look at
//! copy-on-write from the inside, save a consistent image of a changing state, start a daemon.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How a child process ended: the two cases that `wait(2)` packs into one status word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildExit {
    /// It ended by itself with this exit code (`WIFEXITED`, `WEXITSTATUS`).
    Code(u8),
    /// This signal ended it, 1 to 64 (`WIFSIGNALED`, `WTERMSIG`).
    Signal(i32),
}

/// Part 1: runs `f` in a child process, waits for it, and tells how it ended.
///
/// # Errors
/// What flushing `stdout`, `fork` or `waitpid` report.
pub fn run_in_child(f: impl FnOnce() -> u8) -> io::Result<ChildExit> {
    let pid = fork_child(|| i32::from(f()))?;
    wait_for(pid)
}

/// Forks a child that runs `body` and ends with its value; never returns in the child. The pid, in the parent.
fn fork_child(body: impl FnOnce() -> i32) -> io::Result<libc::pid_t> {
    // An empty buffer cannot be written twice.
    io::stdout().flush()?;
    // SAFETY: the contract of this crate: the caller has one thread, so no lock is left held in the child.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let code = catch_unwind(AssertUnwindSafe(body)).unwrap_or(101);
            // There is nobody left to tell that the flush failed.
            let _ = io::stdout().flush();
            // SAFETY: `_exit` ends the process; it runs no handlers and flushes no buffers inherited from the parent.
            unsafe { libc::_exit(code) }
        }
        pid => Ok(pid),
    }
}

/// Waits until the child `pid` has ended, however often a signal interrupts the wait.
fn wait_for(pid: libc::pid_t) -> io::Result<ChildExit> {
    let mut status = 0;
    // SAFETY: `status` is a valid place for the status word.
    while unsafe { libc::waitpid(pid, &mut status, 0) } == -1 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    if libc::WIFEXITED(status) {
        Ok(ChildExit::Code(libc::WEXITSTATUS(status) as u8))
    } else {
        Ok(ChildExit::Signal(libc::WTERMSIG(status)))
    }
}

/// The worker process that had this item ended before it delivered the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerDied;

/// Part 2: applies `f` to every item, in child processes, and returns the results in the order of the items.
///
/// Child `w` of `n` has the items `w`, `w + n`, `w + 2n`, … and sends each result as its length (eight bytes) and
/// its bytes. The end of the pipe is the end of the child's results, however it came about.
///
/// # Errors
/// `ErrorKind::InvalidInput` when `workers` is 0; what `pipe` or `fork` report.
pub fn fork_map<T>(
    items: &[T],
    workers: usize,
    f: impl Fn(&T) -> Vec<u8>,
) -> io::Result<Vec<Result<Vec<u8>, WorkerDied>>> {
    if workers == 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no workers"));
    }
    let count = workers.min(items.len());
    let mut running = Vec::with_capacity(count);
    for first in 0..count {
        running.push(MapWorker::start(items.iter().skip(first).step_by(count), &f)?);
    }
    let mut results = vec![Err(WorkerDied); items.len()];
    for (first, mut worker) in running.into_iter().enumerate() {
        // While this pipe is read, the other workers wait at theirs when it is full. Nobody waits for them yet.
        for slot in results.iter_mut().skip(first).step_by(count) {
            match read_frame(&mut worker.results) {
                Ok(bytes) => *slot = Ok(bytes),
                Err(_) => break,
            }
        }
    }
    Ok(results)
}

/// A child of `fork_map`. Dropped: killed if it still runs, and waited for.
struct MapWorker {
    pid: libc::pid_t,
    results: PipeReader,
}

impl MapWorker {
    fn start<'a, T: 'a>(items: impl Iterator<Item = &'a T>, f: impl Fn(&T) -> Vec<u8>) -> io::Result<Self> {
        let (results, mut writer) = io::pipe()?;
        let pid = fork_child(|| {
            for item in items {
                if write_frame(&mut writer, &f(item)).is_err() {
                    return 1;
                }
            }
            0
        })?;
        // The caller's copy of the write end goes here; while it is open the pipe has no end.
        drop(writer);
        Ok(Self { pid, results })
    }
}

impl Drop for MapWorker {
    fn drop(&mut self) {
        // All results are in, or nobody wants them any more.
        // SAFETY: a system call without memory; the child has not been waited for, so the pid is still its own.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
        let _ = wait_for(self.pid);
    }
}

fn write_frame(writer: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    writer.write_all(&(bytes.len() as u64).to_ne_bytes())?;
    writer.write_all(bytes)
}

fn read_frame(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 8];
    reader.read_exact(&mut length)?;
    let length = u64::from_ne_bytes(length);
    let mut bytes = Vec::new();
    if reader.take(length).read_to_end(&mut bytes)? as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

/// The pages of a memory range, counted by how the calling process has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PageSharing {
    /// Anonymous pages in memory that another process maps too: after `fork`, not yet copied.
    pub shared: usize,
    /// Anonymous pages in memory that only this process maps: written since `fork`, or never shared.
    pub exclusive: usize,
    /// Pages in memory that belong to a file or to shared memory (`MAP_SHARED`): writing never copies them.
    pub file: usize,
    /// Pages not in memory: never touched, swapped out, or no mapping there.
    pub absent: usize,
}

/// Bits of a page's entry: `proc_pid_pagemap(5)`.
const PRESENT: u64 = 1 << 63;
const FILE_OR_SHARED: u64 = 1 << 61;
const EXCLUSIVE: u64 = 1 << 56;

/// Part 3: counts the pages of an address range by the way this process has them.
///
/// # Errors
/// `ErrorKind::InvalidInput` when the range ends before it starts; what opening or reading the page map reports.
pub fn resident_sharing(range: Range<usize>) -> io::Result<PageSharing> {
    if range.end < range.start {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the range ends before it starts"));
    }
    // SAFETY: no preconditions.
    let page_size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
    let first = range.start / page_size;
    let end = if range.is_empty() { first } else { range.end.div_ceil(page_size) };

    let mut count = PageSharing::default();
    let map = File::open("/proc/self/pagemap")?;
    let mut entries = vec![0; (end - first).min(4096) * 8];
    let mut page = first;
    while page < end {
        let batch = (end - page).min(4096);
        map.read_exact_at(&mut entries[..batch * 8], page as u64 * 8)?;
        for entry in entries[..batch * 8].as_chunks::<8>().0 {
            let entry = u64::from_ne_bytes(*entry);
            if entry & PRESENT == 0 {
                count.absent += 1;
            } else if entry & FILE_OR_SHARED != 0 {
                count.file += 1;
            } else if entry & EXCLUSIVE != 0 {
                count.exclusive += 1;
            } else {
                count.shared += 1;
            }
        }
        page += batch;
    }
    Ok(count)
}

/// A snapshot being written by a child process; see [`snapshot`].
///
/// Dropping it waits for the child as well, so that no zombie is left, and ignores how it ended.
#[derive(Debug)]
pub struct Snapshot {
    /// The process that writes; `None` once it has been waited for.
    pid: Option<libc::pid_t>,
}

/// Part 4: writes an image of `state` as it is now, while the caller goes on changing it.
///
/// # Errors
/// What `fork` reports.
pub fn snapshot(state: &[u8], write: impl FnOnce(&[u8]) -> io::Result<()>) -> io::Result<Snapshot> {
    // The child's copy of the state is the one `fork` makes: page by page, on the first write.
    let pid = fork_child(|| if write(state).is_ok() { 0 } else { 1 })?;
    Ok(Snapshot { pid: Some(pid) })
}

impl Snapshot {
    /// Waits until the image is complete.
    ///
    /// # Errors
    /// An error unless `write` returned `Ok`: it returned an error, it panicked, or the child was killed.
    pub fn finish(mut self) -> io::Result<()> {
        match self.wait()? {
            Some(ChildExit::Code(0)) => Ok(()),
            ended => Err(io::Error::other(format!("the snapshot was not written: {ended:?}"))),
        }
    }

    fn wait(&mut self) -> io::Result<Option<ChildExit>> {
        self.pid.take().map(wait_for).transpose()
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        let _ = self.wait();
    }
}

/// Part 5: runs `f` in a daemon: a process that outlives the caller and belongs to no terminal. Returns its pid.
///
/// The caller forks a process that founds a session and forks the daemon. Not being the leader of the session, the daemon
/// can never get a controlling terminal. The process between them ends, which hands the daemon to init.
///
/// # Errors
/// What went wrong in any of the three processes.
pub fn daemonize(f: impl FnOnce()) -> io::Result<i32> {
    // The daemon answers with its pid when it is ready; whoever fails answers with the negative errno.
    let (mut reader, writer) = io::pipe()?;
    // Dropping the closure after the fork closes the caller's write end.
    let between = fork_child(move || {
        let mut writer = Some(writer);
        let daemon = new_session().and_then(|()| {
            fork_child(|| {
                let ready = settle().map(|()| std::process::id() as i32);
                let told = answer(writer.take(), &ready);
                if ready.is_ok() && told.is_ok() {
                    f();
                }
                0
            })
        });
        if daemon.is_err() { i32::from(answer(writer, &daemon).is_err()) } else { 0 }
    })?;
    let mut told = [0; 4];
    let read = reader.read_exact(&mut told);
    wait_for(between)?;
    read?;
    match i32::from_ne_bytes(told) {
        pid if pid > 0 => Ok(pid),
        errno => Err(io::Error::from_raw_os_error(-errno)),
    }
}

/// Puts the calling process into a new session, without a controlling terminal.
fn new_session() -> io::Result<()> {
    // SAFETY: no preconditions.
    if unsafe { libc::setsid() } == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Leaves the caller's directory and streams.
fn settle() -> io::Result<()> {
    std::env::set_current_dir("/")?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    for stream in 0..=2 {
        // SAFETY: duplicating a descriptor touches no memory; nobody else in this process owns the streams.
        if unsafe { libc::dup2(null.as_raw_fd(), stream) } == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Tells the caller of `daemonize` the daemon's pid or the errno, and closes the pipe.
fn answer(writer: Option<PipeWriter>, result: &io::Result<i32>) -> io::Result<()> {
    let number = match result {
        Ok(pid) => *pid,
        Err(error) => -error.raw_os_error().unwrap_or(libc::EIO),
    };
    writer.map_or(Ok(()), |mut writer| writer.write_all(&number.to_ne_bytes()))
}
