//! Pipes and FIFOs: byte streams between processes.
//!
//! The parts build on one idea: a pipe carries bytes, not messages. One `read` may return fewer bytes than
//! were asked for, one `write` may take fewer than were offered, either may be interrupted by a signal, and
//! the end of the stream comes only when *every* descriptor of the write end is closed.
//!
//! Each part is graded alone. You may build one part on another; you need not.

use std::ffi::CString;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use libc::{STDERR_FILENO, STDIN_FILENO, STDOUT_FILENO};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, stat};
use nix::unistd::{ForkResult, Pid, fork, mkfifo, pipe2, read, unlink, write};

// ---------------------------------------------------------------------------------------------------------
// Part 1: whole transfers on descriptors that transfer what they like
// ---------------------------------------------------------------------------------------------------------

/// What [`read_exact`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filled {
    /// The buffer was filled to its last byte.
    Whole,
    /// The stream had ended before the first byte. The buffer's contents are unspecified.
    EndOfStream,
}

/// Reads until `buffer` is full.
///
/// The bytes may arrive in any pieces: `read` returns what is there, which may be one byte. No byte beyond
/// the buffer is taken from `fd`; the next reader of the descriptor may need it. For an empty buffer the
/// answer is [`Filled::Whole`], and nothing is read. `fd` is a blocking descriptor.
///
/// - End of the stream before the first byte: `Ok(Filled::EndOfStream)`. The other side had nothing more to say.
/// - End of the stream after the first byte and before the last: an error of kind
///   [`io::ErrorKind::UnexpectedEof`]. The other side stopped in the middle of something.
/// - `EINTR`: not an error; the call is repeated and no byte is lost.
/// - Any other error of read(2) is returned, and can be told apart by [`io::Error::raw_os_error`].
///
/// See read(2), pipe(7), signal(7) ("Interruption of system calls").
///
/// ```text
/// let (reader, writer) = std::io::pipe()?;
/// write_all(&writer, b"12345678")?;
/// let mut four = [0; 4];
/// assert_eq!(read_exact(&reader, &mut four)?, Filled::Whole);   // 1234; 5678 are still in the pipe
/// ```
pub fn read_exact(fd: impl AsFd, buffer: &mut [u8]) -> io::Result<Filled> {
    let mut filled = 0;
    while filled < buffer.len() {
        match read(&fd, &mut buffer[filled..]) {
            Ok(0) if filled == 0 => return Ok(Filled::EndOfStream),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(Filled::Whole)
}

/// Writes all of `bytes`.
///
/// `write` may take fewer bytes than it was given; the rest is written by further calls. `EINTR` before the
/// first byte of a call is not an error. `fd` is a blocking descriptor.
///
/// When no read end is open any more, the answer is an error of kind [`io::ErrorKind::BrokenPipe`] (`EPIPE`),
/// also when some of the bytes had been written before. The signal `SIGPIPE`, which would end the process, is
/// ignored in a Rust program from its start; this function leaves its disposition alone.
/// Any other error of write(2) is returned, and can be told apart by [`io::Error::raw_os_error`].
///
/// See write(2), pipe(7), signal(7).
pub fn write_all(fd: impl AsFd, bytes: &[u8]) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match write(&fd, rest) {
            // Never seen on a pipe; POSIX allows it elsewhere, and repeating it could go on for ever.
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => rest = &rest[count..],
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

// ---------------------------------------------------------------------------------------------------------
// Part 2: messages on a byte stream
// ---------------------------------------------------------------------------------------------------------

/// Writes one frame: the length of `payload` as four bytes, most significant first (network byte order), and
/// then the payload. An empty payload is a frame of four zero bytes.
///
/// A payload longer than `limit` bytes, or longer than four bytes can say, is refused with
/// [`io::ErrorKind::InvalidInput`] before a single byte is written: half a message would spoil the stream for
/// everything after it. Short writes and `EINTR` are dealt with as in [`write_all`]; its errors are returned.
pub fn write_frame(fd: impl AsFd, payload: &[u8], limit: usize) -> io::Result<()> {
    let Ok(length) = u32::try_from(payload.len()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a frame's length has 32 bits"));
    };
    if payload.len() > limit {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "payload longer than the limit"));
    }
    // One buffer, so that a small frame is one write.
    let mut frame = Vec::with_capacity(4 + payload.len());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(payload);
    write_all(fd, &frame)
}

/// Reads one frame written as by [`write_frame`] and returns its payload; `None` at the end of the stream.
///
/// - Exactly the frame is consumed: the first byte of the next one is still in the stream afterwards.
/// - End of the stream before the first byte of a frame: `Ok(None)`.
/// - End of the stream inside a frame, be it inside the four bytes of the length or inside the payload
///   (also between the two, when the payload is not empty): [`io::ErrorKind::UnexpectedEof`].
/// - A length above `limit`: [`io::ErrorKind::InvalidData`], having read the four bytes of the length and no
///   more, and having reserved no memory for the payload. The number comes from somebody else; it may be a lie.
///
/// Short reads and `EINTR` are dealt with as in [`read_exact`]; its errors are returned.
pub fn read_frame(fd: impl AsFd, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let mut header = [0; 4];
    if read_exact(&fd, &mut header)? == Filled::EndOfStream {
        return Ok(None);
    }
    let length = u32::from_be_bytes(header) as usize;
    if length > limit {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "frame longer than the limit"));
    }
    let mut payload = vec![0; length];
    match read_exact(&fd, &mut payload)? {
        Filled::Whole => Ok(Some(payload)),
        // Not a boundary: the length has promised more.
        Filled::EndOfStream => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

// ---------------------------------------------------------------------------------------------------------
// Part 3: A | B | C
// ---------------------------------------------------------------------------------------------------------

/// How a command ended, as wait(2) tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It called exit with this code, 0 to 255.
    Exited(i32),
    /// This signal ended it.
    Signalled(i32),
}

