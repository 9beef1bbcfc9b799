//! Differs from the reference in its means: the standard library's files, pipes and commands, a thread for each stream of a command,
//! and a FIFO that the server opens for reading and writing at once.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, ScopedJoinHandle};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

// ---- Part 1: whole transfers on descriptors that transfer what they like.

/// What [`read_exact`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filled {
    /// The buffer was filled to its last byte.
    Whole,
    /// The stream had ended before the first byte.
    EndOfStream,
}

/// The descriptor as a file of the standard library, by way of a copy.
fn file(fd: impl AsFd) -> io::Result<File> {
    fd.as_fd().try_clone_to_owned().map(File::from)
}

/// Reads until `buffer` is full.
///
/// The first byte is read by itself: whether there is one is what tells the two ends of a stream apart.
pub fn read_exact(fd: impl AsFd, buffer: &mut [u8]) -> io::Result<Filled> {
    let mut file = file(fd)?;
    let Some((first, rest)) = buffer.split_first_mut() else { return Ok(Filled::Whole) };
    match file.read_exact(std::slice::from_mut(first)) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(Filled::EndOfStream),
        first => first?,
    }
    file.read_exact(rest)?;
    Ok(Filled::Whole)
}

/// Writes all of `bytes`.
pub fn write_all(fd: impl AsFd, bytes: &[u8]) -> io::Result<()> {
    file(fd)?.write_all(bytes)
}

// ---- Part 2: messages on a byte stream.

/// Writes one frame: four bytes of length, most significant first, and the payload, as one buffer.
pub fn write_frame(fd: impl AsFd, payload: &[u8], limit: usize) -> io::Result<()> {
    let length = u32::try_from(payload.len()).ok().filter(|_| payload.len() <= limit);
    let length = length.ok_or(ErrorKind::InvalidInput)?;
    write_all(fd, &[&length.to_be_bytes(), payload].concat())
}

/// Reads one frame and returns its payload; `None` at the end of the stream. The payload grows with what arrives.
pub fn read_frame(fd: impl AsFd, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    let mut file = file(fd)?;
    (&mut file).take(4).read_to_end(&mut head)?;
    let length = match <[u8; 4]>::try_from(head) {
        Ok(head) => u32::from_be_bytes(head),
        Err(head) if head.is_empty() => return Ok(None),
        Err(_) => return Err(ErrorKind::UnexpectedEof.into()),
    };
    if usize::try_from(length).map_or(true, |length| length > limit) {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut payload = Vec::new();
    file.take(length.into()).read_to_end(&mut payload)?;
    if payload.len() < length as usize { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(Some(payload)) }
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

impl From<ExitStatus> for Status {
    fn from(status: ExitStatus) -> Status {
        match status.code() {
            Some(code) => Status::Exited(code),
            None => Status::Signalled(status.signal().unwrap_or_default()),
        }
    }
}

/// Runs the commands, connected by pipes, and waits for all of them.
pub fn pipeline(commands: &[&[&str]]) -> io::Result<Vec<Status>> {
    let mut prepared = commands.iter().map(|words| prepare(words)).collect::<io::Result<Vec<Command>>>()?;
    let mut started: Vec<Child> = Vec::new();
    let outcome = start_all(&mut prepared, &mut started);
    // The ends that went into a command are open until it is gone.
    drop(prepared);
    if outcome.is_err() {
        started.iter_mut().for_each(|child| drop(child.kill()));
    }
    let ended: Vec<io::Result<ExitStatus>> = started.iter_mut().map(Child::wait).collect();
    outcome?;
    ended.into_iter().map(|status| status.map(Status::from)).collect()
}

fn start_all(prepared: &mut [Command], started: &mut Vec<Child>) -> io::Result<()> {
    let last = prepared.len().saturating_sub(1);
    let mut input = None;
    for (place, command) in prepared.iter_mut().enumerate() {
        if let Some(input) = input.take() {
            command.stdin(Stdio::from(input));
        }
        if place < last {
            let (reader, writer) = pipe()?;
            command.stdout(Stdio::from(writer));
            input = Some(reader);
        }
        started.push(command.spawn()?);
        command.stdin(Stdio::null()).stdout(Stdio::null());
    }
    Ok(())
}

/// The command, not yet started; refused when it can be none.
fn prepare(words: &[&str]) -> io::Result<Command> {
    let (program, arguments) = words.split_first().ok_or(ErrorKind::InvalidInput)?;
    if words.iter().any(|word| word.contains('\0')) {
        return Err(ErrorKind::InvalidInput.into());
    }
    // The standard library restores the default of SIGPIPE in the command.
    let mut command = Command::new(program);
    command.args(arguments);
    Ok(command)
}

/// A pipe whose ends are none of the descriptors 0, 1 and 2.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer): (PipeReader, PipeWriter) = io::pipe()?;
    Ok((above_stdio(reader.into())?, above_stdio(writer.into())?))
}

fn above_stdio(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() > 2 {
        return Ok(fd);
    }
    // A copy that the standard library makes is never one of the three.
    fd.try_clone()
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

/// Runs one command and collects its outputs: two threads for input and errors, the caller's for the output.
pub fn capture(command: &[&str], input: &[u8]) -> io::Result<Captured> {
    let mut command = prepare(command)?;
    let (stdin, our_in) = pipe()?;
    let (our_out, stdout) = pipe()?;
    let (our_err, stderr) = pipe()?;
    let mut child = command.stdin(stdin).stdout(stdout).stderr(stderr).spawn()?;
    drop(command);
    let collected = thread::scope(|scope| -> io::Result<(Vec<u8>, Vec<u8>, ())> {
        let feeder = thread::Builder::new().spawn_scoped(scope, move || feed(our_in, input));
        let errors = thread::Builder::new().spawn_scoped(scope, move || collect(our_err));
        if feeder.is_err() || errors.is_err() {
            // Ends whatever the other thread waits for.
            let _ = child.kill();
        }
        let stdout = collect(our_out);
        Ok((stdout?, joined(errors?)?, joined(feeder?)?))
    });
    if collected.is_err() {
        let _ = child.kill();
    }
    let status = child.wait();
    let (stdout, stderr, ()) = collected?;
    Ok(Captured { stdout, stderr, status: status?.into() })
}

fn joined<T>(thread: ScopedJoinHandle<'_, io::Result<T>>) -> io::Result<T> {
    thread.join().map_err(|_| io::Error::other("a thread of `capture` panicked"))?
}

/// Writes the input and closes its pipe; a command that does not want it is none of our troubles.
fn feed(end: OwnedFd, input: &[u8]) -> io::Result<()> {
    match File::from(end).write_all(input) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        answer => answer,
    }
}

fn collect(end: OwnedFd) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    File::from(end).read_to_end(&mut all)?;
    Ok(all)
}

