//! Differs from the reference in its means: plain libc calls, gathering writes, no close-on-exec but every end closed by hand, one
//! pipe on which all commands report, descriptors that never block, epoll for a command's streams and poll for the FIFO.

use std::collections::VecDeque;
use std::ffi::{CString, c_char, c_int};
use std::io::{self, ErrorKind};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

/// The answer of a call that returns -1 for an error.
fn checked(answer: impl TryInto<i64>) -> io::Result<i64> {
    match answer.try_into() {
        Ok(answer) if answer >= 0 => Ok(answer),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The same, for a call that is made again when a signal interrupts it.
fn repeated<T: TryInto<i64>>(mut call: impl FnMut() -> T) -> io::Result<i64> {
    loop {
        match checked(call()) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            answer => return answer,
        }
    }
}

fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the buffer is valid for its length.
    repeated(|| unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) })
        .map(|count| count as usize)
}

fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the bytes are valid for their length.
    repeated(|| unsafe { libc::write(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) })
        .map(|count| count as usize)
}

// ---- Part 1: whole transfers on descriptors that transfer what they like.

/// What [`read_exact`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filled {
    /// The buffer was filled to its last byte.
    Whole,
    /// The stream had ended before the first byte.
    EndOfStream,
}

/// Reads until `buffer` is full: one read, and the same again for what is left.
pub fn read_exact(fd: impl AsFd, buffer: &mut [u8]) -> io::Result<Filled> {
    let wanted = buffer.len();
    let mut rest = buffer;
    while !rest.is_empty() {
        match read(fd.as_fd(), rest)? {
            0 if rest.len() == wanted => return Ok(Filled::EndOfStream),
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            count => rest = &mut rest[count..],
        }
    }
    Ok(Filled::Whole)
}

/// Writes all of `bytes`.
pub fn write_all(fd: impl AsFd, bytes: &[u8]) -> io::Result<()> {
    write_both(fd.as_fd(), bytes, &[])
}

/// Writes one after the other, together where the kernel takes both.
fn write_both(fd: BorrowedFd<'_>, mut first: &[u8], mut second: &[u8]) -> io::Result<()> {
    while !(first.is_empty() && second.is_empty()) {
        let parts = [first, second]
            .map(|part| libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() });
        // SAFETY: two valid parts, which writev only reads.
        let count = repeated(|| unsafe { libc::writev(fd.as_raw_fd(), parts.as_ptr(), 2) })? as usize;
        let of_first = count.min(first.len());
        first = &first[of_first..];
        second = &second[count - of_first..];
    }
    Ok(())
}

// ---- Part 2: messages on a byte stream.

/// Writes one frame: its length and its payload in one gathering write.
pub fn write_frame(fd: impl AsFd, payload: &[u8], limit: usize) -> io::Result<()> {
    let length = u32::try_from(payload.len()).map_err(|_| ErrorKind::InvalidInput)?;
    if payload.len() > limit {
        return Err(ErrorKind::InvalidInput.into());
    }
    write_both(fd.as_fd(), &length.to_be_bytes(), payload)
}

/// Reads one frame and returns its payload; `None` at the end of the stream.
pub fn read_frame(fd: impl AsFd, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let fd = fd.as_fd();
    let mut length = 0u32;
    for place in 0..4 {
        let mut byte = [0];
        match read_exact(fd, &mut byte)? {
            Filled::Whole => length = length << 8 | u32::from(byte[0]),
            Filled::EndOfStream if place == 0 => return Ok(None),
            Filled::EndOfStream => return Err(ErrorKind::UnexpectedEof.into()),
        }
    }
    if u64::from(length) > limit as u64 {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut payload = vec![0; length as usize];
    match read_exact(fd, &mut payload)? {
        Filled::Whole => Ok(Some(payload)),
        Filled::EndOfStream => Err(ErrorKind::UnexpectedEof.into()),
    }
}

// ---- Part 3: A | B | C.

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It called exit with this code.
    Exited(i32),
    /// This signal ended it.
    Signalled(i32),
}

/// A command's words, as exec wants them.
struct Words {
    _owned: Vec<CString>,
    pointers: Vec<*const c_char>,
}

impl Words {
    fn new(words: &[&str]) -> io::Result<Words> {
        if words.is_empty() {
            return Err(ErrorKind::InvalidInput.into());
        }
        let owned: Vec<CString> = words.iter().map(|word| CString::new(*word)).collect::<Result<_, _>>()?;
        let pointers = owned.iter().map(|word| word.as_ptr()).chain([ptr::null()]).collect();
        Ok(Words { _owned: owned, pointers })
    }
}

