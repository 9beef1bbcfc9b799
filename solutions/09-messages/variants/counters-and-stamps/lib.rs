//! Differs from the reference in its bookkeeping: a fresh connected socket for each direct message, the link count instead of
//! a second look at the name, time stamps for turns, a slot whose status counts up, cumulative acknowledgements, and SIGPIPE
//! blocked around write(2) instead of `MSG_NOSIGNAL`.
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

pub const MAX_MESSAGE: usize = 4000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    Forever,
    Never,
    For(Duration),
}

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

    fn left(self) -> Option<Duration> {
        match self {
            Limit::None => None,
            Limit::Now => Some(Duration::ZERO),
            Limit::At(end) => Some(end.saturating_duration_since(Instant::now())),
        }
    }

    fn check(self) -> io::Result<()> {
        match (self, self.left()) {
            (Limit::Now, _) => Err(ErrorKind::WouldBlock.into()),
            (_, Some(Duration::ZERO)) => Err(ErrorKind::TimedOut.into()),
            _ => Ok(()),
        }
    }
}

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

// Part 1: direct messages, from process to process

#[derive(Debug)]
pub struct Endpoint {
    socket: OwnedFd,
    directory: PathBuf,
    kept: VecDeque<(i32, Vec<u8>)>,
}

impl Endpoint {
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

    pub fn send(&self, to: i32, message: &[u8], wait: Wait) -> io::Result<()> {
        refuse_long(message)?;
        let limit = Limit::of(wait);
        let once = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        let lost = |errno| match errno {
            Errno::ECONNREFUSED | Errno::ECONNRESET | Errno::EPIPE => ErrorKind::BrokenPipe.into(),
            errno => io::Error::from(errno),
        };
        connect(once.as_raw_fd(), &UnixAddr::new(&self.name_of(to))?).map_err(lost)?;
        loop {
            match send(once.as_raw_fd(), message, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => sleep(&mut [PollFd::new(once.as_fd(), PollFlags::POLLOUT)], limit)?,
                Err(errno) => return Err(lost(errno)),
            }
        }
    }

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

// Part 2: mailboxes

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub sender: i32,
    pub bytes: Vec<u8>,
}

#[derive(Debug)]
pub struct Mailbox {
    fifo: File,
    path: PathBuf,
}

impl Mailbox {
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

    fn has_its_name(&self) -> bool {
        self.fifo.metadata().is_ok_and(|metadata| metadata.nlink() > 0)
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

#[derive(Debug)]
pub struct MailboxSet {
    mailboxes: Vec<Mailbox>,
    served: Vec<u64>,
    now: u64,
}

impl MailboxSet {
    pub fn new(mailboxes: Vec<Mailbox>) -> MailboxSet {
        MailboxSet { served: vec![0; mailboxes.len()], mailboxes, now: 0 }
    }

    pub fn receive(&mut self, wait: Wait) -> io::Result<(usize, Message)> {
        let count = self.mailboxes.len();
        if count == 0 {
            return Err(ErrorKind::InvalidInput.into());
        }
        let limit = Limit::of(wait);
        let mut never = Some(Limit::Now);
        loop {
            let mut fds: Vec<PollFd<'_>> = self
                .mailboxes
                .iter()
                .map(|mailbox| PollFd::new(mailbox.fifo.as_fd(), PollFlags::POLLIN))
                .collect();
            // A first look without waiting, so that `Never` finds what is there.
            let count = loop {
                match ppoll(
                    &mut fds,
                    never.map(|_| TimeSpec::from(Duration::ZERO)).or(limit.left().map(TimeSpec::from)),
                    None,
                ) {
                    Err(Errno::EINTR) => {}
                    count => break count?,
                }
            };
            if count == 0 && never.take().is_none() {
                limit.check()?;
            }
            let mut ready: Vec<usize> =
                (0..fds.len()).filter(|&place| fds[place].any() == Some(true)).collect();
            ready.sort_by_key(|&place| self.served[place]);
            for place in ready {
                match self.mailboxes[place].receive(Wait::Never) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                    Ok(message) => {
                        self.now += 1;
                        self.served[place] = self.now;
                        return Ok((place, message));
                    }
                }
            }
            if let Wait::Never = wait {
                return Err(ErrorKind::WouldBlock.into());
            }
        }
    }
}

pub const SLOT_BYTES: usize = 64;

#[repr(C)]
pub struct Slot {
    status: AtomicU32,
    length: UnsafeCell<u32>,
    data: UnsafeCell<[u8; SLOT_BYTES]>,
}

// SAFETY: yours to make true: `data` and `length` are touched only by the one process whose turn `status` says it is.
unsafe impl Sync for Slot {}

const EMPTY: u32 = 0;
const FULL: u32 = 2;

impl Slot {
    pub const fn new() -> Slot {
        Slot { status: AtomicU32::new(0), length: UnsafeCell::new(0), data: UnsafeCell::new([0; SLOT_BYTES]) }
    }