// ---- Part 5: a log server behind a name.

/// The longest line that goes through the FIFO in one piece, without its newline.
pub const MAX_LINE: usize = libc::PIPE_BUF - 1;

/// The reading side of a log.
#[derive(Debug)]
pub struct LogServer {
    path: PathBuf,
    /// The FIFO, open for reading and writing: the server is a writer itself, so its stream never ends.
    lines: BufReader<File>,
    /// The beginning of a line whose end has not come yet.
    begun: Vec<u8>,
}

impl LogServer {
    /// Makes the FIFO `path` and opens it.
    pub fn create(path: &Path) -> io::Result<LogServer> {
        mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR)?;
        // On Linux this neither waits nor fails when nobody else has the FIFO open (fifo(7)).
        match OpenOptions::new().read(true).write(true).open(path) {
            Ok(fifo) => {
                Ok(LogServer { path: path.to_owned(), lines: BufReader::new(fifo), begun: Vec::new() })
            }
            Err(error) => {
                let _ = fs::remove_file(path);
                Err(error)
            }
        }
    }

    /// Calls `on_line` with each line that arrives until it answers `Break`.
    pub fn serve(&mut self, mut on_line: impl FnMut(&[u8]) -> ControlFlow<()>) -> io::Result<()> {
        loop {
            self.lines.read_until(b'\n', &mut self.begun)?;
            let line = std::mem::take(&mut self.begun);
            let Some(line) = line.strip_suffix(b"\n") else {
                return Err(ErrorKind::UnexpectedEof.into());
            };
            if on_line(line).is_break() {
                return Ok(());
            }
        }
    }
}

impl Drop for LogServer {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// The writing side of a log.
#[derive(Debug)]
pub struct Logger {
    fifo: File,
}

impl Logger {
    /// Connects to the log server at `path`.
    pub fn connect(path: &Path) -> io::Result<Logger> {
        if !fs::metadata(path)?.file_type().is_fifo() {
            return Err(ErrorKind::InvalidInput.into());
        }
        let fifo = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        // The name may have changed hands in between.
        if !fifo.metadata()?.file_type().is_fifo() {
            return Err(ErrorKind::InvalidInput.into());
        }
        fcntl(&fifo, FcntlArg::F_SETFL(OFlag::empty()))?;
        Ok(Logger { fifo })
    }

    /// Sends one line.
    pub fn log(&self, line: &[u8]) -> io::Result<()> {
        if line.len() > MAX_LINE || line.contains(&b'\n') {
            return Err(ErrorKind::InvalidInput.into());
        }
        (&self.fifo).write_all(&[line, b"\n"].concat())
    }
}