/// Runs the commands, connected by pipes, and waits for all of them. All pipes are made first.
pub fn pipeline(commands: &[&[&str]]) -> io::Result<Vec<Status>> {
    let words = commands.iter().map(|words| Words::new(words)).collect::<io::Result<Vec<Words>>>()?;
    let pipes = (1..words.len()).map(|_| pipe(0)).collect::<io::Result<Vec<_>>>()?;
    let jobs: Vec<Job<'_>> = words
        .iter()
        .enumerate()
        .map(|(place, words)| Job {
            words,
            stdio: [
                place.checked_sub(1).map(|before| pipes[before].0.as_raw_fd()),
                pipes.get(place).map(|pipe| pipe.1.as_raw_fd()),
                None,
            ],
        })
        .collect();
    let ends: Vec<RawFd> =
        pipes.iter().flat_map(|(reader, writer)| [reader, writer]).map(AsRawFd::as_raw_fd).collect();
    let started = start(&jobs, &ends);
    drop(pipes);
    wait_for_all(started)
}

/// A command and the descriptors it gets as 0, 1 and 2; `None`: the caller's.
struct Job<'a> {
    words: &'a Words,
    stdio: [Option<RawFd>; 3],
}

/// Commands on their way: their processes, and the pipe on which they tell of a failed exec.
struct Started {
    children: Vec<libc::pid_t>,
    failures: OwnedFd,
    outcome: io::Result<()>,
}

/// Forks for every command, the last one first. `ends` are all the pipe ends that nobody needs beyond his own.
fn start(jobs: &[Job<'_>], ends: &[RawFd]) -> io::Result<Started> {
    let (failures, report) = pipe(libc::O_CLOEXEC)?;
    let mut started = Started { children: Vec::new(), failures, outcome: Ok(()) };
    for job in jobs.iter().rev() {
        // SAFETY: the child calls only functions that are async-signal-safe.
        match unsafe { libc::fork() } {
            -1 => {
                started.outcome = Err(io::Error::last_os_error());
                break;
            }
            0 => become_command(job, ends, report.as_raw_fd()),
            child => started.children.push(child),
        }
    }
    started.children.reverse();
    Ok(started)
}

/// In the child: never returns. The errno of what fails goes to `report`, as four bytes.
fn become_command(job: &Job<'_>, ends: &[RawFd], report: RawFd) -> ! {
    // SAFETY: calls on descriptors of this process alone; the words end with a null pointer.
    unsafe {
        // Out of the way first: an end may itself be descriptor 0, 1 or 2.
        let own = job.stdio.map(|fd| fd.map(|fd| libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3)));
        if own.iter().flatten().all(|&fd| fd >= 0) {
            for &end in ends {
                libc::close(end);
            }
            let placed = own
                .iter()
                .zip(0..)
                .all(|(fd, target)| fd.is_none_or(|fd| repeated(|| libc::dup2(fd, target)).is_ok()));
            if placed && libc::signal(libc::SIGPIPE, libc::SIG_DFL) != libc::SIG_ERR {
                libc::execvp(job.words.pointers[0], job.words.pointers.as_ptr());
            }
        }
        let errno = *libc::__errno_location();
        let _ = write(BorrowedFd::borrow_raw(report), &errno.to_ne_bytes());
        libc::_exit(127)
    }
}

/// Learns whether every command is running its program: the report pipe ends when the last of them is, or has failed.
fn all_run(failures: OwnedFd) -> io::Result<()> {
    let mut errno = [0; 4];
    match read_exact(&failures, &mut errno)? {
        Filled::EndOfStream => Ok(()),
        Filled::Whole => Err(io::Error::from_raw_os_error(c_int::from_ne_bytes(errno))),
    }
}

/// Waits for all; when one of them cannot run, or `outcome` is an error already, the others are killed.
fn wait_for_all(started: io::Result<Started>) -> io::Result<Vec<Status>> {
    let Started { children, failures, outcome } = started?;
    let outcome = outcome.and_then(|()| all_run(failures));
    if outcome.is_err() {
        for &child in &children {
            // SAFETY: a child that has not been waited for.
            unsafe { libc::kill(child, libc::SIGKILL) };
        }
    }
    let ended: Vec<io::Result<Status>> = children.into_iter().map(wait_for).collect();
    outcome?;
    ended.into_iter().collect()
}

fn wait_for(child: libc::pid_t) -> io::Result<Status> {
    // SAFETY: all-zero is a valid `siginfo_t`.
    let mut told: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: `told` is a valid place for the answer.
    repeated(|| unsafe { libc::waitid(libc::P_PID, child as libc::id_t, &mut told, libc::WEXITED) })?;
    // SAFETY: waitid has filled in the fields of SIGCHLD.
    let number = unsafe { told.si_status() };
    Ok(if told.si_code == libc::CLD_EXITED { Status::Exited(number) } else { Status::Signalled(number) })
}

