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
#![allow(unused, reason = "the stubs do not use their parameters yet")]

use std::cell::UnsafeCell;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

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
    // What the endpoint keeps between calls is yours to choose.
    _yours: (),
}

impl Endpoint {
    /// Opens the calling process's endpoint in `directory`.
    ///
    /// A name that an earlier process of the same number has left behind is replaced. Errors are those of
    /// socket(2), setsockopt(2), bind(2).
    pub fn open(directory: &Path) -> io::Result<Endpoint> {
        todo!(
            "bind a datagram socket to the process number in `directory`; ask for the senders' credentials first"
        )
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
        todo!("send one datagram to the socket named `to`; wait for room as long as told")
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
        todo!(
            "return the oldest message of `from`; keep what others send; end with BrokenPipe when `from` has ended"
        )
    }

    /// Receives the oldest message, whoever sent it, and tells who: "pid = receive(*, &message)" of the notes.
    ///
    /// Messages that [`receive`](Endpoint::receive) has kept come first. Errors as there, but for the end of a process: anybody
    /// may still send.
    pub fn receive_any(&mut self, wait: Wait) -> io::Result<(i32, Vec<u8>)> {
        todo!("return the oldest kept message, else the next one from the socket, and its sender")
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        // Remove the socket's name here. No `todo!` in this place: it would turn another panic into an abort.
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
    // What the mailbox keeps between calls is yours to choose.
    _yours: (),
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
        todo!(
            "make the name if there is none, open it, count yourself in, and make sure that the name is still that of what you opened"
        )
    }

    /// Puts a message into the mailbox; waits for room as long as `wait` says.
    pub fn send(&self, message: &[u8], wait: Wait) -> io::Result<()> {
        todo!("put your process number and the message into the mailbox in one piece")
    }

    /// Takes the oldest message out of the mailbox; waits for one as long as `wait` says.
    ///
    /// That nobody else has the mailbox open is no error: somebody may still come.
    pub fn receive(&self, wait: Wait) -> io::Result<Message> {
        todo!("take one message out of the mailbox; another receiver may be faster")
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        // Remove the name here if this was the last user. No `todo!` in this place.
    }
}

/// Several mailboxes from which one process receives at the same time (a port set).
#[derive(Debug)]
pub struct MailboxSet {
    // What the set keeps between calls is yours to choose.
    _yours: (),
}

impl MailboxSet {
    /// A set of these mailboxes.
    pub fn new(mailboxes: Vec<Mailbox>) -> MailboxSet {
        todo!("keep the mailboxes, and whose turn it is")
    }

