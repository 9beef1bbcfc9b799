//! Messages between processes: direct and by mailbox, with every kind of buffering and flow control.
//!
//! The parts are graded one by one, and none needs another. You may build one part on another; you need not.
//!
//! The same everywhere:
//!
//! - A message is 0 to [`MAX_MESSAGE`] bytes and arrives whole: never a piece of it, never two in one. An empty
//!   message is a message. To send a longer one is refused with [`io::ErrorKind::InvalidInput`], and nothing is sent.
//! - [`Wait`] says how long a call may wait. It waits asleep, not by asking again and again.
//! - `EINTR` is not an error, and does not begin the waiting time anew.
//! - *The other side is gone* is the error [`io::ErrorKind::BrokenPipe`], never the signal `SIGPIPE`, also where
//!   the program has left that signal at its default disposition (Rust's runtime ignores it; a library cannot rely
//!   on that). What the other side had sent before its end is received first.

use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, ErrorKind, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, UnixCredentials,
    accept4, bind, connect, listen, recv, recvmsg, send, sendto, setsockopt, socket, sockopt,
};
use nix::sys::stat::Mode;
use nix::sys::time::{TimeSpec, TimeVal};
use nix::unistd::mkfifo;

/// The longest message, in bytes.
pub const MAX_MESSAGE: usize = 4000;

/// How long a call may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Until it can be done (blocking, synchronous).
    Forever,
    /// Not at all: what cannot be done at once is the error [`io::ErrorKind::WouldBlock`] (non-blocking, asynchronous).
    Never,
    /// At most this long, then the error [`io::ErrorKind::TimedOut`]. The time is that of the whole call, on a clock that
    /// nobody sets ([`std::time::Instant`]); whatever happens meanwhile does not start it again. A call that fails
    /// in this way, or with `WouldBlock`, has changed nothing: its message is not sent, and none is lost.
    For(Duration),
}

/// When a call has to be back.
#[derive(Debug, Clone, Copy)]
enum Limit {
    None,
    Now,
    At(Instant),
}

impl Limit {
    fn of(wait: Wait) -> Limit {
        match wait {
            Wait::Forever => Limit::None,
            Wait::Never => Limit::Now,
            Wait::For(time) => Instant::now().checked_add(time).map_or(Limit::None, Limit::At),
        }
    }

    /// The time that is left; `None` is for ever.
    fn left(self) -> Option<Duration> {
        match self {
            Limit::None => None,
            Limit::Now => Some(Duration::ZERO),
            Limit::At(end) => Some(end.saturating_duration_since(Instant::now())),
        }
    }

    /// The error when there is none left.
    fn check(self) -> io::Result<()> {
        match (self, self.left()) {
            (Limit::Now, _) => Err(ErrorKind::WouldBlock.into()),
            (_, Some(Duration::ZERO)) => Err(ErrorKind::TimedOut.into()),
            _ => Ok(()),
        }
    }
}

