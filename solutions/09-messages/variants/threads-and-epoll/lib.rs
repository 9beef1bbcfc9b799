//! Differs from the reference in its means: socket timeouts instead of ppoll, no pidfd but a look at `/proc` now and then,
//! fixed-size records in the FIFO, a sequence number beside the slot's status, permits instead of acknowledgements, a thread
//! that empties the unbounded queue, epoll in the set and the server, exact reads on the stream.

use std::cell::UnsafeCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub const MAX_MESSAGE: usize = 4000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    Forever,
    Never,
    For(Duration),
}

fn last_error() -> io::Error {
    io::Error::last_os_error()
}

fn gone() -> io::Error {
    ErrorKind::BrokenPipe.into()
}

fn fits(message: &[u8]) -> io::Result<()> {
    if message.len() <= MAX_MESSAGE {
        Ok(())
    } else {
        Err(io::Error::new(ErrorKind::InvalidInput, "too long"))
    }
}

/// The time of one call.
struct Clock {
    wait: Wait,
    start: Instant,
}

impl Clock {
    fn start(wait: Wait) -> Clock {
        Clock { wait, start: Instant::now() }
    }

    /// What is left: `None` for ever.
    fn left(&self) -> io::Result<Option<Duration>> {
        match self.wait {
            Wait::Forever => Ok(None),
            Wait::Never => Err(ErrorKind::WouldBlock.into()),
            Wait::For(time) => match time.checked_sub(self.start.elapsed()) {
                Some(left) if !left.is_zero() => Ok(Some(left)),
                _ => Err(ErrorKind::TimedOut.into()),
            },
        }
    }
}

/// Sets SO_RCVTIMEO or SO_SNDTIMEO.
fn set_timeout(fd: RawFd, option: i32, time: Option<Duration>) {
    let time = time.unwrap_or_default();
    let mut value = libc::timeval { tv_sec: time.as_secs() as i64, tv_usec: i64::from(time.subsec_micros()) };
    if !time.is_zero() && value.tv_sec == 0 && value.tv_usec == 0 {
        value.tv_usec = 1;
    }
    let size = mem::size_of_val(&value) as u32;
    // SAFETY: the value is valid for its size.
    unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, option, (&raw const value).cast(), size) };
}

/// `recv` that waits by the socket's own timeout.
fn recv_in_time(fd: RawFd, buffer: &mut [u8], clock: &Clock) -> io::Result<usize> {
    loop {
        // SAFETY: the buffer is valid for its length.
        let count = unsafe {
            libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT | libc::MSG_TRUNC)
        };
        if count >= 0 {
            return Ok(count as usize);
        }
        match last_error().raw_os_error() {
            Some(libc::EAGAIN) => {}
            Some(libc::EINTR | libc::ECONNRESET) => continue,
            _ => return Err(last_error()),
        }
        set_timeout(fd, libc::SO_RCVTIMEO, clock.left()?);
        // SAFETY: peeks into one byte of our own.
        let mut byte = 0u8;
        unsafe { libc::recv(fd, (&raw mut byte).cast(), 1, libc::MSG_PEEK) };
    }
}

/// `sendmsg` of two parts, that waits by the socket's own timeout.
fn send_in_time(fd: RawFd, head: &[u8], body: &[u8], clock: &Clock) -> io::Result<usize> {
    let mut flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    loop {
        let mut parts = [head, body]
            .map(|part| libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() });
        // SAFETY: all zeros is a valid header.
        let mut header: libc::msghdr = unsafe { mem::zeroed() };
        header.msg_iov = parts.as_mut_ptr();
        header.msg_iovlen = 2;
        // SAFETY: header and parts live until the call returns.
        let count = unsafe { libc::sendmsg(fd, &raw const header, flags) };
        if count >= 0 {
            return Ok(count as usize);
        }
        match last_error().raw_os_error() {
            Some(libc::EAGAIN) => {
                set_timeout(fd, libc::SO_SNDTIMEO, clock.left()?);
                flags = libc::MSG_NOSIGNAL;
            }
            Some(libc::EINTR) => {}
            Some(libc::EPIPE | libc::ECONNRESET) => return Err(gone()),
            _ => return Err(last_error()),
        }
    }
}