/// A pipe, read end first, both ends above descriptor 2; `flags` as for pipe2. Without `O_CLOEXEC` it is for the child to close it.
fn pipe(flags: c_int) -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors.
    checked(unsafe { libc::pipe2(ends.as_mut_ptr(), flags) })?;
    // SAFETY: pipe2 has just made them.
    let [reader, writer] = ends.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    Ok((above_stdio(reader, flags)?, above_stdio(writer, flags)?))
}

fn above_stdio(fd: OwnedFd, flags: c_int) -> io::Result<OwnedFd> {
    let how = if flags & libc::O_CLOEXEC == 0 { libc::F_DUPFD } else { libc::F_DUPFD_CLOEXEC };
    if fd.as_raw_fd() > 2 {
        return Ok(fd);
    }
    // SAFETY: a plain call on a descriptor of ours.
    let copy = checked(unsafe { libc::fcntl(fd.as_raw_fd(), how, 3) })?;
    // SAFETY: fcntl has just made it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy as RawFd) })
}

fn never_blocks(fd: &OwnedFd) -> io::Result<()> {
    // SAFETY: a plain call on a descriptor of ours.
    checked(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) }).map(drop)
}

// ---- Part 4: a command's input, output and errors, all at once.

/// What [`capture`] collected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// Everything the command wrote to its standard output.
    pub stdout: Vec<u8>,
    /// Everything the command wrote to its standard error.
    pub stderr: Vec<u8>,
    /// How it ended.
    pub status: Status,
}

/// Runs one command; its three streams are served by an epoll instance that forgets those that have ended.
pub fn capture(command: &[&str], input: &[u8]) -> io::Result<Captured> {
    let words = Words::new(command)?;
    // SAFETY: a plain call; the descriptor is new.
    let epoll = unsafe { OwnedFd::from_raw_fd(checked(libc::epoll_create1(libc::EPOLL_CLOEXEC))? as RawFd) };
    let ((stdin, our_in), (our_out, stdout), (our_err, stderr)) = (pipe(0)?, pipe(0)?, pipe(0)?);
    let stdio = [&stdin, &stdout, &stderr].map(|end| Some(end.as_raw_fd()));
    let ends = [&stdin, &our_in, &our_out, &stdout, &our_err, &stderr].map(AsRawFd::as_raw_fd);
    let started = start(&[Job { words: &words, stdio }], &ends)?;
    drop((stdin, stdout, stderr));
    let mut collected = [Vec::new(), Vec::new()];
    let served = serve(&epoll, [our_in, our_out, our_err], input, &mut collected);
    if served.is_err() {
        for &child in &started.children {
            // SAFETY: a child that has not been waited for.
            unsafe { libc::kill(child, libc::SIGKILL) };
        }
    }
    let ended = wait_for_all(Ok(started))?;
    served?;
    let [stdout, stderr] = collected;
    let status = ended.into_iter().next().ok_or(ErrorKind::NotFound)?;
    Ok(Captured { stdout, stderr, status })
}

fn serve(
    epoll: &OwnedFd,
    ends: [OwnedFd; 3],
    mut input: &[u8],
    collected: &mut [Vec<u8>; 2],
) -> io::Result<()> {
    for (end, events) in ends.iter().zip([libc::EPOLLOUT, libc::EPOLLIN, libc::EPOLLIN]) {
        never_blocks(end)?;
        let mut entry = libc::epoll_event { events: events as u32, u64: end.as_raw_fd() as u64 };
        // SAFETY: a valid entry.
        checked(unsafe {
            libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, end.as_raw_fd(), &mut entry)
        })?;
    }
    let mut ends = ends.map(Some);
    if input.is_empty() {
        ends[0] = None;
    }
    while ends[1].is_some() || ends[2].is_some() {
        let mut ready = [libc::epoll_event { events: 0, u64: 0 }; 3];
        // SAFETY: room for three events.
        let count =
            repeated(|| unsafe { libc::epoll_wait(epoll.as_raw_fd(), ready.as_mut_ptr(), 3, -1) })? as usize;
        for event in &ready[..count] {
            let number = event.u64;
            let Some(which) =
                ends.iter().position(|end| end.as_ref().is_some_and(|end| end.as_raw_fd() as u64 == number))
            else {
                continue;
            };
            let Some(end) = &ends[which] else { continue };
            let goes_on = match which {
                0 => give(end.as_fd(), &mut input)?,
                _ => take(end.as_fd(), &mut collected[which - 1])?,
            };
            if !goes_on {
                // Closing the last copy also takes it out of the epoll instance.
                ends[which] = None;
            }
        }
    }
    Ok(())
}