/// Runs the commands at the same time, the output of each connected to the input of the next by a pipe, as a
/// shell runs `A | B | C`; waits for all of them and returns how each ended, in the order of `commands`.
///
/// A command is a program and its arguments: `&["wc", "-l"]`. A program without a slash is looked for in
/// `PATH`, as by execvp(3).
///
/// - The first command has the caller's standard input, the last the caller's standard output, all have the
///   caller's standard error. Beyond descriptors 0, 1 and 2 a command inherits no end of any of the pipes.
/// - No end of a pipe stays open in the caller longer than it takes to start the commands, and none at return.
/// - Every command starts with `SIGPIPE` at its default disposition. Rust's runtime sets it to *ignored*, and an
///   ignored signal stays ignored across exec(2) (signal(7)); `yes | head -1` would then end with an error
///   message from `yes` instead of silently by the signal.
/// - It works also when descriptor 0, 1 or 2 is closed in the caller: a new pipe may then *be* descriptor 0.
/// - Every started command has been waited for when the call returns; no zombie stays behind. Other children of
///   the caller are left alone: whoever started them waits for them.
///
/// Errors:
/// - an empty command, or a NUL byte in one: [`io::ErrorKind::InvalidInput`], and nothing is started;
/// - a program that cannot be executed: the error of exec(2), such as `ENOENT` or `EACCES`. The other commands
///   are not left running: those already started are killed (`SIGKILL`) and waited for;
/// - no descriptors or processes left (`EMFILE`, `EAGAIN`): that error, and the same clean-up.
///
/// No commands at all: `Ok` with an empty vector.
///
/// See pipe(2), fork(2), dup2(2), execvp(3), waitpid(2), signal(7).
pub fn pipeline(commands: &[&[&str]]) -> io::Result<Vec<Status>> {
    let commands: Vec<Vec<CString>> = commands.iter().map(|words| argv(words)).collect::<io::Result<_>>()?;
    let mut started = Vec::new();
    let mut run = || {
        let mut input: Option<OwnedFd> = None;
        for (place, command) in commands.iter().enumerate() {
            let (next_input, output) = if place + 1 < commands.len() {
                let (reader, writer) = pipe()?;
                (Some(reader), Some(writer))
            } else {
                (None, None)
            };
            started.push(start(command, [input.as_ref(), output.as_ref(), None])?);
            // Both ends this command uses are closed here: `output` at the end of the turn, and the old input
            // by the assignment.
            input = next_input;
        }
        Ok(())
    };
    let outcome: io::Result<()> = run();
    if outcome.is_err() {
        for &pid in &started {
            // It is our child and has not been waited for, so the number is still its own.
            let _ = kill(pid, Signal::SIGKILL);
        }
    }
    let statuses: io::Result<Vec<Status>> = started.into_iter().map(wait_for).collect();
    outcome.and(statuses)
}