/// One packet; every packet has a first byte.
fn packet_in_time(fd: RawFd, clock: &Clock) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; MAX_MESSAGE + 8];
    match recv_in_time(fd, &mut buffer, clock)? {
        0 => Err(gone()),
        length if length > buffer.len() => Err(ErrorKind::InvalidData.into()),
        length => {
            buffer.truncate(length);
            Ok(buffer)
        }
    }
}

fn address_of(path: &Path) -> io::Result<(libc::sockaddr_un, u32)> {
    use std::os::unix::ffi::OsStrExt;
    // SAFETY: all zeros is a valid address.
    let mut address: libc::sockaddr_un = unsafe { mem::zeroed() };
    address.sun_family = libc::AF_UNIX as u16;
    let bytes = path.as_os_str().as_bytes();
    if bytes.len() >= address.sun_path.len() {
        return Err(ErrorKind::InvalidInput.into());
    }
    for (place, byte) in address.sun_path.iter_mut().zip(bytes) {
        *place = *byte as i8;
    }
    Ok((address, (2 + bytes.len() + 1) as u32))
}

fn new_socket(kind: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only.
    let fd = unsafe { libc::socket(libc::AF_UNIX, kind | libc::SOCK_CLOEXEC, 0) };
    // SAFETY: on success the descriptor is ours alone.
    if fd < 0 { Err(last_error()) } else { Ok(unsafe { OwnedFd::from_raw_fd(fd) }) }
}

fn bind_to(socket: &OwnedFd, path: &Path) -> io::Result<()> {
    let (address, length) = address_of(path)?;
    // SAFETY: the address is valid for its length.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if result < 0 { Err(last_error()) } else { Ok(()) }
}

fn connect_to(socket: &OwnedFd, path: &Path) -> io::Result<()> {
    let (address, length) = address_of(path)?;
    loop {
        // SAFETY: the address is valid for its length.
        if unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), length) } == 0 {
            return Ok(());
        }
        if last_error().kind() != ErrorKind::Interrupted {
            return Err(last_error());
        }
    }
}

// Part 1

#[derive(Debug)]
pub struct Endpoint {
    socket: OwnedFd,
    directory: PathBuf,
    by_sender: BTreeMap<i32, VecDeque<(u64, Vec<u8>)>>,
    arrivals: u64,
}

