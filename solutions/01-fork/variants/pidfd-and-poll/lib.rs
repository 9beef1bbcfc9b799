//! A variant: bare libc. Children are watched through pidfds, `poll` reads all pipes of a map at once, the writer of a snapshot tells
//! its error over a pipe, and the process in between sets up the daemon and answers through shared memory.

use std::fs::File;
use std::io::{self, PipeReader, Read, Write};
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

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
/// What `fork`, `pidfd_open` or the wait report.
pub fn run_in_child(f: impl FnOnce() -> u8) -> io::Result<ChildExit> {
    Child::start(|| i32::from(f()))?.wait()
}

/// -1 is errno.
fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Makes a call again for as long as signals interrupt it.
fn again_if_interrupted(mut call: impl FnMut() -> libc::c_int) -> io::Result<libc::c_int> {
    loop {
        match checked(call()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => return result,
        }
    }
}

/// Writes out all buffers of the process, those of C as well.
fn flush_everything() {
    let _ = io::stdout().flush();
    // SAFETY: a null pointer means all open streams.
    unsafe { libc::fflush(ptr::null_mut()) };
}

/// Ends the process when it is dropped, be it at the end of a scope or by a panic that unwinds through it.
struct Leave(i32);

impl Drop for Leave {
    fn drop(&mut self) {
        flush_everything();
        // SAFETY: ends the process at once, handlers and destructors of the parent's copy stay where they are.
        unsafe { libc::_exit(self.0) }
    }
}

/// Forks a process that runs `body` and ends with its value; the pid, in the caller.
fn fork_process(body: impl FnOnce() -> i32) -> io::Result<libc::pid_t> {
    flush_everything();
    // SAFETY: the contract of this crate: the caller has one thread, so no lock is left held in the child.
    let pid = checked(unsafe { libc::fork() })?;
    if pid == 0 {
        let mut leave = Leave(101);
        leave.0 = body();
    }
    Ok(pid)
}

/// Reaps process `pid`, waiting for it, and says how it ended.
fn reap(pid: libc::pid_t) -> io::Result<ChildExit> {
    // SAFETY: all zeros is a valid siginfo_t, and waitid fills it; si_status is there for a child that has ended.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        again_if_interrupted(|| libc::waitid(libc::P_PID, pid as libc::id_t, &mut info, libc::WEXITED))?;
        Ok(match info.si_code {
            libc::CLD_EXITED => ChildExit::Code(info.si_status() as u8),
            _ => ChildExit::Signal(info.si_status()),
        })
    }
}

/// A child and the descriptor that becomes readable when it ends. Dropped before it was waited for: killed, and reaped.
#[derive(Debug)]
struct Child {
    pid: libc::pid_t,
    ended: OwnedFd,
    reaped: bool,
}

impl Child {
    fn start(body: impl FnOnce() -> i32) -> io::Result<Child> {
        let pid = fork_process(body)?;
        // SAFETY: the call has no pointers; a descriptor that it returns belongs to nobody else.
        let opened = unsafe {
            checked(libc::syscall(libc::SYS_pidfd_open, pid, 0) as i32).map(|fd| OwnedFd::from_raw_fd(fd))
        };
        match opened {
            Ok(ended) => Ok(Child { pid, ended, reaped: false }),
            Err(error) => {
                // SAFETY: our own child, not waited for yet.
                unsafe { libc::kill(pid, libc::SIGKILL) };
                let _ = reap(pid);
                Err(error)
            }
        }
    }

    fn wait(mut self) -> io::Result<ChildExit> {
        wait_until_ready(&mut [interest(self.ended.as_raw_fd())])?;
        self.reaped = true;
        reap(self.pid)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.reaped {
            // SAFETY: our own child, not waited for yet, so the pid is still its own.
            unsafe { libc::kill(self.pid, libc::SIGKILL) };
            let _ = reap(self.pid);
        }
    }
}

fn interest(fd: RawFd) -> libc::pollfd {
    libc::pollfd { fd, events: libc::POLLIN, revents: 0 }
}

fn wait_until_ready(entries: &mut [libc::pollfd]) -> io::Result<()> {
    let count = entries.len() as libc::nfds_t;
    // SAFETY: the slice holds `count` entries.
    again_if_interrupted(|| unsafe { libc::poll(entries.as_mut_ptr(), count, -1) }).map(drop)
}

/// The worker process that had this item ended before it delivered the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerDied;