    pub fn put(&self, message: &[u8], wait: Wait) -> io::Result<()> {
        if message.len() > SLOT_BYTES {
            return Err(ErrorKind::InvalidInput.into());
        }
        let claimed = self.turn(EMPTY, wait)?;
        // SAFETY: `turn` has made us the only process that may touch `data` and `length`.
        unsafe {
            (&mut *self.data.get())[..message.len()].copy_from_slice(message);
            *self.length.get() = message.len() as u32;
        }
        self.hand_over(claimed);
        Ok(())
    }

    pub fn take(&self, wait: Wait) -> io::Result<Vec<u8>> {
        let claimed = self.turn(FULL, wait)?;
        // SAFETY: `turn` has made us the only process that may touch `data` and `length`.
        let message = unsafe { (&*self.data.get())[..*self.length.get() as usize].to_vec() };
        self.hand_over(claimed);
        Ok(message)
    }

    /// The status counts: its last two bits are empty, being filled, full, being emptied.
    fn turn(&self, phase: u32, wait: Wait) -> io::Result<u32> {
        let limit = Limit::of(wait);
        loop {
            let seen = self.status.load(Ordering::Acquire);
            let claimed = seen.wrapping_add(1);
            if seen % 4 != phase {
                limit.check()?;
                futex_wait(&self.status, seen, limit.left());
            } else if self.status.compare_exchange(seen, claimed, Ordering::AcqRel, Ordering::Relaxed).is_ok()
            {
                return Ok(claimed);
            }
        }
    }

    fn hand_over(&self, claimed: u32) {
        self.status.store(claimed.wrapping_add(1), Ordering::Release);
        futex_wake_all(&self.status);
    }
}

impl Default for Slot {
    fn default() -> Slot {
        Slot::new()
    }
}

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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capacity {
    Zero,
    Bounded(usize),
    Unbounded,
}

pub const MAX_CAPACITY: usize = 16;

#[derive(Debug)]
pub struct LinkSender {
    socket: OwnedFd,
    capacity: Capacity,
    sent: u32,
    acknowledged: u32,
    queue: VecDeque<Vec<u8>>,
}

impl LinkSender {
    pub fn new(socket: OwnedFd, capacity: Capacity) -> io::Result<LinkSender> {
        refuse_capacity(capacity)?;
        Ok(LinkSender { socket, capacity, sent: 0, acknowledged: 0, queue: VecDeque::new() })
    }

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
        self.sent += 1;
        self.wait_until_outstanding(after)
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.hand_on(Limit::None)
    }