// ---------------------------------------------------------------------------------------------------------
// Part 4: a command's input, output and errors, all at once
// ---------------------------------------------------------------------------------------------------------

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

/// Runs one command with `input` as its standard input, collects its standard output and standard error
/// apart, and waits for it.
///
/// - It does not deadlock, whatever the sizes and in whatever order the command reads and writes: a pipe holds
///   64 KiB (pipe(7)), and a command that waits for room in one pipe does not look after the others. Input,
///   output and errors are served together, by poll(2) or by threads.
/// - It waits asleep: nothing is asked again and again while nothing happens, also not after one stream has ended.
/// - A command need not read its input. If it closes it or ends early, the rest of `input` is dropped, and that
///   is not an error.
/// - The command gets its end of file once `input` has been written. It inherits no end of the pipes beyond its
///   descriptors 0, 1 and 2, and starts with `SIGPIPE` at its default disposition, as in [`pipeline`].
/// - The collecting ends when both outputs have ended.
/// - `EINTR` and short transfers lose nothing.
///
/// Errors are those of [`pipeline`]: `InvalidInput` for an empty command or a NUL byte, the error of exec(2)
/// for a program that cannot be executed. In no case is a child or a descriptor left behind.
///
/// See poll(2), pipe(7), fcntl(2) (`O_NONBLOCK`).
pub fn capture(command: &[&str], input: &[u8]) -> io::Result<Captured> {
    let command = argv(command)?;
    let (child_in, our_in) = pipe()?;
    let (our_out, child_out) = pipe()?;
    let (our_err, child_err) = pipe()?;
    // POLLOUT promises room for some bytes, not for all of them: a blocking write would wait for the rest.
    // The flag belongs to our end alone; the command's end stays blocking.
    fcntl(&our_in, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    let pid = start(&command, [Some(&child_in), Some(&child_out), Some(&child_err)])?;
    drop((child_in, child_out, child_err));

    let mut streams = Streams { input: Some(our_in), outputs: [Some(our_out), Some(our_err)] };
    let collected = streams.serve(input);
    // On an error this is what ends a command that still reads or writes.
    drop(streams);
    if collected.is_err() {
        let _ = kill(pid, Signal::SIGKILL);
    }
    let status = wait_for(pid);
    let [stdout, stderr] = collected?;
    Ok(Captured { stdout, stderr, status: status? })
}

// ---------------------------------------------------------------------------------------------------------
// Part 5: a log server behind a name
// ---------------------------------------------------------------------------------------------------------

/// The longest line that goes through the FIFO in one piece, without its newline: `PIPE_BUF` − 1.
pub const MAX_LINE: usize = libc::PIPE_BUF - 1;

/// The reading side of a log: a FIFO in the file system that unrelated processes write lines to.
///
/// Dropping the server closes the FIFO and removes its name.
#[derive(Debug)]
pub struct LogServer {
    path: PathBuf,
    /// The read end, blocking.
    fifo: OwnedFd,
    /// A write end nobody writes to: while it is open, `read` waits for the next writer instead of
    /// reporting the end of the stream.
    _keeps_the_stream_open: OwnedFd,
    /// Bytes read and not yet handed out.
    pending: Vec<u8>,
}

impl LogServer {
    /// Makes the FIFO `path`, readable and writable by its owner only (0600, less the umask), and opens it.
    ///
    /// Does not wait for a writer (open(2) of a FIFO for reading normally does, see fifo(7)). From the return
    /// of this call until the server is dropped, [`Logger::connect`] succeeds.
    ///
    /// Errors: that of mkfifo(3), such as [`io::ErrorKind::AlreadyExists`] for a name that is taken; what has
    /// the name is then left as it was. If the FIFO cannot be opened it is removed again.
    pub fn create(path: &Path) -> io::Result<LogServer> {
        mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR)?;
        let opened = || {
            // Non-blocking, else this would wait for the first writer.
            let fifo = open_fifo(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK)?;
            let writer = open_fifo(path, OFlag::O_WRONLY)?;
            fcntl(&fifo, FcntlArg::F_SETFL(OFlag::empty()))?;
            Ok((fifo, writer))
        };
        match opened() {
            Ok((fifo, writer)) => Ok(LogServer {
                path: path.to_owned(),
                fifo,
                _keeps_the_stream_open: writer,
                pending: Vec::new(),
            }),
            Err(error) => {
                let _ = unlink(path);
                Err(error)
            }
        }
    }

    /// Calls `on_line` with each line that arrives, without its newline, until it answers
    /// [`ControlFlow::Break`]; then returns. Waits asleep while there is nothing to read.
    ///
    /// Lines come in the order in which they were written, and a line may arrive in any pieces. Writers come
    /// and go: that there is none at the moment is not the end. Lines that had arrived behind the last
    /// one handled are not lost: the next call of `serve` begins with them.
    ///
    /// Errors: those of read(2), except `EINTR`, which is none.
    pub fn serve(&mut self, mut on_line: impl FnMut(&[u8]) -> ControlFlow<()>) -> io::Result<()> {
        loop {
            while let Some(end) = self.pending.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                if on_line(&line[..end]).is_break() {
                    return Ok(());
                }
            }
            let mut piece = [0; 4096];
            let count = uninterrupted(|| read(&self.fifo, &mut piece))?;
            if count == 0 {
                // Not while our own write end is open. If it ever were: better an error than a loop that spins.
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.pending.extend_from_slice(&piece[..count]);
        }
    }
}

