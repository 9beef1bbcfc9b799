//! Pipes and FIFOs: byte streams between processes.
//!
//! The parts build on one idea: a pipe carries bytes, not messages. One `read` may return fewer bytes than
//! were asked for, one `write` may take fewer than were offered, either may be interrupted by a signal, and
//! the end of the stream comes only when *every* descriptor of the write end is closed.
//!
//! Each part is graded alone. You may build one part on another; you need not.
#![allow(unused, reason = "the stubs do not use their parameters yet")]

use std::io;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::path::Path;

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
    todo!(
        "read until the buffer is full; repeat after EINTR; tell an end at the boundary from an end in the middle"
    )
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
    todo!("write until every byte is taken; repeat after EINTR; return EPIPE as an error")
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
    todo!("refuse a payload above the limit; write its length as four big-endian bytes, then the payload")
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
    todo!("read the four bytes of the length, refuse it above the limit, then read exactly that many bytes")
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
    todo!("start every command with fork, dup2 and exec, close what is not used, wait for all of them")
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
    todo!("connect three pipes to the command and serve them together until both outputs have ended")
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
    // What the server keeps between calls is yours to choose.
    _yours: (),
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
        todo!("mkfifo, then open it so that neither this call nor a later read at zero writers misbehaves")
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
        todo!("read, cut at newlines, keep what is left over; go on when the last writer closes")
    }
}

impl Drop for LogServer {
    fn drop(&mut self) {
        // Remove the FIFO's name here. No `todo!` in this place: it would turn another panic into an abort.
    }
}

/// The writing side of a log, in any process that knows the path.
#[derive(Debug)]
pub struct Logger {
    // What the logger keeps between calls is yours to choose.
    _yours: (),
}

impl Logger {
    /// Connects to the log server at `path`.
    ///
    /// Never waits: when the FIFO exists and no server has it open, the answer is the error `ENXIO`, at once.
    /// No such name: [`io::ErrorKind::NotFound`]. Something there that is not a FIFO:
    /// [`io::ErrorKind::InvalidInput`], and it is not changed.
    pub fn connect(path: &Path) -> io::Result<Logger> {
        todo!(
            "open the FIFO for writing without waiting for a reader; later writes must wait when it is full"
        )
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
        todo!("refuse what cannot be one line in one write; send line and newline in one write")
    }
}