/// Part 2: applies `f` to every item, in child processes, and returns the results in the order of the items.
///
/// Child `c` has one run of neighbouring items. A frame is the number of the item, the length of the result, and the result.
///
/// # Errors
/// `ErrorKind::InvalidInput` when `workers` is 0; what `pipe`, `fork` or `poll` report.
pub fn fork_map<T>(
    items: &[T],
    workers: usize,
    f: impl Fn(&T) -> Vec<u8>,
) -> io::Result<Vec<Result<Vec<u8>, WorkerDied>>> {
    if workers == 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let count = workers.min(items.len());
    let mut running = Vec::new();
    for worker in 0..count {
        let share = worker * items.len() / count..(worker + 1) * items.len() / count;
        running.push(Source::start(share, items, &f)?);
    }
    read_all(&mut running)?;
    let mut results = vec![Err(WorkerDied); items.len()];
    for source in running {
        let mut rest = source.received.as_slice();
        while let Some((item, bytes, behind)) = first_frame(rest) {
            results[item] = Ok(bytes.to_vec());
            rest = behind;
        }
        source.child.wait()?;
    }
    Ok(results)
}

/// A worker of a map, its pipe, and what has come through it so far.
struct Source {
    child: Child,
    pipe: Option<File>,
    received: Vec<u8>,
}