impl Drop for LogServer {
    fn drop(&mut self) {
        // Nobody could be told; a name that is gone already is what we want.
        let _ = unlink(&self.path);
    }
}

/// The writing side of a log, in any process that knows the path.
#[derive(Debug)]
pub struct Logger {
    /// The write end, blocking.
    fifo: OwnedFd,
}

impl Logger {
    /// Connects to the log server at `path`.
    ///
    /// Never waits: when the FIFO exists and no server has it open, the answer is the error `ENXIO`, at once.
    /// No such name: [`io::ErrorKind::NotFound`]. Something there that is not a FIFO:
    /// [`io::ErrorKind::InvalidInput`], and it is not changed.
    pub fn connect(path: &Path) -> io::Result<Logger> {
        // Before, because a directory cannot be opened for writing; after, because the name may have changed hands.
        must_be_fifo(&stat(path)?)?;
        let fifo = open_fifo(path, OFlag::O_WRONLY | OFlag::O_NONBLOCK)?;
        must_be_fifo(&fstat(&fifo)?)?;
        // Not to wait was for `open`; a write to a full FIFO shall wait.
        fcntl(&fifo, FcntlArg::F_SETFL(OFlag::empty()))?;
        Ok(Logger { fifo })
    }

    /// Sends one line; the newline is added here.
    ///
    /// The line and its newline go to the kernel in a single write(2), because up to `PIPE_BUF` bytes
    /// (4,096 on Linux) one write is atomic: the lines of many writers never run into each other (pipe(7)).
    /// Therefore a line longer than [`MAX_LINE`], or one with a newline in it, is refused with
    /// [`io::ErrorKind::InvalidInput`], and nothing is written.
    ///
    /// When the FIFO is full, the call waits until there is room. When the server is gone, the answer is an
    /// error of kind [`io::ErrorKind::BrokenPipe`]. `EINTR` is not an error.
    pub fn log(&self, line: &[u8]) -> io::Result<()> {
        if line.len() > MAX_LINE || line.contains(&b'\n') {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not one line of at most MAX_LINE bytes",
            ));
        }
        let mut whole = Vec::with_capacity(line.len() + 1);
        whole.extend_from_slice(line);
        whole.push(b'\n');
        uninterrupted(|| write(&self.fifo, &whole))?;
        Ok(())
    }
}