impl Endpoint {
    pub fn open(directory: &Path) -> io::Result<Endpoint> {
        let socket = new_socket(libc::SOCK_DGRAM)?;
        let on = 1i32;
        // SAFETY: the option's value is valid for its size.
        let set = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PASSCRED,
                (&raw const on).cast(),
                4,
            )
        };
        if set < 0 {
            return Err(last_error());
        }
        let name = directory.join(std::process::id().to_string());
        let _ = fs::remove_file(&name);
        bind_to(&socket, &name)?;
        Ok(Endpoint { socket, directory: directory.to_owned(), by_sender: BTreeMap::new(), arrivals: 0 })
    }

    /// A socket of its own for each message, connected: for those, poll knows the receiver's buffer.
    pub fn send(&self, to: i32, message: &[u8], wait: Wait) -> io::Result<()> {
        fits(message)?;
        let clock = Clock::start(wait);
        let once = new_socket(libc::SOCK_DGRAM)?;
        let name = self.directory.join(to.to_string());
        connect_to(&once, &name).map_err(|error| match error.kind() {
            ErrorKind::ConnectionRefused => gone(),
            _ => error,
        })?;
        loop {
            // SAFETY: the message is valid for its length.
            let sent = unsafe {
                libc::send(
                    once.as_raw_fd(),
                    message.as_ptr().cast(),
                    message.len(),
                    libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
                )
            };
            if sent >= 0 {
                return Ok(());
            }
            match last_error().raw_os_error() {
                Some(libc::EAGAIN) => poll_one(once.as_raw_fd(), libc::POLLOUT, clock.left()?),
                Some(libc::EINTR) => {}
                Some(libc::ECONNREFUSED | libc::ECONNRESET | libc::EPIPE) => return Err(gone()),
                _ => return Err(last_error()),
            }
        }
    }

    pub fn receive(&mut self, from: i32, wait: Wait) -> io::Result<Vec<u8>> {
        let clock = Clock::start(wait);
        loop {
            let dead = has_ended(from);
            self.take_in()?;
            if let Some((_, message)) = self.by_sender.get_mut(&from).and_then(VecDeque::pop_front) {
                return Ok(message);
            }
            if dead {
                return Err(gone());
            }
            let slice = Duration::from_millis(5);
            let nap = clock.left()?.map_or(slice, |left| left.min(slice));
            poll_one(self.socket.as_raw_fd(), libc::POLLIN, Some(nap));
        }
    }

    pub fn receive_any(&mut self, wait: Wait) -> io::Result<(i32, Vec<u8>)> {
        let clock = Clock::start(wait);
        loop {
            self.take_in()?;
            let fronts = self.by_sender.iter().filter_map(|(&pid, all)| Some((all.front()?.0, pid)));
            if let Some((_, pid)) = fronts.min() {
                let message = self.by_sender.get_mut(&pid).and_then(VecDeque::pop_front);
                return Ok((pid, message.map(|(_, message)| message).unwrap_or_default()));
            }
            poll_one(self.socket.as_raw_fd(), libc::POLLIN, clock.left()?);
        }
    }

    /// Takes one message out of the kernel's buffer, if there is one: a long one is an error of the call that meets it.
    fn take_in(&mut self) -> io::Result<()> {
        if self.by_sender.values().any(|all| !all.is_empty()) && !self.readable() {
            return Ok(());
        }
        while self.readable() {
            let mut buffer = vec![0u8; MAX_MESSAGE];
            let mut control = [0u64; 8];
            let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
            // SAFETY: all zeros is a valid header.
            let mut header: libc::msghdr = unsafe { mem::zeroed() };
            header.msg_iov = &raw mut part;
            header.msg_iovlen = 1;
            header.msg_control = control.as_mut_ptr().cast();
            header.msg_controllen = mem::size_of_val(&control);
            // SAFETY: header, part, buffer and control live until the call returns.
            let length =
                unsafe { libc::recvmsg(self.socket.as_raw_fd(), &raw mut header, libc::MSG_DONTWAIT) };
            if length < 0 {
                match last_error().raw_os_error() {
                    Some(libc::EINTR) => continue,
                    Some(libc::EAGAIN) => return Ok(()),
                    _ => return Err(last_error()),
                }
            }
            if header.msg_flags & libc::MSG_TRUNC != 0 {
                return Err(ErrorKind::InvalidData.into());
            }
            let mut sender = 0;
            // SAFETY: the kernel has filled the control buffer as the header says.
            unsafe {
                let item = libc::CMSG_FIRSTHDR(&raw const header);
                if !item.is_null() && (*item).cmsg_type == libc::SCM_CREDENTIALS {
                    sender = libc::CMSG_DATA(item).cast::<libc::ucred>().read_unaligned().pid;
                }
            }
            buffer.truncate(length as usize);
            self.arrivals += 1;
            self.by_sender.entry(sender).or_default().push_back((self.arrivals, buffer));
        }
        Ok(())
    }

    fn readable(&self) -> bool {
        let mut one = libc::pollfd { fd: self.socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one descriptor, valid for the call.
        loop {
            match unsafe { libc::poll(&raw mut one, 1, 0) } {
                -1 if last_error().kind() == ErrorKind::Interrupted => {}
                count => return count > 0,
            }
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.directory.join(std::process::id().to_string()));
    }
}

/// Whether there is no such process, or a zombie only.
fn has_ended(pid: i32) -> bool {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(line) => line.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['Z', 'X'])),
        Err(error) => error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH),
    }
}