    fn wait_until_outstanding(&mut self, most: usize) -> io::Result<()> {
        while (self.sent - self.acknowledged) as usize > most {
            let packet = receive_packet(&self.socket, Limit::None)?;
            self.acknowledged =
                packet.first_chunk().map_or(self.acknowledged, |all| u32::from_be_bytes(*all));
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
    fn drop(&mut self) {
        let _ = self.flush();
    }
}

#[derive(Debug)]
pub struct LinkReceiver {
    received: u32,
    socket: OwnedFd,
    capacity: Capacity,
}

impl LinkReceiver {
    pub fn new(socket: OwnedFd, capacity: Capacity) -> io::Result<LinkReceiver> {
        refuse_capacity(capacity)?;
        Ok(LinkReceiver { received: 0, socket, capacity })
    }

    pub fn receive(&mut self, wait: Wait) -> io::Result<Vec<u8>> {
        let packet = receive_packet(&self.socket, Limit::of(wait))?;
        if self.capacity != Capacity::Unbounded {
            // That the sender has gone takes nothing from its message.
            let _ = send_packet(&self.socket, &(self.received + 1).to_be_bytes(), b"", Limit::None);
        }
        self.received += 1;
        Ok(packet[1..].to_vec())
    }
}

fn refuse_capacity(capacity: Capacity) -> io::Result<()> {
    match capacity {
        Capacity::Bounded(1..=MAX_CAPACITY) | Capacity::Zero | Capacity::Unbounded => Ok(()),
        Capacity::Bounded(_) => Err(ErrorKind::InvalidInput.into()),
    }
}

// Part 4: flow control with N empties

pub const MAX_EMPTIES: usize = 16;

pub const ITEM: u8 = b'i';

pub const EMPTY_MESSAGE: u8 = b'e';

#[derive(Debug)]
pub struct Producer {
    link: OwnedFd,
    empties: usize,
}

impl Producer {
    pub fn new(link: OwnedFd) -> Producer {
        Producer { link, empties: 0 }
    }

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

#[derive(Debug)]
pub struct Consumer {
    link: OwnedFd,
}

impl Consumer {
    pub fn new(link: OwnedFd, empties: usize) -> io::Result<Consumer> {
        if !(1..=MAX_EMPTIES).contains(&empties) {
            return Err(ErrorKind::InvalidInput.into());
        }
        for _ in 0..empties {
            send_packet(&link, &[EMPTY_MESSAGE], b"", Limit::None)?;
        }
        Ok(Consumer { link })
    }

    pub fn receive(&mut self, wait: Wait) -> io::Result<Vec<u8>> {
        let packet = receive_packet(&self.link, Limit::of(wait))?;
        let Some((&ITEM, item)) = packet.split_first() else { return Err(ErrorKind::InvalidData.into()) };
        let _ = send_packet(&self.link, &[EMPTY_MESSAGE], b"", Limit::None);
        Ok(item.to_vec())
    }
}

// Part 5: request and reply

#[derive(Debug)]
pub struct RpcServer {
    listener: OwnedFd,
    path: PathBuf,
    clients: Vec<(u64, OwnedFd)>,
    now: u64,
}

impl RpcServer {
    pub fn bind(path: &Path) -> io::Result<RpcServer> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let listener = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
        bind(listener.as_raw_fd(), &UnixAddr::new(path)?)?;
        let server = RpcServer { listener, path: path.to_owned(), clients: Vec::new(), now: 0 };
        listen(&server.listener, Backlog::new(64)?)?;
        Ok(server)
    }

    pub fn serve(&mut self, wait: Wait, mut handler: impl FnMut(&[u8]) -> Vec<u8>) -> io::Result<()> {
        let limit = Limit::of(wait);
        loop {
            self.let_in()?;
            if let Some((client, request)) = self.next_request() {
                let (number, message) = request.split_at(8);
                let answer = handler(message);
                refuse_long(&answer)?;
                if send_packet(&self.clients[client].1, number, &answer, Limit::Now).is_err() {
                    drop(self.clients.remove(client));
                }
                return Ok(());
            }
            let readable = |fd| PollFd::new(OwnedFd::as_fd(fd), PollFlags::POLLIN);
            let clients = self.clients.iter().map(|(_, fd)| fd);
            let mut fds: Vec<PollFd<'_>> = clients.chain([&self.listener]).map(readable).collect();
            sleep(&mut fds, limit)?;
        }
    }

    fn let_in(&mut self) -> io::Result<()> {
        loop {
            match accept4(self.listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
                // SAFETY: the descriptor is fresh and nobody else's.
                Ok(fd) => self.clients.push((0, unsafe { OwnedFd::from_raw_fd(fd) })),
                Err(Errno::EAGAIN) => return Ok(()),
                Err(Errno::EINTR | Errno::ECONNABORTED) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn next_request(&mut self) -> Option<(usize, Vec<u8>)> {
        self.clients.sort_by_key(|(stamp, _)| *stamp);
        let mut client = 0;
        while client < self.clients.len() {
            match receive_packet(&self.clients[client].1, Limit::Now) {
                Ok(request) if (8..=8 + MAX_MESSAGE).contains(&request.len()) => {
                    self.now += 1;
                    self.clients[client].0 = self.now;
                    return Some((client, request));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => client += 1,
                Ok(_) | Err(_) => drop(self.clients.remove(client)),
            }
        }
        None
    }
}

impl Drop for RpcServer {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[derive(Debug)]
pub struct RpcClient {
    socket: OwnedFd,
    number: u64,
}

impl RpcClient {
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

    pub fn call(&mut self, request: &[u8], wait: Wait) -> io::Result<Vec<u8>> {
        refuse_long(request)?;
        let limit = Limit::of(wait);
        self.number = self.number.wrapping_sub(1);
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

// Part 6: a link that loses its peer

#[derive(Debug)]
pub struct StreamLink {
    stream: OwnedFd,
    pending: Vec<u8>,
}

impl StreamLink {
    pub fn new(stream: OwnedFd) -> StreamLink {
        StreamLink { stream, pending: Vec::new() }
    }

    pub fn send(&mut self, message: &[u8]) -> io::Result<()> {
        refuse_long(message)?;
        let frame = [&(message.len() as u32).to_be_bytes(), message].concat();
        let mut rest = &frame[..];
        while !rest.is_empty() {
            match write_without_signal(&self.stream, rest) {
                Ok(count) => rest = &rest[count..],
                Err(Errno::EINTR) => {}
                Err(Errno::EPIPE | Errno::ECONNRESET) => return Err(ErrorKind::BrokenPipe.into()),
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

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

/// write(2) with SIGPIPE blocked in this thread; one that this call has raised is taken back.
fn write_without_signal(fd: &OwnedFd, bytes: &[u8]) -> nix::Result<usize> {
    // SAFETY: the sets live until the calls return.
    unsafe {
        let (mut pipe, mut before, mut pending): (libc::sigset_t, libc::sigset_t, libc::sigset_t) =
            std::mem::zeroed();
        libc::sigemptyset(&raw mut pipe);
        libc::sigaddset(&raw mut pipe, libc::SIGPIPE);
        libc::sigpending(&raw mut pending);
        let was_pending = libc::sigismember(&raw const pending, libc::SIGPIPE) == 1;
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const pipe, &raw mut before);
        let result = nix::unistd::write(fd, bytes);
        if result == Err(Errno::EPIPE) && !was_pending {
            let none = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            libc::sigtimedwait(&raw const pipe, std::ptr::null_mut(), &raw const none);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut());
        result
    }
}