// ---------------------------------------------------------------------------------------------------------
// What the parts are made of
// ---------------------------------------------------------------------------------------------------------

/// Repeats a system call that a signal interrupted before it did anything.
fn uninterrupted<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            answer => return answer,
        }
    }
}

/// A pipe, read end first, both ends above descriptor 2 and closed on exec.
///
/// Close-on-exec is what keeps every command free of ends it should not have: dup2 makes a copy without the
/// flag, and all the originals vanish at exec. Ends above 2 cannot be overwritten by that dup2, and are never
/// equal to its target: dup2(0, 0) does nothing at all, so the flag would stay and the command lose its input.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
    Ok((above_stdio(reader)?, above_stdio(writer)?))
}

fn above_stdio(fd: OwnedFd) -> io::Result<OwnedFd> {
    use std::os::fd::{AsRawFd, FromRawFd};
    if fd.as_raw_fd() > STDERR_FILENO {
        return Ok(fd);
    }
    let copy = fcntl(&fd, FcntlArg::F_DUPFD_CLOEXEC(STDERR_FILENO + 1))?;
    // SAFETY: fcntl has just made this descriptor; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// The words of a command as exec(2) wants them.
fn argv(words: &[&str]) -> io::Result<Vec<CString>> {
    if words.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a command needs a program"));
    }
    // A NUL byte inside a word becomes InvalidInput.
    words.iter().map(|word| CString::new(*word).map_err(io::Error::from)).collect()
}

/// Starts a command with the given descriptors as its 0, 1 and 2 (`None`: the caller's), and returns when it
/// is executing its program.
///
/// How do we learn that exec failed, in another process, after the fork? By one more pipe, closed on exec: the
/// child writes the errno into it, or exec succeeds and closes it, which reads as the end of the stream.
fn start(command: &[CString], stdio: [Option<&OwnedFd>; 3]) -> io::Result<Pid> {
    let (failure, report) = pipe()?;
    // Made before the fork: afterwards the child must not allocate.
    let argv: Vec<*const libc::c_char> =
        command.iter().map(|word| word.as_ptr()).chain([std::ptr::null()]).collect();
    // SAFETY: between fork and exec the child calls only functions that are async-signal-safe
    // (signal-safety(7)): in the child of a process with threads, others may wait for a lock for ever.
    match unsafe { fork() }? {
        ForkResult::Child => {
            let errno = become_command(&argv, stdio);
            let _ = write_all(&report, &(errno as i32).to_ne_bytes());
            // SAFETY: ends this process without running the destructors and buffers it shares with its parent.
            unsafe { libc::_exit(127) }
        }
        ForkResult::Parent { child } => {
            drop(report);
            let mut errno = [0; 4];
            let outcome = match read_exact(&failure, &mut errno) {
                Ok(Filled::EndOfStream) => return Ok(child),
                Ok(Filled::Whole) => io::Error::from_raw_os_error(i32::from_ne_bytes(errno)),
                Err(error) => {
                    let _ = kill(child, Signal::SIGKILL);
                    error
                }
            };
            wait_for(child)?;
            Err(outcome)
        }
    }
}

/// Turns this process, fresh from fork, into the command; returns only the error that prevents it.
/// `argv` ends with a null pointer, as exec(2) wants it.
fn become_command(argv: &[*const libc::c_char], stdio: [Option<&OwnedFd>; 3]) -> Errno {
    use std::os::fd::AsRawFd;
    for (fd, target) in stdio.into_iter().zip([STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO]) {
        let Some(fd) = fd else { continue };
        // SAFETY: dup2 on descriptors of this process; `target` is 0, 1 or 2, which no OwnedFd here owns.
        let copied = uninterrupted(|| Errno::result(unsafe { libc::dup2(fd.as_raw_fd(), target) }));
        if let Err(errno) = copied {
            return errno;
        }
    }
    // SAFETY: SIG_DFL installs no function of ours.
    if let Err(errno) = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) } {
        return errno;
    }
    // SAFETY: the pointers are those of live C strings, and a null pointer ends them.
    unsafe { libc::execvp(argv[0], argv.as_ptr()) };
    Errno::last()
}