/// Writes what the pipe takes now. `false`: all is written, or nobody wants the rest.
fn give(end: BorrowedFd<'_>, input: &mut &[u8]) -> io::Result<bool> {
    while !input.is_empty() {
        match write(end, input) {
            Ok(count) => *input = &input[count..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => break,
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// Reads what there is now. `false`: the stream has ended.
fn take(end: BorrowedFd<'_>, collected: &mut Vec<u8>) -> io::Result<bool> {
    let mut piece = [0; 1000];
    loop {
        match read(end, &mut piece) {
            Ok(0) => return Ok(false),
            Ok(count) => collected.extend(&piece[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error),
        }
    }
}

// ---- Part 5: a log server behind a name.

/// The longest line that goes through the FIFO in one piece, without its newline.
pub const MAX_LINE: usize = libc::PIPE_BUF - 1;

/// The reading side of a log.
#[derive(Debug)]
pub struct LogServer {
    path: CString,
    /// Never blocks; poll waits.
    fifo: OwnedFd,
    /// A writer that never writes, so that poll does not report the end of the stream again and again.
    _writer: OwnedFd,
    pending: VecDeque<u8>,
}

impl LogServer {
    /// Makes the FIFO `path` and opens it.
    pub fn create(path: &Path) -> io::Result<LogServer> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        // SAFETY: a C string.
        checked(unsafe { libc::mkfifo(path.as_ptr(), 0o600) })?;
        let opened = open(&path, libc::O_RDONLY).and_then(|fifo| Ok((fifo, open(&path, libc::O_WRONLY)?)));
        match opened {
            Ok((fifo, writer)) => Ok(LogServer { path, fifo, _writer: writer, pending: VecDeque::new() }),
            Err(error) => {
                // SAFETY: a C string.
                unsafe { libc::unlink(path.as_ptr()) };
                Err(error)
            }
        }
    }

    /// Calls `on_line` with each line that arrives until it answers `Break`.
    pub fn serve(&mut self, mut on_line: impl FnMut(&[u8]) -> ControlFlow<()>) -> io::Result<()> {
        let mut piece = [0; 700];
        loop {
            while let Some(end) = self.pending.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.pending.drain(..end).collect();
                self.pending.pop_front();
                if on_line(&line).is_break() {
                    return Ok(());
                }
            }
            ready(self.fifo.as_fd(), libc::POLLIN)?;
            match read(self.fifo.as_fd(), &mut piece) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.pending.extend(&piece[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for LogServer {
    fn drop(&mut self) {
        // SAFETY: a C string.
        unsafe { libc::unlink(self.path.as_ptr()) };
    }
}

/// Sleeps until the descriptor can be read from or written to, or will never be again.
fn ready(fd: BorrowedFd<'_>, events: i16) -> io::Result<()> {
    let mut entry = libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
    // SAFETY: one valid entry.
    repeated(|| unsafe { libc::poll(&mut entry, 1, -1) }).map(drop)
}

/// Opens without waiting, neither now nor in later calls.
fn open(path: &CString, how: c_int) -> io::Result<OwnedFd> {
    // SAFETY: a C string, and the descriptor is new.
    unsafe {
        let fd = repeated(|| libc::open(path.as_ptr(), how | libc::O_NONBLOCK | libc::O_CLOEXEC))?;
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// The writing side of a log.
#[derive(Debug)]
pub struct Logger {
    /// Never blocks; poll waits.
    fifo: OwnedFd,
}

impl Logger {
    /// Connects to the log server at `path`, which is looked at before it is opened and once more afterwards.
    pub fn connect(path: &Path) -> io::Result<Logger> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        // SAFETY: all-zero is a valid `stat`.
        let mut about: libc::stat = unsafe { std::mem::zeroed() };
        // SAFETY: a C string and a place for the answer.
        checked(unsafe { libc::stat(path.as_ptr(), &mut about) })?;
        must_be_fifo(&about)?;
        let fifo = open(&path, libc::O_WRONLY)?;
        // SAFETY: an open descriptor and a place for the answer.
        checked(unsafe { libc::fstat(fifo.as_raw_fd(), &mut about) })?;
        must_be_fifo(&about)?;
        Ok(Logger { fifo })
    }

    /// Sends one line: the kernel takes all of it or, when there is no room, nothing.
    pub fn log(&self, line: &[u8]) -> io::Result<()> {
        if line.len() >= libc::PIPE_BUF || line.iter().any(|&byte| byte == b'\n') {
            return Err(ErrorKind::InvalidInput.into());
        }
        let mut whole = line.to_vec();
        whole.push(b'\n');
        loop {
            match write(self.fifo.as_fd(), &whole) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    ready(self.fifo.as_fd(), libc::POLLOUT)?
                }
                answer => return answer.map(drop),
            }
        }
    }
}

fn must_be_fifo(about: &libc::stat) -> io::Result<()> {
    if about.st_mode & libc::S_IFMT == libc::S_IFIFO { Ok(()) } else { Err(ErrorKind::InvalidInput.into()) }
}