fn poll_one(fd: RawFd, events: i16, time: Option<Duration>) {
    let mut one = libc::pollfd { fd, events, revents: 0 };
    let milliseconds = time.map_or(-1, |time| time.as_micros().div_ceil(1000) as i32);
    // SAFETY: one descriptor, valid for the call.
    unsafe { libc::poll(&raw mut one, 1, milliseconds) };
}

// Part 2

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub sender: i32,
    pub bytes: Vec<u8>,
}

/// A record fills a page of the pipe: sender, length, message, zeros.
const RECORD: usize = libc::PIPE_BUF;

#[derive(Debug)]
pub struct Mailbox {
    fifo: File,
    path: PathBuf,
}

impl Mailbox {
    pub fn open(path: &Path) -> io::Result<Mailbox> {
        use nix::sys::stat::Mode;
        loop {
            if let Ok(there) = fs::symlink_metadata(path) {
                if !there.file_type().is_fifo() {
                    return Err(ErrorKind::InvalidInput.into());
                }
            } else if let Err(errno) = nix::unistd::mkfifo(path, Mode::from_bits_truncate(0o600)) {
                if errno != nix::errno::Errno::EEXIST {
                    return Err(errno.into());
                }
            }
            let opened = File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path);
            let fifo = match opened {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                opened => opened?,
            };
            // SAFETY: takes a descriptor and a number.
            while unsafe { libc::flock(fifo.as_raw_fd(), libc::LOCK_SH) } < 0 {
                if last_error().kind() != ErrorKind::Interrupted {
                    return Err(last_error());
                }
            }
            if fs::metadata(path)
                .is_ok_and(|named| fifo.metadata().is_ok_and(|mine| mine.ino() == named.ino()))
            {
                return Ok(Mailbox { fifo, path: path.to_owned() });
            }
        }
    }

    pub fn send(&self, message: &[u8], wait: Wait) -> io::Result<()> {
        fits(message)?;
        let clock = Clock::start(wait);
        let mut record = [0; RECORD];
        record[..4].copy_from_slice(&std::process::id().to_be_bytes());
        record[4..8].copy_from_slice(&(message.len() as u32).to_be_bytes());
        record[8..8 + message.len()].copy_from_slice(message);
        loop {
            match (&self.fifo).write(&record) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    poll_one(self.fifo.as_raw_fd(), libc::POLLOUT, clock.left()?);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub fn receive(&self, wait: Wait) -> io::Result<Message> {
        let clock = Clock::start(wait);
        let mut record = [0; RECORD];
        loop {
            match (&self.fifo).read(&mut record) {
                Ok(_) => {
                    let number = |at: usize| {
                        record[at..at + 4].iter().fold(0u32, |all, &byte| all << 8 | u32::from(byte))
                    };
                    let bytes = record[8..8 + number(4) as usize].to_vec();
                    return Ok(Message { sender: number(0) as i32, bytes });
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    poll_one(self.fifo.as_raw_fd(), libc::POLLIN, clock.left()?);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        // SAFETY: takes a descriptor and a number.
        if unsafe { libc::flock(self.fifo.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Those that were served go to the end of the line.
#[derive(Debug)]
pub struct MailboxSet {
    line: VecDeque<(usize, Mailbox)>,
    epoll: OwnedFd,
}

fn new_epoll() -> OwnedFd {
    // SAFETY: takes a flag; the descriptor is ours alone.
    unsafe { OwnedFd::from_raw_fd(libc::epoll_create1(libc::EPOLL_CLOEXEC)) }
}

fn epoll_add(epoll: &OwnedFd, fd: RawFd) {
    let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: fd as u64 };
    // SAFETY: the event is valid for the call.
    unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event) };
}

fn epoll_sleep(epoll: &OwnedFd, time: Option<Duration>) {
    let mut event = libc::epoll_event { events: 0, u64: 0 };
    let milliseconds = time.map_or(-1, |time| time.as_micros().div_ceil(1000) as i32);
    // SAFETY: room for one event.
    unsafe { libc::epoll_wait(epoll.as_raw_fd(), &raw mut event, 1, milliseconds) };
}

impl MailboxSet {
    pub fn new(mailboxes: Vec<Mailbox>) -> MailboxSet {
        let epoll = new_epoll();
        mailboxes.iter().for_each(|mailbox| epoll_add(&epoll, mailbox.fifo.as_raw_fd()));
        MailboxSet { line: mailboxes.into_iter().enumerate().collect(), epoll }
    }

    pub fn receive(&mut self, wait: Wait) -> io::Result<(usize, Message)> {
        if self.line.is_empty() {
            return Err(ErrorKind::InvalidInput.into());
        }
        let clock = Clock::start(wait);
        loop {
            for at in 0..self.line.len() {
                match self.line[at].1.receive(Wait::Never) {
                    Ok(message) => {
                        let served = self.line.remove(at).ok_or(ErrorKind::Other)?;
                        let place = served.0;
                        self.line.push_back(served);
                        return Ok((place, message));
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
            epoll_sleep(&self.epoll, clock.left()?);
        }
    }
}

// Part 3

pub const SLOT_BYTES: usize = 64;

/// `status` is 0 empty, 1 full, and 2 more while somebody copies; `changes` counts, and is what sleepers sleep on.
#[repr(C)]
pub struct Slot {
    status: AtomicU32,
    changes: AtomicU32,
    content: UnsafeCell<(u8, [u8; SLOT_BYTES])>,
}

// SAFETY: whoever has set bit 1 of the status is the only one to touch the content.
unsafe impl Sync for Slot {}

impl Slot {
    pub const fn new() -> Slot {
        Slot {
            status: AtomicU32::new(0),
            changes: AtomicU32::new(0),
            content: UnsafeCell::new((0, [0; SLOT_BYTES])),
        }
    }

    fn claim(&self, wanted: u32, wait: Wait) -> io::Result<()> {
        let clock = Clock::start(wait);
        loop {
            let changes = self.changes.load(Ordering::SeqCst);
            if self.status.compare_exchange(wanted, wanted | 2, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                return Ok(());
            }
            let left = clock.left()?;
            let time = left.map(|left| libc::timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: i64::from(left.subsec_nanos()),
            });
            let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
            // SAFETY: word and time outlive the call.
            unsafe { libc::syscall(libc::SYS_futex, self.changes.as_ptr(), libc::FUTEX_WAIT, changes, time) };
        }
    }

    fn release(&self, status: u32) {
        self.status.store(status, Ordering::SeqCst);
        self.changes.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the word outlives the call.
        unsafe { libc::syscall(libc::SYS_futex, self.changes.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
    }

    pub fn put(&self, message: &[u8], wait: Wait) -> io::Result<()> {
        if message.len() > SLOT_BYTES {
            return Err(ErrorKind::InvalidInput.into());
        }
        self.claim(0, wait)?;
        // SAFETY: claimed.
        let content = unsafe { &mut *self.content.get() };
        content.0 = message.len() as u8;
        content.1[..message.len()].copy_from_slice(message);
        self.release(1);
        Ok(())
    }

    pub fn take(&self, wait: Wait) -> io::Result<Vec<u8>> {
        self.claim(1, wait)?;
        // SAFETY: claimed.
        let content = unsafe { &*self.content.get() };
        let message = content.1[..usize::from(content.0)].to_vec();
        self.release(0);
        Ok(message)
    }
}

impl Default for Slot {
    fn default() -> Slot {
        Slot::new()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capacity {
    Zero,
    Bounded(usize),
    Unbounded,
}

pub const MAX_CAPACITY: usize = 16;

fn permits(capacity: Capacity) -> io::Result<usize> {
    match capacity {
        Capacity::Zero | Capacity::Unbounded => Ok(0),
        Capacity::Bounded(count) if count > 0 && count <= MAX_CAPACITY => Ok(count),
        Capacity::Bounded(_) => Err(ErrorKind::InvalidInput.into()),
    }
}

/// What the sender's thread has still to do.
#[derive(Debug, Default)]
struct Outbox {
    queue: VecDeque<Vec<u8>>,
    busy: bool,
    closed: bool,
    lost: bool,
}

type Shared = Arc<(Mutex<Outbox>, Condvar)>;

#[derive(Debug)]
pub struct LinkSender {
    socket: Arc<OwnedFd>,
    capacity: Capacity,
    permits: usize,
    thread: Option<(Shared, JoinHandle<()>)>,
}

impl LinkSender {
    pub fn new(socket: OwnedFd, capacity: Capacity) -> io::Result<LinkSender> {
        let permits = permits(capacity)?;
        Ok(LinkSender { socket: Arc::new(socket), capacity, permits, thread: None })
    }

    pub fn send(&mut self, message: &[u8]) -> io::Result<()> {
        fits(message)?;
        let clock = Clock::start(Wait::Forever);
        let fd = self.socket.as_raw_fd();
        match self.capacity {
            Capacity::Zero => {
                send_in_time(fd, b"0", message, &clock)?;
                packet_in_time(fd, &clock).map(drop)
            }
            Capacity::Bounded(_) => {
                while self.permits == 0 {
                    packet_in_time(fd, &clock)?;
                    self.permits += 1;
                }
                send_in_time(fd, b"0", message, &clock)?;
                self.permits -= 1;
                Ok(())
            }
            Capacity::Unbounded => {
                let socket = Arc::clone(&self.socket);
                let (shared, _) = self.thread.get_or_insert_with(|| {
                    let shared = Shared::default();
                    let theirs = Arc::clone(&shared);
                    (shared, std::thread::spawn(move || carry(&socket, &theirs)))
                });
                let mut outbox = shared.0.lock().map_err(|_| ErrorKind::Other)?;
                if outbox.lost {
                    return Err(gone());
                }
                outbox.queue.push_back(message.to_vec());
                shared.1.notify_all();
                Ok(())
            }
        }
    }

    pub fn flush(&mut self) -> io::Result<()> {
        let Some((shared, _)) = &self.thread else { return Ok(()) };
        let mut outbox = shared.0.lock().map_err(|_| ErrorKind::Other)?;
        while !outbox.lost && (outbox.busy || !outbox.queue.is_empty()) {
            outbox = shared.1.wait(outbox).map_err(|_| ErrorKind::Other)?;
        }
        if outbox.lost { Err(gone()) } else { Ok(()) }
    }
}

/// The life of the thread that hands messages to the kernel.
fn carry(socket: &OwnedFd, shared: &Shared) {
    let Ok(mut outbox) = shared.0.lock() else { return };
    loop {
        if let Some(message) = outbox.queue.pop_front() {
            outbox.busy = true;
            drop(outbox);
            let sent = send_in_time(socket.as_raw_fd(), b"0", &message, &Clock::start(Wait::Forever));
            let Ok(again) = shared.0.lock() else { return };
            outbox = again;
            outbox.busy = false;
            outbox.lost |= sent.is_err();
            shared.1.notify_all();
        } else if outbox.closed {
            return;
        } else {
            let Ok(again) = shared.1.wait(outbox) else { return };
            outbox = again;
        }
        if outbox.lost {
            return;
        }
    }
}

impl Drop for LinkSender {
    fn drop(&mut self) {
        if let Some((shared, thread)) = self.thread.take() {
            if let Ok(mut outbox) = shared.0.lock() {
                outbox.closed = true;
            }
            shared.1.notify_all();
            let _ = thread.join();
        }
    }
}

#[derive(Debug)]
pub struct LinkReceiver {
    socket: OwnedFd,
    capacity: Capacity,
}

impl LinkReceiver {
    pub fn new(socket: OwnedFd, capacity: Capacity) -> io::Result<LinkReceiver> {
        permits(capacity)?;
        Ok(LinkReceiver { socket, capacity })
    }

    pub fn receive(&mut self, wait: Wait) -> io::Result<Vec<u8>> {
        let fd = self.socket.as_raw_fd();
        let mut packet = packet_in_time(fd, &Clock::start(wait))?;
        if self.capacity != Capacity::Unbounded {
            let _ = send_in_time(fd, b"+", b"", &Clock::start(Wait::Forever));
        }
        packet.remove(0);
        Ok(packet)
    }
}

// Part 4

pub const MAX_EMPTIES: usize = 16;
pub const ITEM: u8 = b'i';
pub const EMPTY_MESSAGE: u8 = b'e';

/// Takes in all empties that have come before it looks whether there are any.
#[derive(Debug)]
pub struct Producer {
    link: OwnedFd,
    received: u64,
    sent: u64,
}

impl Producer {
    pub fn new(link: OwnedFd) -> Producer {
        Producer { link, received: 0, sent: 0 }
    }

    fn empty(&mut self, clock: &Clock) -> io::Result<()> {
        match packet_in_time(self.link.as_raw_fd(), clock)?.as_slice() {
            [EMPTY_MESSAGE] => {
                self.received += 1;
                Ok(())
            }
            _ => Err(ErrorKind::InvalidData.into()),
        }
    }

    pub fn send(&mut self, item: &[u8], wait: Wait) -> io::Result<()> {
        fits(item)?;
        let clock = Clock::start(wait);
        let now = Clock::start(Wait::Never);
        loop {
            match self.empty(&now) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if self.received == self.sent {
            self.empty(&clock)?;
        }
        send_in_time(self.link.as_raw_fd(), &[ITEM], item, &Clock::start(Wait::Forever))?;
        self.sent += 1;
        Ok(())
    }
}

#[derive(Debug)]
pub struct Consumer {
    link: OwnedFd,
}

impl Consumer {
    pub fn new(link: OwnedFd, empties: usize) -> io::Result<Consumer> {
        if empties == 0 || empties > MAX_EMPTIES {
            return Err(ErrorKind::InvalidInput.into());
        }
        let consumer = Consumer { link };
        (0..empties).for_each(|_| consumer.send_empty());
        Ok(consumer)
    }

    fn send_empty(&self) {
        let _ = send_in_time(self.link.as_raw_fd(), &[EMPTY_MESSAGE], b"", &Clock::start(Wait::Forever));
    }

    pub fn receive(&mut self, wait: Wait) -> io::Result<Vec<u8>> {
        let mut item = packet_in_time(self.link.as_raw_fd(), &Clock::start(wait))?;
        if item.remove(0) != ITEM {
            return Err(ErrorKind::InvalidData.into());
        }
        self.send_empty();
        Ok(item)
    }
}

// Part 5

/// Clients by descriptor, and the line in which they are served.
#[derive(Debug)]
pub struct RpcServer {
    listener: OwnedFd,
    path: PathBuf,
    epoll: OwnedFd,
    clients: HashMap<RawFd, OwnedFd>,
    line: VecDeque<RawFd>,
}

impl RpcServer {
    pub fn bind(path: &Path) -> io::Result<RpcServer> {
        let listener = new_socket(libc::SOCK_SEQPACKET | libc::SOCK_NONBLOCK)?;
        bind_to(&listener, path)?;
        // SAFETY: takes a descriptor and a number.
        if unsafe { libc::listen(listener.as_raw_fd(), 128) } < 0 {
            return Err(last_error());
        }
        let epoll = new_epoll();
        epoll_add(&epoll, listener.as_raw_fd());
        Ok(RpcServer {
            listener,
            path: path.to_owned(),
            epoll,
            clients: HashMap::new(),
            line: VecDeque::new(),
        })
    }

    pub fn serve(&mut self, wait: Wait, mut handler: impl FnMut(&[u8]) -> Vec<u8>) -> io::Result<()> {
        let clock = Clock::start(wait);
        let now = Clock::start(Wait::Never);
        loop {
            loop {
                // SAFETY: no address is asked for.
                let fd = unsafe {
                    libc::accept4(
                        self.listener.as_raw_fd(),
                        std::ptr::null_mut(),
                        std::ptr::null_mut(),
                        libc::SOCK_CLOEXEC,
                    )
                };
                if fd >= 0 {
                    // SAFETY: the descriptor is ours alone.
                    self.clients.insert(fd, unsafe { OwnedFd::from_raw_fd(fd) });
                    epoll_add(&self.epoll, fd);
                    // A new client comes first.
                    self.line.push_front(fd);
                } else if last_error().kind() == ErrorKind::WouldBlock {
                    break;
                } else if last_error().kind() != ErrorKind::Interrupted {
                    return Err(last_error());
                }
            }
            for at in 0..self.line.len() {
                let Some(&fd) = self.line.get(at) else { break };
                match packet_in_time(fd, &now) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Ok(request) if request.len() >= 8 => {
                        self.line.remove(at);
                        self.line.push_back(fd);
                        let answer = handler(&request[8..]);
                        fits(&answer)?;
                        if send_in_time(fd, &request[..8], &answer, &now).is_err() {
                            self.line.pop_back();
                            self.clients.remove(&fd);
                        }
                        return Ok(());
                    }
                    _ => drop(self.clients.remove(&fd)),
                }
            }
            let clients = &self.clients;
            self.line.retain(|fd| clients.contains_key(fd));
            epoll_sleep(&self.epoll, clock.left()?);
        }
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
    next: u64,
}

impl RpcClient {
    pub fn connect(path: &Path) -> io::Result<RpcClient> {
        let socket = new_socket(libc::SOCK_SEQPACKET)?;
        connect_to(&socket, path)?;
        Ok(RpcClient { socket, next: u64::from(std::process::id()) << 32 })
    }

    pub fn call(&mut self, request: &[u8], wait: Wait) -> io::Result<Vec<u8>> {
        fits(request)?;
        let clock = Clock::start(wait);
        let number = self.next.to_be_bytes();
        self.next += 1;
        send_in_time(self.socket.as_raw_fd(), &number, request, &clock)?;
        loop {
            let mut reply = packet_in_time(self.socket.as_raw_fd(), &clock)?;
            if reply.len() < 8 {
                return Err(ErrorKind::InvalidData.into());
            }
            let answer = reply.split_off(8);
            if reply == number {
                return Ok(answer);
            }
            if matches!(wait, Wait::For(_)) {
                clock.left()?;
            }
        }
    }
}

// Part 6

/// Reads exactly what the message at hand still lacks, never more.
#[derive(Debug)]
pub struct StreamLink {
    stream: UnixStream,
    frame: Vec<u8>,
}

impl StreamLink {
    pub fn new(stream: OwnedFd) -> StreamLink {
        StreamLink { stream: stream.into(), frame: Vec::new() }
    }

    pub fn send(&mut self, message: &[u8]) -> io::Result<()> {
        fits(message)?;
        let clock = Clock::start(Wait::Forever);
        let head = (message.len() as u32).to_be_bytes();
        let mut done = 0;
        while done < 4 + message.len() {
            let (head, body) = (&head[done.min(4)..], &message[done.saturating_sub(4)..]);
            done += send_in_time(self.stream.as_raw_fd(), head, body, &clock)?;
        }
        Ok(())
    }

    pub fn receive(&mut self, wait: Wait) -> io::Result<Vec<u8>> {
        let clock = Clock::start(wait);
        loop {
            let wanted = match self.frame.first_chunk() {
                None => 4,
                Some(length) => match u32::from_be_bytes(*length) as usize {
                    length if length > MAX_MESSAGE => return Err(ErrorKind::InvalidData.into()),
                    length => 4 + length,
                },
            };
            if self.frame.len() == wanted {
                return Ok(mem::take(&mut self.frame).split_off(4));
            }
            let mut piece = vec![0; wanted - self.frame.len()];
            self.stream.set_nonblocking(true)?;
            let result = self.stream.read(&mut piece);
            self.stream.set_nonblocking(false)?;
            match result {
                Ok(0) if self.frame.is_empty() => return Err(gone()),
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.frame.extend_from_slice(&piece[..count]),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => poll_one(self.stream.as_raw_fd(), libc::POLLIN, clock.left()?),
                    ErrorKind::Interrupted => {}
                    // The end comes after it.
                    ErrorKind::ConnectionReset => {}
                    _ => return Err(error),
                },
            }
        }
    }
}