/// Waits for a child and says how it ended.
///
/// `libc::waitpid` rather than nix's: the latter has no name for real-time signals and loses the status of a
/// child that one of them killed.
fn wait_for(child: Pid) -> io::Result<Status> {
    let mut status = 0;
    // SAFETY: `status` is a valid place for the answer.
    uninterrupted(|| Errno::result(unsafe { libc::waitpid(child.as_raw(), &mut status, 0) }))?;
    // Without WUNTRACED and WCONTINUED waitpid reports nothing but these two ends.
    Ok(if libc::WIFSIGNALED(status) {
        Status::Signalled(libc::WTERMSIG(status))
    } else {
        Status::Exited(libc::WEXITSTATUS(status))
    })
}

/// Our ends of the pipes to a command; `None` once closed.
struct Streams {
    input: Option<OwnedFd>,
    outputs: [Option<OwnedFd>; 2],
}

impl Streams {
    /// Feeds `input` and collects both outputs until both have ended.
    fn serve(&mut self, input: &[u8]) -> io::Result<[Vec<u8>; 2]> {
        let mut rest = input;
        let mut collected = [Vec::new(), Vec::new()];
        while self.outputs.iter().any(Option::is_some) {
            if rest.is_empty() {
                // Closing it is the only way to say "end of file" on a pipe.
                self.input = None;
            }
            let ready = self.wait()?;
            if ready[0]
                && let Some(fd) = &self.input
            {
                match write(fd, rest) {
                    Ok(count) => rest = &rest[count..],
                    Err(Errno::EINTR | Errno::EAGAIN) => {}
                    // The command does not want the rest.
                    Err(Errno::EPIPE) => self.input = None,
                    Err(errno) => return Err(errno.into()),
                }
            }
            for (which, output) in self.outputs.iter_mut().enumerate() {
                let Some(fd) = output.as_ref().filter(|_| ready[1 + which]) else { continue };
                let mut piece = [0; 16 * 1024];
                match read(fd, &mut piece) {
                    Ok(0) => *output = None,
                    Ok(count) => collected[which].extend_from_slice(&piece[..count]),
                    Err(Errno::EINTR) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
        }
        Ok(collected)
    }

    /// Sleeps until something can be done; says which of input, output and errors.
    ///
    /// Only open ends are asked about: a closed one would be "ready" for ever, and the loop would spin.
    fn wait(&self) -> io::Result<[bool; 3]> {
        let ends = [&self.input, &self.outputs[0], &self.outputs[1]];
        let events = [PollFlags::POLLOUT, PollFlags::POLLIN, PollFlags::POLLIN];
        let open: Vec<(usize, BorrowedFd<'_>)> =
            (0..3).filter_map(|i| Some((i, ends[i].as_ref()?.as_fd()))).collect();
        let mut asked: Vec<PollFd<'_>> = open.iter().map(|&(i, fd)| PollFd::new(fd, events[i])).collect();
        uninterrupted(|| poll(&mut asked, PollTimeout::NONE))?;
        let mut ready = [false; 3];
        for (&(i, _), answer) in open.iter().zip(&asked) {
            // POLLHUP and POLLERR count too: the read or write that follows says what happened.
            ready[i] = answer.any().unwrap_or(true);
        }
        Ok(ready)
    }
}

fn must_be_fifo(about: &FileStat) -> io::Result<()> {
    if SFlag::from_bits_truncate(about.st_mode) & SFlag::S_IFMT == SFlag::S_IFIFO {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "not a FIFO"))
}

/// Opens a FIFO by name, closed on exec.
fn open_fifo(path: &Path, how: OFlag) -> nix::Result<OwnedFd> {
    uninterrupted(|| open(path, how | OFlag::O_CLOEXEC, Mode::empty()))
}