/// Sleeps until one of the descriptors is ready.
fn sleep(fds: &mut [PollFd<'_>], limit: Limit) -> io::Result<()> {
    loop {
        limit.check()?;
        match ppoll(fds, limit.left().map(TimeSpec::from), None) {
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn sleep_until_readable(fd: &impl AsFd, limit: Limit) -> io::Result<()> {
    sleep(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], limit)
}

fn refuse_long(message: &[u8]) -> io::Result<()> {
    if message.len() > MAX_MESSAGE { Err(ErrorKind::InvalidInput.into()) } else { Ok(()) }
}

/// Receives one packet of a connected socket. Every packet has a header, so that 0 bytes can only be the end.
fn receive_packet(fd: &OwnedFd, limit: Limit) -> io::Result<Vec<u8>> {
    let mut packet = vec![0; MAX_MESSAGE + 9];
    loop {
        match recv(fd.as_raw_fd(), &mut packet, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => return Err(ErrorKind::BrokenPipe.into()),
            Ok(length) if length == packet.len() => return Err(ErrorKind::InvalidData.into()),
            Ok(length) => {
                packet.truncate(length);
                return Ok(packet);
            }
            Err(Errno::EAGAIN) => sleep_until_readable(fd, limit)?,
            // The peer left with something of ours unread. That is told once, and before what it had sent.
            Err(Errno::EINTR | Errno::ECONNRESET) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Sends one packet on a connected socket.
fn send_packet(fd: &OwnedFd, header: &[u8], message: &[u8], limit: Limit) -> io::Result<()> {
    let packet = [header, message].concat();
    loop {
        match send(fd.as_raw_fd(), &packet, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => sleep(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLOUT)], limit)?,
            Err(Errno::EPIPE | Errno::ECONNRESET) => return Err(ErrorKind::BrokenPipe.into()),
            Err(errno) => return Err(errno.into()),
        }
    }
}

// ---------------------------------------------------------------------------------------------------------
// Part 1: direct messages, from process to process
// ---------------------------------------------------------------------------------------------------------

/// The place at which a process receives what others send to its number.
///
/// It is a UNIX datagram socket whose name is the process number in decimal, in a directory that all agree on:
/// process 4711 receives at `directory/4711`. One process has one endpoint in a directory. Others may use the socket
/// in other ways than yours: its content is the message and nothing else.
///
/// Dropping the endpoint closes the socket and removes its name.
#[derive(Debug)]
pub struct Endpoint {
    socket: OwnedFd,
    directory: PathBuf,
    /// Messages that came while another process's was asked for, oldest first.
    kept: VecDeque<(i32, Vec<u8>)>,
}

impl Endpoint {
    /// Opens the calling process's endpoint in `directory`.
    ///
    /// A name that an earlier process of the same number has left behind is replaced. Errors are those of
    /// socket(2), setsockopt(2), bind(2).
    pub fn open(directory: &Path) -> io::Result<Endpoint> {
        let socket = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        // Before anybody can send: the kernel notes a sender only if it is asked to when the message is sent.
        setsockopt(&socket, sockopt::PassCred, &true)?;
        let endpoint = Endpoint { socket, directory: directory.to_owned(), kept: VecDeque::new() };
        let name = endpoint.name_of(std::process::id().cast_signed());
        let _ = fs::remove_file(&name);
        bind(endpoint.socket.as_raw_fd(), &UnixAddr::new(&name)?)?;
        Ok(endpoint)
    }

    /// Sends a message to the process `to`: "send(P, message)" of the notes. Returns when the kernel has the message in its
    /// buffer; the receiver need not have asked for it.
    ///
    /// The buffer is bounded (`net.unix.max_dgram_qlen` messages, 10 by default, see unix(7)). When it is full, the
    /// call waits as `wait` says.
    ///
    /// Errors: no such endpoint: [`io::ErrorKind::NotFound`]. The name is there, but the process behind it has ended,
    /// also while the call waits: [`io::ErrorKind::BrokenPipe`].
    ///
    /// Mind: for a datagram socket that is not connected, poll(2) says "writable" although the receiver's
    /// buffer is full. See `SO_SNDTIMEO` in socket(7), and `MSG_DONTWAIT` in send(2).
    pub fn send(&self, to: i32, message: &[u8], wait: Wait) -> io::Result<()> {
        refuse_long(message)?;
        let address = UnixAddr::new(&self.name_of(to))?;
        let limit = Limit::of(wait);
        loop {
            let mut flags = MsgFlags::MSG_NOSIGNAL;
            match limit.left() {
                None => setsockopt(&self.socket, sockopt::SendTimeout, &TimeVal::new(0, 0))?,
                Some(Duration::ZERO) => flags |= MsgFlags::MSG_DONTWAIT,
                // A timeout of 0 would mean: for ever.
                Some(left) => {
                    let micros = (left.as_micros() % 1_000_000) as i64;
                    let time = TimeVal::new(left.as_secs() as i64, micros.max(1));
                    setsockopt(&self.socket, sockopt::SendTimeout, &time)?;
                }
            }
            match sendto(self.socket.as_raw_fd(), message, &address, flags) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => limit.check()?,
                Err(Errno::ECONNREFUSED) => return Err(ErrorKind::BrokenPipe.into()),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Receives the next message of the process `from`: "receive(Q, message)" of the notes.
    ///
    /// Messages of other processes that arrive meanwhile are kept for later calls; of each process, messages are received
    /// in the order of its sending. Who sent a message is the kernel's word (`SO_PASSCRED` and `SCM_CREDENTIALS`,
    /// unix(7)), not what the sender's name says.
    ///
    /// When `from` has ended, or there is no such process, and no message of it is left:
    /// [`io::ErrorKind::BrokenPipe`], also while the call waits. A datagram socket does not tell; a descriptor of the
    /// process does (pidfd_open(2), poll(2)).
    ///
    /// A message above [`MAX_MESSAGE`] from somebody who does not keep to the limit is dropped whole:
    /// [`io::ErrorKind::InvalidData`].
    pub fn receive(&mut self, from: i32, wait: Wait) -> io::Result<Vec<u8>> {
        if let Some(place) = self.kept.iter().position(|(sender, _)| *sender == from) {
            return Ok(self.kept.remove(place).unwrap_or_default().1);
        }
        let limit = Limit::of(wait);
        let mut process = pidfd_open(from)?;
        loop {
            match self.arrived()? {
                Some((sender, message)) if sender == from => return Ok(message),
                Some(other) => self.kept.push_back(other),
                None => {
                    let Some(alive) = &process else { return Err(ErrorKind::BrokenPipe.into()) };
                    let mut fds =
                        [self.socket.as_fd(), alive.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
                    sleep(&mut fds, limit)?;
                    // Its last message was in the buffer before it ended: look there once more.
                    if fds[1].any() == Some(true) {
                        process = None;
                    }
                }
            }
        }
    }

    /// Receives the oldest message, whoever sent it, and tells who: "pid = receive(*, &message)" of the notes.
    ///
    /// Messages that [`receive`](Endpoint::receive) has kept come first. Errors as there, but for the end of a process: anybody
    /// may still send.
    pub fn receive_any(&mut self, wait: Wait) -> io::Result<(i32, Vec<u8>)> {
        if let Some(oldest) = self.kept.pop_front() {
            return Ok(oldest);
        }
        let limit = Limit::of(wait);
        loop {
            match self.arrived()? {
                Some(message) => return Ok(message),
                None => sleep_until_readable(&self.socket, limit)?,
            }
        }
    }

    fn name_of(&self, pid: i32) -> PathBuf {
        self.directory.join(pid.to_string())
    }

    /// The next message in the kernel's buffer, if there is one.
    fn arrived(&self) -> io::Result<Option<(i32, Vec<u8>)>> {
        let mut buffer = vec![0; MAX_MESSAGE];
        let mut space = cmsg_space!(UnixCredentials);
        let (length, sender) = loop {
            let mut parts = [IoSliceMut::new(&mut buffer)];
            let fd = self.socket.as_raw_fd();
            match recvmsg::<UnixAddr>(fd, &mut parts, Some(&mut space), MsgFlags::MSG_DONTWAIT) {
                Ok(got) if got.flags.contains(MsgFlags::MSG_TRUNC) => {
                    return Err(ErrorKind::InvalidData.into());
                }
                Ok(got) => {
                    let sender = got.cmsgs()?.find_map(|item| match item {
                        ControlMessageOwned::ScmCredentials(sender) => Some(sender.pid()),
                        _ => None,
                    });
                    break (got.bytes, sender.unwrap_or_default());
                }
                Err(Errno::EAGAIN) => return Ok(None),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        };
        buffer.truncate(length);
        Ok(Some((sender, buffer)))
    }
}

/// A descriptor that becomes readable when the process ends; `None` if there is no such process.
fn pidfd_open(pid: i32) -> io::Result<Option<OwnedFd>> {
    // SAFETY: takes a process number and flags; a new descriptor is close-on-exec.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    match Errno::result(fd) {
        // SAFETY: the descriptor is fresh and nobody else's.
        Ok(fd) => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd as i32) })),
        Err(Errno::ESRCH) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.name_of(std::process::id().cast_signed()));
    }
}

// ---------------------------------------------------------------------------------------------------------
// Part 2: mailboxes
// ---------------------------------------------------------------------------------------------------------

/// A message from a mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The process that sent it (its own word: the kernel keeps no sender in a pipe).
    pub sender: i32,
    /// What it sent.
    pub bytes: Vec<u8>,
}

/// A mailbox (port): a name in the file system at which any number of processes send and receive. Messages are indirect: a
/// sender names the mailbox, not the receiver.
///
/// - Each message goes to one receiver, whichever is first. Of one sender, a receiver gets messages in the order of sending.
/// - The mailbox holds a bounded number of messages, at least one and at most what a pipe of default size holds (64 KiB).
/// - The first process that opens it creates it; it is destroyed when the last one has left: its name is then gone.
/// - A user may be killed at any moment. Nobody else waits for it, what the others send and receive stays whole, and at most the
///   one message that it was just receiving is lost. Killed users do not keep the mailbox alive: when the last of
///   the others leaves, the name goes. (Only if the very last user is killed, the name stays, and the next one to
///   open it finds an empty mailbox.)
///
/// One way, with nothing but the kernel's buffer: a FIFO opened for reading and writing (fifo(7)), in packet mode
/// (`O_DIRECT` in pipe(2), to be set by fcntl(2) with `F_SETFL`), and a shared lock of flock(2) for each user.
/// A message and a header must go into one write of at most `PIPE_BUF` bytes.
///
/// Dropping it leaves the mailbox.
#[derive(Debug)]
pub struct Mailbox {
    fifo: File,
    path: PathBuf,
}

impl Mailbox {
    /// Opens the mailbox `path`, and creates it if there is none. Does not wait for another user.
    ///
    /// Something there that is no mailbox: [`io::ErrorKind::InvalidInput`], and it is left as it was. Other errors are
    /// those of the system calls.
    ///
    /// Mind two processes that meet here: one opens while another one, the last user, is just removing the name. Whoever
    /// opens the same name from now on must get the same mailbox.
    pub fn open(path: &Path) -> io::Result<Mailbox> {
        loop {
            match mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
            let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW;
            let fifo = match File::options().read(true).write(true).custom_flags(flags).open(path) {
                Ok(fifo) => fifo,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if !fifo.metadata()?.file_type().is_fifo() {
                return Err(ErrorKind::InvalidInput.into());
            }
            // One shared lock for each user: the kernel takes it back from those that are killed.
            while let Err(error) = fifo.lock_shared() {
                if error.kind() != ErrorKind::Interrupted {
                    return Err(error);
                }
            }
            let mailbox = Mailbox { fifo, path: path.to_owned() };
            if mailbox.has_its_name() {
                fcntl(&mailbox.fifo, FcntlArg::F_SETFL(OFlag::O_NONBLOCK | OFlag::O_DIRECT))?;
                return Ok(mailbox);
            }
            // The last user removed the name between our open and our lock.
        }
    }

    /// Puts a message into the mailbox; waits for room as long as `wait` says.
    pub fn send(&self, message: &[u8], wait: Wait) -> io::Result<()> {
        refuse_long(message)?;
        let packet = [&std::process::id().to_ne_bytes(), message].concat();
        let limit = Limit::of(wait);
        loop {
            match (&self.fifo).write(&packet) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    sleep(&mut [PollFd::new(self.fifo.as_fd(), PollFlags::POLLOUT)], limit)?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes the oldest message out of the mailbox; waits for one as long as `wait` says.
    ///
    /// That nobody else has the mailbox open is no error: somebody may still come.
    pub fn receive(&self, wait: Wait) -> io::Result<Message> {
        let limit = Limit::of(wait);
        let mut packet = [0; libc::PIPE_BUF];
        loop {
            match (&self.fifo).read(&mut packet) {
                Ok(length) => {
                    let (sender, bytes) =
                        packet[..length].split_first_chunk().ok_or(ErrorKind::InvalidData)?;
                    return Ok(Message { sender: i32::from_ne_bytes(*sender), bytes: bytes.to_vec() });
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    sleep_until_readable(&self.fifo, limit)?
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the name still leads to this FIFO.
    fn has_its_name(&self) -> bool {
        let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let named = fs::symlink_metadata(&self.path).ok().map(identity);
        named.is_some() && named == self.fifo.metadata().ok().map(identity)
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        // Turning the shared lock into an exclusive one succeeds for the last user only.
        if self.fifo.try_lock().is_ok() && self.has_its_name() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Several mailboxes from which one process receives at the same time (a port set).
#[derive(Debug)]
pub struct MailboxSet {
    mailboxes: Vec<Mailbox>,
    /// The mailbox whose turn it is.
    next: usize,
}

impl MailboxSet {
    /// A set of these mailboxes.
    pub fn new(mailboxes: Vec<Mailbox>) -> MailboxSet {
        MailboxSet { mailboxes, next: 0 }
    }

    /// Takes a message out of one of the mailboxes and tells which: its place in the vector. Waits until there is one in
    /// any of them, as long as `wait` says.
    ///
    /// Mailboxes in which messages wait are served in turn: between two messages of one, each other that is not empty
    /// is served once. An empty set: [`io::ErrorKind::InvalidInput`]. Another receiver of a mailbox may be
    /// faster; that is no error.
    pub fn receive(&mut self, wait: Wait) -> io::Result<(usize, Message)> {
        let count = self.mailboxes.len();
        if count == 0 {
            return Err(ErrorKind::InvalidInput.into());
        }
        let limit = Limit::of(wait);
        loop {
            for place in (self.next..count).chain(0..self.next) {
                match self.mailboxes[place].receive(Wait::Never) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                    Ok(message) => {
                        self.next = (place + 1) % count;
                        return Ok((place, message));
                    }
                }
            }
            let readable = |mailbox| PollFd::new(File::as_fd(mailbox), PollFlags::POLLIN);
            let mut fds: Vec<PollFd<'_>> =
                self.mailboxes.iter().map(|mailbox| readable(&mailbox.fifo)).collect();
            sleep(&mut fds, limit)?;
        }
    }
}

// ---------------------------------------------------------------------------------------------------------
// Part 3: buffering: one place, none, some, any number
// ---------------------------------------------------------------------------------------------------------

/// The longest message in a [`Slot`], in bytes.
pub const SLOT_BYTES: usize = 64;

/// The mailbox of the course notes with its two variables *data* and *status*: one place for one message, in memory that several
/// processes share. Any number of them may put and take.
///
/// [`Wait::Never`] waits for nobody, also not for a process that has been stopped in the middle of `put` or `take`: that is
/// `WouldBlock`.
///
/// It holds no pointers and is valid at any address; what waits in one process is woken from another. Who has to wait
/// sleeps in futex(2). The type of `status`, and what its values mean, are part of your design; change the fields if
/// you like.
#[repr(C)]
pub struct Slot {
    status: AtomicU32,
    length: UnsafeCell<u32>,
    data: UnsafeCell<[u8; SLOT_BYTES]>,
}

// SAFETY: yours to make true: `data` and `length` are touched only by the one process whose turn `status` says it is.
unsafe impl Sync for Slot {}

/// No message: whoever makes it `BUSY` may put one.
const EMPTY: u32 = 0;
/// Somebody is putting or taking.
const BUSY: u32 = 1;
/// A message: whoever makes it `BUSY` may take it.
const FULL: u32 = 2;

impl Slot {
    /// An empty slot.
    pub const fn new() -> Slot {
        Slot { status: AtomicU32::new(0), length: UnsafeCell::new(0), data: UnsafeCell::new([0; SLOT_BYTES]) }
    }

    /// Puts a message into the slot; while there is one in it, waits as `wait` says.
    ///
    /// More than [`SLOT_BYTES`] bytes: [`io::ErrorKind::InvalidInput`].
    pub fn put(&self, message: &[u8], wait: Wait) -> io::Result<()> {
        if message.len() > SLOT_BYTES {
            return Err(ErrorKind::InvalidInput.into());
        }
        self.turn(EMPTY, wait)?;
        // SAFETY: `turn` has made us the only process that may touch `data` and `length`.
        unsafe {
            (&mut *self.data.get())[..message.len()].copy_from_slice(message);
            *self.length.get() = message.len() as u32;
        }
        self.hand_over(FULL);
        Ok(())
    }

    /// Takes the message out of the slot; while there is none, waits as `wait` says. Each message is taken once.
    pub fn take(&self, wait: Wait) -> io::Result<Vec<u8>> {
        self.turn(FULL, wait)?;
        // SAFETY: `turn` has made us the only process that may touch `data` and `length`.
        let message = unsafe { (&*self.data.get())[..*self.length.get() as usize].to_vec() };
        self.hand_over(EMPTY);
        Ok(message)
    }

    /// Waits until the status is `wanted`, and makes it `BUSY`.
    fn turn(&self, wanted: u32, wait: Wait) -> io::Result<()> {
        let limit = Limit::of(wait);
        // Acquire: pairs with the Release in `hand_over`.
        while let Err(seen) = self.status.compare_exchange(wanted, BUSY, Ordering::Acquire, Ordering::Relaxed)
        {
            limit.check()?;
            futex_wait(&self.status, seen, limit.left());
        }
        Ok(())
    }

    fn hand_over(&self, status: u32) {
        // Release: what was copied is seen by whoever reads this status.
        self.status.store(status, Ordering::Release);
        // All: those that put and those that take sleep here, and only one kind can go on.
        futex_wake_all(&self.status);
    }
}

impl Default for Slot {
    fn default() -> Slot {
        Slot::new()
    }
}

/// Sleeps while the word is `seen`. May return for no reason.
fn futex_wait(word: &AtomicU32, seen: u32, time: Option<Duration>) {
    let time = time.map(TimeSpec::from);
    let time = time.as_ref().map_or(std::ptr::null(), |time| std::ptr::from_ref(time.as_ref()));
    // SAFETY: the word and the time outlive the call.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, seen, time) };
}

fn futex_wake_all(word: &AtomicU32) {
    // SAFETY: the word outlives the call.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
}

/// How many messages a link may hold that were sent and not yet received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capacity {
    /// None: the sender waits until the receiver has its message (rendezvous).
    Zero,
    /// At most so many, 1 to [`MAX_CAPACITY`]: the sender waits only when the link is full.
    Bounded(usize),
    /// Any number: the sender never waits.
    Unbounded,
}

/// The largest bounded capacity; so many messages of any size go into the kernel's buffer of a socket.
pub const MAX_CAPACITY: usize = 16;

/// The sending end of a link with one receiver.
///
/// Both ends get one socket of a connected pair (`SOCK_SEQPACKET`, unix(7)) and the same capacity; what goes to and fro
/// on it is your design. Nobody else uses the socket.
#[derive(Debug)]
pub struct LinkSender {
    socket: OwnedFd,
    capacity: Capacity,
    /// Messages sent and not yet acknowledged; counted only where the capacity is limited.
    outstanding: usize,
    /// Messages that the kernel had no room for; only where it is not.
    queue: VecDeque<Vec<u8>>,
}

impl LinkSender {
    /// A sender on `socket`. A bounded capacity of 0 or above [`MAX_CAPACITY`]: [`io::ErrorKind::InvalidInput`].
    pub fn new(socket: OwnedFd, capacity: Capacity) -> io::Result<LinkSender> {
        refuse_capacity(capacity)?;
        Ok(LinkSender { socket, capacity, outstanding: 0, queue: VecDeque::new() })
    }

    /// Sends a message. When it returns is the whole point:
    ///
    /// - [`Capacity::Zero`]: when the receiver's `receive` has taken this message;
    /// - [`Capacity::Bounded`]`(n)`: at once while fewer than `n` messages are on the link; otherwise when there is
    ///   room. On return at most `n` have been sent and not been received;
    /// - [`Capacity::Unbounded`]: at once, always. What the kernel's buffer does not take, and it is bounded, is kept in the
    ///   sender's own memory and handed on, in order, by later calls of `send` and by `flush`.
    ///
    /// The receiver has gone: [`io::ErrorKind::BrokenPipe`], also while the call waits.
    pub fn send(&mut self, message: &[u8]) -> io::Result<()> {
        refuse_long(message)?;
        let (before, after) = match self.capacity {
            Capacity::Zero => (0, 0),
            Capacity::Bounded(most) => (most - 1, most),
            Capacity::Unbounded => {
                self.queue.push_back(message.to_vec());
                return match self.hand_on(Limit::Now) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
                    result => result,
                };
            }
        };
        self.wait_until_outstanding(before)?;
        send_packet(&self.socket, b"m", message, Limit::None)?;
        self.outstanding += 1;
        self.wait_until_outstanding(after)
    }

    /// Waits until the kernel has taken every message that `send` left in the sender's memory. For the other capacities there
    /// is nothing to do. Errors as of `send`.
    pub fn flush(&mut self) -> io::Result<()> {
        self.hand_on(Limit::None)
    }

    fn wait_until_outstanding(&mut self, most: usize) -> io::Result<()> {
        while self.outstanding > most {
            receive_packet(&self.socket, Limit::None)?;
            self.outstanding -= 1;
        }
        Ok(())
    }

    fn hand_on(&mut self, limit: Limit) -> io::Result<()> {
        while let Some(message) = self.queue.front() {
            send_packet(&self.socket, b"m", message, limit)?;
            self.queue.pop_front();
        }
        Ok(())
    }
}

impl Drop for LinkSender {
    /// Waits as `flush` does; that the receiver has gone is no error here.
    fn drop(&mut self) {
        let _ = self.flush();
    }
}

/// The receiving end of a link.
#[derive(Debug)]
pub struct LinkReceiver {
    socket: OwnedFd,
    capacity: Capacity,
}

impl LinkReceiver {
    /// A receiver on `socket`, the other end of the pair. Errors as of [`LinkSender::new`].
    pub fn new(socket: OwnedFd, capacity: Capacity) -> io::Result<LinkReceiver> {
        refuse_capacity(capacity)?;
        Ok(LinkReceiver { socket, capacity })
    }

    /// Takes the next message off the link; waits for one as long as `wait` says.
    ///
    /// The sender has gone and everything is received: [`io::ErrorKind::BrokenPipe`]. The last messages are received
    /// although their sender is not there any more.
    pub fn receive(&mut self, wait: Wait) -> io::Result<Vec<u8>> {
        let packet = receive_packet(&self.socket, Limit::of(wait))?;
        if self.capacity != Capacity::Unbounded {
            // That the sender has gone takes nothing from its message.
            let _ = send_packet(&self.socket, b"a", b"", Limit::None);
        }
        Ok(packet[1..].to_vec())
    }
}

fn refuse_capacity(capacity: Capacity) -> io::Result<()> {
    match capacity {
        Capacity::Bounded(1..=MAX_CAPACITY) | Capacity::Zero | Capacity::Unbounded => Ok(()),
        Capacity::Bounded(_) => Err(ErrorKind::InvalidInput.into()),
    }
}

// ---------------------------------------------------------------------------------------------------------
// Part 4: flow control with N empties
// ---------------------------------------------------------------------------------------------------------

/// The largest number of empties.
pub const MAX_EMPTIES: usize = 16;

/// The first byte of a packet from producer to consumer; the item follows it.
pub const ITEM: u8 = b'i';

/// The packet from consumer to producer: this byte and no more. It allows one item.
pub const EMPTY_MESSAGE: u8 = b'e';

/// The producer of the notes' flow control: for each item that it sends, it has received an empty message.
///
/// The link is one end of a connected pair of `SOCK_SEQPACKET` sockets, or something that behaves like one and takes time.
/// Each item is one packet: [`ITEM`] and the item. Each empty is one packet of one byte: [`EMPTY_MESSAGE`].
#[derive(Debug)]
pub struct Producer {
    link: OwnedFd,
    empties: usize,
}

impl Producer {
    /// A producer that has no empties yet.
    pub fn new(link: OwnedFd) -> Producer {
        Producer { link, empties: 0 }
    }

    /// Sends an item. If no empty is left, waits for one as long as `wait` says.
    ///
    /// A call that fails uses up no empty, and one that comes after the timeout counts for the next call. Empties
    /// that nobody needed yet are not lost.
    ///
    /// The consumer has gone: [`io::ErrorKind::BrokenPipe`]. A packet that is no empty: [`io::ErrorKind::InvalidData`].
    pub fn send(&mut self, item: &[u8], wait: Wait) -> io::Result<()> {
        refuse_long(item)?;
        let limit = Limit::of(wait);
        while self.empties == 0 {
            if receive_packet(&self.link, limit)? != [EMPTY_MESSAGE] {
                return Err(ErrorKind::InvalidData.into());
            }
            self.empties += 1;
        }
        send_packet(&self.link, &[ITEM], item, Limit::None)?;
        self.empties -= 1;
        Ok(())
    }
}

/// The consumer of the notes' flow control: it allows N items before it has received one, and one more for each that it receives.
#[derive(Debug)]
pub struct Consumer {
    link: OwnedFd,
}

impl Consumer {
    /// A consumer that never has more than `empties` items on their way. Sends that many empties.
    ///
    /// 0, or more than [`MAX_EMPTIES`]: [`io::ErrorKind::InvalidInput`], and nothing is sent.
    pub fn new(link: OwnedFd, empties: usize) -> io::Result<Consumer> {
        if !(1..=MAX_EMPTIES).contains(&empties) {
            return Err(ErrorKind::InvalidInput.into());
        }
        for _ in 0..empties {
            send_packet(&link, &[EMPTY_MESSAGE], b"", Limit::None)?;
        }
        Ok(Consumer { link })
    }

    /// Receives the next item, waiting for it as long as `wait` says, and returns its empty to the producer: not before
    /// the item is here, and not later than this call returns.
    ///
    /// The producer has gone and every item is received: [`io::ErrorKind::BrokenPipe`]. The last items are received although
    /// nobody takes their empties any more.
    ///
    /// Mind: when a producer leaves empties unread, the kernel answers `ECONNRESET` to the consumer's next call, *before* the
    /// items that are still in the buffer; the call after that goes on as usual.
    ///
    /// A packet that is no item: [`io::ErrorKind::InvalidData`].
    pub fn receive(&mut self, wait: Wait) -> io::Result<Vec<u8>> {
        let packet = receive_packet(&self.link, Limit::of(wait))?;
        let Some((&ITEM, item)) = packet.split_first() else { return Err(ErrorKind::InvalidData.into()) };
        let _ = send_packet(&self.link, &[EMPTY_MESSAGE], b"", Limit::None);
        Ok(item.to_vec())
    }
}

// ---------------------------------------------------------------------------------------------------------
// Part 5: request and reply
// ---------------------------------------------------------------------------------------------------------

/// A server that answers requests of many clients, at a name in the file system.
///
/// The socket is `SOCK_SEQPACKET`, listening; each client has a connection. A request is one packet: a number of eight
/// bytes, most significant first, and the message. The reply is one packet: *the same number*, and the answer. A
/// client may send further requests before it has a reply.
///
/// Dropping the server closes its sockets and removes the name.
#[derive(Debug)]
pub struct RpcServer {
    listener: OwnedFd,
    path: PathBuf,
    clients: Vec<OwnedFd>,
    /// The client whose turn it is.
    next: usize,
}

impl RpcServer {
    /// Listens at `path`. A name that is taken: [`io::ErrorKind::AddrInUse`], and what has it is left alone.
    pub fn bind(path: &Path) -> io::Result<RpcServer> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let listener = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
        bind(listener.as_raw_fd(), &UnixAddr::new(path)?)?;
        let server = RpcServer { listener, path: path.to_owned(), clients: Vec::new(), next: 0 };
        listen(&server.listener, Backlog::new(64)?)?;
        Ok(server)
    }

    /// Answers one request with what `handler` makes of it. Waits for a request as long as `wait` says.
    ///
    /// - The reply goes to the client that asked, with the number of its request.
    /// - Clients that have a request waiting are served in turn: between two requests of one, each other is served once. New
    ///   clients are let in also while the old ones have requests.
    /// - A client that has gone is forgotten, its descriptor closed, at the latest when the server would sleep; its requests need not
    ///   be answered. One whose packet is shorter than a number, or longer than a number and [`MAX_MESSAGE`], is sent away.
    /// - The server never waits for a client that does not take its replies: it sends that client away. That a client has gone when the reply comes is not
    ///   an error; the call then counts as an answer.
    ///
    /// An answer longer than [`MAX_MESSAGE`]: [`io::ErrorKind::InvalidInput`].
    pub fn serve(&mut self, wait: Wait, mut handler: impl FnMut(&[u8]) -> Vec<u8>) -> io::Result<()> {
        let limit = Limit::of(wait);
        loop {
            self.let_in()?;
            if let Some((client, request)) = self.next_request() {
                let (number, message) = request.split_at(8);
                let answer = handler(message);
                refuse_long(&answer)?;
                if send_packet(&self.clients[client], number, &answer, Limit::Now).is_err() {
                    self.forget(client);
                }
                return Ok(());
            }
            let readable = |fd| PollFd::new(OwnedFd::as_fd(fd), PollFlags::POLLIN);
            let mut fds: Vec<PollFd<'_>> =
                self.clients.iter().chain([&self.listener]).map(readable).collect();
            sleep(&mut fds, limit)?;
        }
    }

    fn let_in(&mut self) -> io::Result<()> {
        loop {
            match accept4(self.listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
                // SAFETY: the descriptor is fresh and nobody else's.
                Ok(fd) => self.clients.push(unsafe { OwnedFd::from_raw_fd(fd) }),
                Err(Errno::EAGAIN) => return Ok(()),
                Err(Errno::EINTR | Errno::ECONNABORTED) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// The next request that waits, and the place of its client.
    fn next_request(&mut self) -> Option<(usize, Vec<u8>)> {
        let mut looked_at = 0;
        while looked_at < self.clients.len() {
            let client = self.next % self.clients.len();
            match receive_packet(&self.clients[client], Limit::Now) {
                Ok(request) if (8..=8 + MAX_MESSAGE).contains(&request.len()) => {
                    self.next = client + 1;
                    return Some((client, request));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.next = client + 1;
                    looked_at += 1;
                }
                Ok(_) | Err(_) => {
                    self.next = client;
                    self.forget(client);
                }
            }
        }
        None
    }

    /// Closes the connection; the next client moves up.
    fn forget(&mut self, client: usize) {
        self.clients.remove(client);
        if self.next > client {
            self.next -= 1;
        }
    }
}

impl Drop for RpcServer {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// A client of an [`RpcServer`].
#[derive(Debug)]
pub struct RpcClient {
    socket: OwnedFd,
    /// The number of the last request.
    number: u64,
}

impl RpcClient {
    /// Connects to the server at `path`. Errors are those of connect(2): [`io::ErrorKind::NotFound`], or
    /// [`io::ErrorKind::ConnectionRefused`] when nobody listens there any more.
    pub fn connect(path: &Path) -> io::Result<RpcClient> {
        let socket = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
        let address = UnixAddr::new(path)?;
        loop {
            match connect(socket.as_raw_fd(), &address) {
                Ok(()) => return Ok(RpcClient { socket, number: 0 }),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Sends a request and waits for its reply, both together as long as `wait` says.
    ///
    /// The reply to *this* request: one that comes with another number is the late answer to a call that has timed out, and is
    /// dropped. Dropping it does not start the waiting time again. Each call uses another number.
    ///
    /// With [`Wait::Never`] or a timeout the request may have been sent, and may be carried out: whoever asks again asks twice.
    ///
    /// The server has gone: [`io::ErrorKind::BrokenPipe`], unless the reply had come before. A packet shorter than a
    /// number: [`io::ErrorKind::InvalidData`].
    pub fn call(&mut self, request: &[u8], wait: Wait) -> io::Result<Vec<u8>> {
        refuse_long(request)?;
        let limit = Limit::of(wait);
        self.number += 1;
        let number = self.number.to_be_bytes();
        send_packet(&self.socket, &number, request, limit)?;
        loop {
            let packet = receive_packet(&self.socket, limit)?;
            let (of, answer) = packet.split_first_chunk().ok_or(ErrorKind::InvalidData)?;
            if *of == number {
                return Ok(answer.to_vec());
            }
            limit.check()?;
        }
    }
}

// ---------------------------------------------------------------------------------------------------------
// Part 6: a link that loses its peer
// ---------------------------------------------------------------------------------------------------------

/// Messages in both directions on a connected stream socket, until the peer is gone.
///
/// A stream has no boundaries (lab 03): a message is its length, as four bytes, most significant first, and its bytes.
/// Either process may be killed at any moment, also in the middle of a message; the other one gets an error, soon,
/// and goes on with its life.
#[derive(Debug)]
pub struct StreamLink {
    stream: OwnedFd,
    /// What has been read and not yet returned: perhaps a part of a message.
    pending: Vec<u8>,
}

impl StreamLink {
    /// A link on a connected, blocking stream socket.
    pub fn new(stream: OwnedFd) -> StreamLink {
        StreamLink { stream, pending: Vec::new() }
    }

    /// Sends a message; waits for room. `EINTR` and short transfers lose nothing.
    ///
    /// The peer is gone: [`io::ErrorKind::BrokenPipe`], also while the call waits, and never `SIGPIPE`
    /// (`MSG_NOSIGNAL` in send(2)).
    pub fn send(&mut self, message: &[u8]) -> io::Result<()> {
        refuse_long(message)?;
        let frame = [&(message.len() as u32).to_be_bytes(), message].concat();
        let mut rest = &frame[..];
        while !rest.is_empty() {
            match send(self.stream.as_raw_fd(), rest, MsgFlags::MSG_NOSIGNAL) {
                Ok(count) => rest = &rest[count..],
                Err(Errno::EINTR) => {}
                Err(Errno::EPIPE | Errno::ECONNRESET) => return Err(ErrorKind::BrokenPipe.into()),
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Receives the next message; waits for all of it as long as `wait` says.
    ///
    /// - When the time is over in the middle of a message, the part that has come is kept for the next call.
    /// - The peer is gone, and everything is received: [`io::ErrorKind::BrokenPipe`]. It makes no difference whether it closed
    ///   the link, was killed, or left messages of ours unread (`ECONNRESET`).
    /// - The peer is gone in the middle of a message: [`io::ErrorKind::UnexpectedEof`]. A part is not a message.
    /// - A length above [`MAX_MESSAGE`]: [`io::ErrorKind::InvalidData`].
    pub fn receive(&mut self, wait: Wait) -> io::Result<Vec<u8>> {
        let limit = Limit::of(wait);
        loop {
            if let Some((length, rest)) = self.pending.split_first_chunk() {
                let length = u32::from_be_bytes(*length) as usize;
                if length > MAX_MESSAGE {
                    return Err(ErrorKind::InvalidData.into());
                }
                if rest.len() >= length {
                    let message = rest[..length].to_vec();
                    self.pending.drain(..4 + length);
                    return Ok(message);
                }
            }
            let mut piece = [0; 4096];
            match recv(self.stream.as_raw_fd(), &mut piece, MsgFlags::MSG_DONTWAIT) {
                Ok(0) | Err(Errno::ECONNRESET) if self.pending.is_empty() => {
                    return Err(ErrorKind::BrokenPipe.into());
                }
                Ok(0) | Err(Errno::ECONNRESET) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.pending.extend_from_slice(&piece[..count]),
                Err(Errno::EAGAIN) => sleep_until_readable(&self.stream, limit)?,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}