    /// Takes a message out of one of the mailboxes and tells which: its place in the vector. Waits until there is one in
    /// any of them, as long as `wait` says.
    ///
    /// Mailboxes in which messages wait are served in turn: between two messages of one, each other that is not empty
    /// is served once. An empty set: [`io::ErrorKind::InvalidInput`]. Another receiver of a mailbox may be
    /// faster; that is no error.
    pub fn receive(&mut self, wait: Wait) -> io::Result<(usize, Message)> {
        todo!(
            "look into each mailbox in turn, beginning behind the one served last; sleep until one of them is readable"
        )
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

impl Slot {
    /// An empty slot.
    pub const fn new() -> Slot {
        Slot { status: AtomicU32::new(0), length: UnsafeCell::new(0), data: UnsafeCell::new([0; SLOT_BYTES]) }
    }

    /// Puts a message into the slot; while there is one in it, waits as `wait` says.
    ///
    /// More than [`SLOT_BYTES`] bytes: [`io::ErrorKind::InvalidInput`].
    pub fn put(&self, message: &[u8], wait: Wait) -> io::Result<()> {
        todo!("wait until the slot is empty, copy the message into it, and only then say that it is full")
    }

    /// Takes the message out of the slot; while there is none, waits as `wait` says. Each message is taken once.
    pub fn take(&self, wait: Wait) -> io::Result<Vec<u8>> {
        todo!("wait until the slot is full, copy the message out of it, and only then say that it is empty")
    }
}

impl Default for Slot {
    fn default() -> Slot {
        Slot::new()
    }
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
    // What the sender keeps between calls is yours to choose.
    _yours: (),
}

impl LinkSender {
    /// A sender on `socket`. A bounded capacity of 0 or above [`MAX_CAPACITY`]: [`io::ErrorKind::InvalidInput`].
    pub fn new(socket: OwnedFd, capacity: Capacity) -> io::Result<LinkSender> {
        todo!("refuse a capacity out of range and keep the socket")
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
        todo!("send the message, and wait for as many acknowledgements as the capacity asks for")
    }

    /// Waits until the kernel has taken every message that `send` left in the sender's memory. For the other capacities there
    /// is nothing to do. Errors as of `send`.
    pub fn flush(&mut self) -> io::Result<()> {
        todo!("hand every message that is still here to the kernel, waiting for room")
    }
}

impl Drop for LinkSender {
    /// Waits as `flush` does; that the receiver has gone is no error here.
    fn drop(&mut self) {
        // Flush here, and ignore an error. No `todo!` in this place.
    }
}

/// The receiving end of a link.
#[derive(Debug)]
pub struct LinkReceiver {
    // What the receiver keeps between calls is yours to choose.
    _yours: (),
}

impl LinkReceiver {
    /// A receiver on `socket`, the other end of the pair. Errors as of [`LinkSender::new`].
    pub fn new(socket: OwnedFd, capacity: Capacity) -> io::Result<LinkReceiver> {
        todo!("refuse a capacity out of range and keep the socket")
    }

    /// Takes the next message off the link; waits for one as long as `wait` says.
    ///
    /// The sender has gone and everything is received: [`io::ErrorKind::BrokenPipe`]. The last messages are received
    /// although their sender is not there any more.
    pub fn receive(&mut self, wait: Wait) -> io::Result<Vec<u8>> {
        todo!("take the next message and tell the sender so if it counts")
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
    // What the producer keeps between calls is yours to choose.
    _yours: (),
}

impl Producer {
    /// A producer that has no empties yet.
    pub fn new(link: OwnedFd) -> Producer {
        todo!("keep the link; no item may be sent yet")
    }

    /// Sends an item. If no empty is left, waits for one as long as `wait` says.
    ///
    /// A call that fails uses up no empty, and one that comes after the timeout counts for the next call. Empties
    /// that nobody needed yet are not lost.
    ///
    /// The consumer has gone: [`io::ErrorKind::BrokenPipe`]. A packet that is no empty: [`io::ErrorKind::InvalidData`].
    pub fn send(&mut self, item: &[u8], wait: Wait) -> io::Result<()> {
        todo!("take one empty, waiting for it if there is none, and send the item")
    }
}

/// The consumer of the notes' flow control: it allows N items before it has received one, and one more for each that it receives.
#[derive(Debug)]
pub struct Consumer {
    // What the consumer keeps between calls is yours to choose.
    _yours: (),
}

impl Consumer {
    /// A consumer that never has more than `empties` items on their way. Sends that many empties.
    ///
    /// 0, or more than [`MAX_EMPTIES`]: [`io::ErrorKind::InvalidInput`], and nothing is sent.
    pub fn new(link: OwnedFd, empties: usize) -> io::Result<Consumer> {
        todo!("send the first empties, as many as may be on their way")
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
        todo!(
            "receive an item, then send an empty; a producer that has gone takes nothing from its last items"
        )
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
    // What the server keeps between calls is yours to choose.
    _yours: (),
}

impl RpcServer {
    /// Listens at `path`. A name that is taken: [`io::ErrorKind::AddrInUse`], and what has it is left alone.
    pub fn bind(path: &Path) -> io::Result<RpcServer> {
        todo!("bind a listening SOCK_SEQPACKET socket to `path`")
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
        todo!("let new clients in, take the next request in turn, answer it with its number")
    }
}

impl Drop for RpcServer {
    fn drop(&mut self) {
        // Remove the name here. No `todo!` in this place.
    }
}

/// A client of an [`RpcServer`].
#[derive(Debug)]
pub struct RpcClient {
    // What the client keeps between calls is yours to choose.
    _yours: (),
}

impl RpcClient {
    /// Connects to the server at `path`. Errors are those of connect(2): [`io::ErrorKind::NotFound`], or
    /// [`io::ErrorKind::ConnectionRefused`] when nobody listens there any more.
    pub fn connect(path: &Path) -> io::Result<RpcClient> {
        todo!("connect a SOCK_SEQPACKET socket to `path`")
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
        todo!("send the request with a new number, and receive until the reply has that number")
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
    // What the link keeps between calls is yours to choose.
    _yours: (),
}

impl StreamLink {
    /// A link on a connected, blocking stream socket.
    pub fn new(stream: OwnedFd) -> StreamLink {
        todo!("keep the socket")
    }

    /// Sends a message; waits for room. `EINTR` and short transfers lose nothing.
    ///
    /// The peer is gone: [`io::ErrorKind::BrokenPipe`], also while the call waits, and never `SIGPIPE`
    /// (`MSG_NOSIGNAL` in send(2)).
    pub fn send(&mut self, message: &[u8]) -> io::Result<()> {
        todo!("send length and message, all of it; get EPIPE without the signal")
    }

    /// Receives the next message; waits for all of it as long as `wait` says.
    ///
    /// - When the time is over in the middle of a message, the part that has come is kept for the next call.
    /// - The peer is gone, and everything is received: [`io::ErrorKind::BrokenPipe`]. It makes no difference whether it closed
    ///   the link, was killed, or left messages of ours unread (`ECONNRESET`).
    /// - The peer is gone in the middle of a message: [`io::ErrorKind::UnexpectedEof`]. A part is not a message.
    /// - A length above [`MAX_MESSAGE`]: [`io::ErrorKind::InvalidData`].
    pub fn receive(&mut self, wait: Wait) -> io::Result<Vec<u8>> {
        todo!(
            "collect bytes until a whole message is there; keep the rest; tell an end between messages from one inside"
        )
    }
}