impl Source {
    fn start<T>(share: Range<usize>, items: &[T], f: impl Fn(&T) -> Vec<u8>) -> io::Result<Source> {
        let (pipe, mut writer) = pipe()?;
        // Only for this end of the pipe: the writer's side still waits when the pipe is full.
        // SAFETY: a descriptor of ours.
        checked(unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) })?;
        let child = Child::start(|| {
            for index in share {
                let result = f(&items[index]);
                let mut frame = [(index as u64).to_le_bytes(), (result.len() as u64).to_le_bytes()].concat();
                frame.extend(result);
                if writer.write_all(&frame).is_err() {
                    return 1;
                }
            }
            0
        })?;
        Ok(Source { child, pipe: Some(pipe), received: Vec::new() })
    }

    /// Takes what is in the pipe now, and closes it at its end.
    fn take(&mut self) -> io::Result<()> {
        let Some(pipe) = &mut self.pipe else { return Ok(()) };
        // Until the end of the pipe (`Ok`) or for now: what was read stays in `received` in both cases.
        match pipe.read_to_end(&mut self.received) {
            Ok(_) => self.pipe = None,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

fn pipe() -> io::Result<(File, File)> {
    let mut ends = [0; 2];
    // SAFETY: the array has room for two descriptors, which belong to nobody else afterwards.
    unsafe {
        checked(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC))?;
        Ok((File::from_raw_fd(ends[0]), File::from_raw_fd(ends[1])))
    }
}

/// Reads every pipe to its end, whichever has something.
fn read_all(sources: &mut [Source]) -> io::Result<()> {
    loop {
        let mut entries: Vec<libc::pollfd> = sources
            .iter()
            .filter_map(|source| source.pipe.as_ref())
            .map(|pipe| interest(pipe.as_raw_fd()))
            .collect();
        if entries.is_empty() {
            return Ok(());
        }
        wait_until_ready(&mut entries)?;
        sources.iter_mut().try_for_each(Source::take)?;
    }
}

/// The item and the result of the frame that `bytes` begin with, and what follows it. `None` if it is not complete.
fn first_frame(bytes: &[u8]) -> Option<(usize, &[u8], &[u8])> {
    let (item, rest) = bytes.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<8>()?;
    let (result, rest) = rest.split_at_checked(u64::from_le_bytes(*length) as usize)?;
    Some((u64::from_le_bytes(*item) as usize, result, rest))
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

/// Part 3: counts the pages of an address range by the way this process has them, one read for each page.
///
/// # Errors
/// `ErrorKind::InvalidInput` when the range ends before it starts; what the page map reports.
pub fn resident_sharing(range: Range<usize>) -> io::Result<PageSharing> {
    let mut count = PageSharing::default();
    if range.end < range.start {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let map = File::open("/proc/self/pagemap")?;
    // SAFETY: no preconditions.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
    let mut address = range.start - range.start % size;
    while !range.is_empty() && address < range.end {
        let entry = entry_of(&map, address / size)?;
        let bit = |number: u32| entry >> number & 1 == 1;
        let kind = match (bit(63), bit(61), bit(56)) {
            (false, ..) => &mut count.absent,
            (true, true, _) => &mut count.file,
            (true, false, true) => &mut count.exclusive,
            (true, false, false) => &mut count.shared,
        };
        *kind += 1;
        let Some(next) = address.checked_add(size) else { break };
        address = next;
    }
    Ok(count)
}

fn entry_of(map: &File, page: usize) -> io::Result<u64> {
    let mut entry = 0u64;
    // SAFETY: the entry is valid for writing eight bytes.
    let read = unsafe {
        libc::pread(map.as_raw_fd(), (&raw mut entry).cast(), size_of::<u64>(), (page * 8) as libc::off_t)
    };
    match read {
        8 => Ok(entry),
        -1 => Err(io::Error::last_os_error()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// A snapshot being written by a child process. Dropping it waits for the child as well.
#[derive(Debug)]
pub struct Snapshot {
    /// `None` once it has been waited for.
    child: Option<Child>,
    /// Where the child says what went wrong.
    complaint: PipeReader,
}

/// Part 4: writes an image of `state` as it is now, while the caller goes on changing it.
///
/// # Errors
/// What `pipe`, `fork` or `pidfd_open` report.
pub fn snapshot(state: &[u8], write: impl FnOnce(&[u8]) -> io::Result<()>) -> io::Result<Snapshot> {
    let (complaint, mut writer) = io::pipe()?;
    let child = Child::start(|| match write(state) {
        Ok(()) => 0,
        Err(error) => {
            let _ = writer.write_all(error.to_string().as_bytes());
            1
        }
    })?;
    Ok(Snapshot { child: Some(child), complaint })
}

impl Snapshot {
    /// Waits until the image is complete.
    ///
    /// # Errors
    /// What `write` returned; another error if it panicked or the child was killed.
    pub fn finish(mut self) -> io::Result<()> {
        let mut complaint = Vec::new();
        self.complaint.read_to_end(&mut complaint)?;
        match self.wait()? {
            Some(ChildExit::Code(0)) => Ok(()),
            Some(ChildExit::Code(1)) => Err(io::Error::other(String::from_utf8_lossy(&complaint))),
            ended => Err(io::Error::other(format!("the writer of the snapshot died: {ended:?}"))),
        }
    }

    fn wait(&mut self) -> io::Result<Option<ChildExit>> {
        self.child.take().map(Child::wait).transpose()
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        let _ = self.wait();
    }
}

/// Part 5: runs `f` in a daemon. Returns its pid.
///
/// All is set up before the second fork, and the daemon inherits it. The process in between leaves the daemon's pid, or the negative
/// errno, in a word of shared memory. When it has been reaped, the daemon has been adopted.
///
/// # Errors
/// What went wrong, in the caller or in the process in between.
pub fn daemonize(f: impl FnOnce()) -> io::Result<i32> {
    let answer = SharedWord::new()?;
    let between = fork_process(|| {
        let daemon = detach().and_then(|()| {
            fork_process(|| {
                f();
                0
            })
        });
        answer.set(daemon.unwrap_or_else(|error| -error.raw_os_error().unwrap_or(libc::EIO)));
        0
    })?;
    reap(between)?;
    match answer.get() {
        0 => Err(io::Error::other("the process in between died")),
        errno if errno < 0 => Err(io::Error::from_raw_os_error(-errno)),
        pid => Ok(pid),
    }
}

/// New session, directory `/`, no streams.
fn detach() -> io::Result<()> {
    // SAFETY: plain system calls; the strings end with a zero.
    unsafe {
        checked(libc::setsid())?;
        checked(libc::chdir(c"/".as_ptr()))?;
        let null = again_if_interrupted(|| libc::open(c"/dev/null".as_ptr(), libc::O_RDWR))?;
        for stream in 0..=2 {
            checked(libc::dup2(null, stream))?;
        }
        if null > 2 {
            libc::close(null);
        }
    }
    Ok(())
}

/// One word that parent and child have in common, 0 at first.
struct SharedWord(*mut i32);

impl SharedWord {
    fn new() -> io::Result<SharedWord> {
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: fresh memory at an address that the kernel chooses.
        let address = unsafe { libc::mmap(ptr::null_mut(), size_of::<i32>(), access, kind, -1, 0) };
        if address == libc::MAP_FAILED {
            Err(io::Error::last_os_error())
        } else {
            Ok(SharedWord(address.cast()))
        }
    }

    fn get(&self) -> i32 {
        // SAFETY: mapped and aligned until drop; the other process has ended by now.
        unsafe { self.0.read_volatile() }
    }

    fn set(&self, value: i32) {
        // SAFETY: as in `get`; the caller does not look before this process has ended.
        unsafe { self.0.write_volatile(value) }
    }
}

impl Drop for SharedWord {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` with this length.
        unsafe { libc::munmap(self.0.cast(), size_of::<i32>()) };
    }
}
