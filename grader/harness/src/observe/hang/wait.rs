//! What a blocked thread waits for: the system call's arguments, decoded.

use super::ends::{Direction, Holder, PipeEnds};
use super::{Label, Names, Thread};
use crate::observe::descriptor::{identity, open_fd};
use crate::observe::memory::read_memory;
use crate::observe::process::{children_of, has_ended, threads_of};
use crate::observe::syscall::Syscall;
use std::fs;

/// What is known about all processes while one is described.
pub(super) struct Sight<'a> {
    pub(super) names: &'a Names,
    pub(super) ends: &'a PipeEnds,
    pub(super) labels: &'a [Label],
}

/// Whom a thread waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// Nobody that we know of: it runs, has a time limit, or waits for somebody outside.
    Nothing,
    /// Any of these pipes.
    Pipes(Vec<PipeWait>),
    /// One of these children to end.
    Children(Vec<i32>),
    /// The process that holds a file lock.
    Lock { file: String, holder: i32 },
    /// Anybody who wakes it: futex, semaphore, message queue, signal.
    WakeUp { changed: Option<(u32, u32)> },
}

/// A wait for the other end of a pipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PipeWait {
    pub(super) direction: Direction,
    /// The descriptor that is waited at.
    pub(super) fd: i32,
    pub(super) target: String,
    /// Who has the other end open.
    pub(super) others: Vec<Holder>,
}

pub(super) fn describe(pid: i32, tid: i32, syscall: Syscall, sight: &Sight<'_>) -> Thread {
    let mut thread = Thread { tid, words: String::new(), details: Vec::new(), wait: Wait::Nothing };
    let arguments = syscall.arguments;
    let name = syscall.name;
    // Descriptors, ids and operations are ints: the upper half of the register means nothing.
    let int = |index: usize| arguments[index] as i32;
    match syscall.number {
        libc::SYS_read | libc::SYS_readv | libc::SYS_recvfrom | libc::SYS_recvmsg | libc::SYS_splice => {
            thread.transfer(pid, name, int(0), Direction::Reading, sight);
        }
        libc::SYS_write | libc::SYS_writev | libc::SYS_sendto | libc::SYS_sendmsg => {
            thread.transfer(pid, name, int(0), Direction::Writing, sight);
        }
        libc::SYS_poll | libc::SYS_ppoll => {
            let forever = match syscall.number {
                libc::SYS_poll => int(2) < 0,
                _ => arguments[2] == 0,
            };
            thread.poll(pid, name, arguments[0] as usize, arguments[1] as usize, forever, sight);
        }
        libc::SYS_futex => thread.futex(pid, arguments, sight),
        libc::SYS_wait4 => thread.wait_for(pid, name, int(0), sight),
        libc::SYS_waitid => {
            let child = if int(0) == libc::P_PID as i32 { int(1) } else { -1 };
            thread.wait_for(pid, name, child, sight);
        }
        libc::SYS_openat => {
            let (path, flags) = (read_path(pid, arguments[1] as usize), int(2));
            let missing = match flags & libc::O_ACCMODE {
                libc::O_WRONLY => "reading",
                _ => "writing",
            };
            thread.words = format!("waits in open({path}) until somebody opens this FIFO for {missing}");
            thread.wait = Wait::WakeUp { changed: None };
        }
        libc::SYS_semop | libc::SYS_semtimedop => {
            let operations = semaphores(pid, int(0), arguments[1] as usize, arguments[2] as usize);
            thread.words = format!("waits in {name}(semaphore set {}): {operations}", int(0));
            if syscall.number == libc::SYS_semop || arguments[3] == 0 {
                thread.wait = Wait::WakeUp { changed: None };
            }
        }
        libc::SYS_msgrcv => {
            let kind = match arguments[3].cast_signed() {
                0 => "a message of any type".to_owned(),
                kind if kind < 0 => format!("a message of a type up to {}", kind.unsigned_abs()),
                kind => format!("a message of type {kind}"),
            };
            thread.words = format!("waits in msgrcv(queue {}) for {kind}", int(0));
            thread.wait = Wait::WakeUp { changed: None };
        }
        libc::SYS_msgsnd => {
            thread.words = format!("waits in msgsnd(queue {}) for room: the queue is full", int(0));
            thread.wait = Wait::WakeUp { changed: None };
        }
        libc::SYS_flock => thread.file_lock(pid, name, int(0), sight),
        libc::SYS_fcntl => thread.file_lock(pid, name, int(0), sight),
        libc::SYS_nanosleep | libc::SYS_clock_nanosleep | libc::SYS_restart_syscall => {
            thread.words = "sleeps for a time (nanosleep)".to_owned();
        }
        libc::SYS_pause | libc::SYS_rt_sigsuspend => {
            thread.words = format!("waits in {name}() for a signal");
            thread.wait = Wait::WakeUp { changed: None };
        }
        libc::SYS_rt_sigtimedwait => {
            thread.words = "waits in sigwait() for a signal".to_owned();
            if arguments[2] == 0 {
                thread.wait = Wait::WakeUp { changed: None };
            }
        }
        libc::SYS_accept | libc::SYS_accept4 | libc::SYS_connect => {
            thread.words = format!("waits in {name}({}) for the other side", descriptor(pid, int(0)));
        }
        libc::SYS_epoll_wait | libc::SYS_epoll_pwait | libc::SYS_mq_timedreceive | libc::SYS_mq_timedsend => {
            thread.words = format!("waits in {name}({})", descriptor(pid, int(0)));
        }
        libc::SYS_clone | libc::SYS_clone3 | libc::SYS_vfork => {
            thread.words = format!("waits in {name} until its child calls exec or ends");
        }
        number if name == "unknown" => thread.words = format!("waits in system call {number}"),
        _ => thread.words = format!("waits in {name}"),
    }
    thread
}

impl Thread {
    fn transfer(&mut self, pid: i32, name: &str, fd: i32, direction: Direction, sight: &Sight<'_>) {
        self.words = format!("waits in {name}({})", descriptor(pid, fd));
        if let Some(wait) = pipe_wait(pid, fd, direction, sight) {
            self.details.push(who_has_it(pid, &wait, sight.names));
            self.wait = Wait::Pipes(vec![wait]);
        }
    }

    fn poll(&mut self, pid: i32, name: &str, entries: usize, count: usize, forever: bool, sight: &Sight<'_>) {
        let limit = if forever { "without a time limit" } else { "with a time limit" };
        let Some(entries) = poll_entries(pid, entries, count) else {
            self.words = format!("waits in {name} on {count} descriptors, {limit}");
            return;
        };
        self.words = format!("waits in {name} on {count} descriptors, {limit}:");
        let mut pipes = Vec::new();
        let mut all_are_pipes = count == entries.len();
        for entry in entries.iter().filter(|entry| entry.fd >= 0) {
            let reads = entry.events & libc::POLLIN != 0;
            let writes = entry.events & libc::POLLOUT != 0;
            let purpose = match (reads, writes) {
                (true, true) => "to read or write",
                (true, false) => "to read",
                (false, true) => "to write",
                (false, false) => "for its end",
            };
            self.details.push(format!("{} {purpose}", descriptor(pid, entry.fd)));
            let direction = if writes { Direction::Writing } else { Direction::Reading };
            match pipe_wait(pid, entry.fd, direction, sight) {
                Some(wait) => {
                    self.details.push(who_has_it(pid, &wait, sight.names));
                    pipes.push(wait);
                }
                None => all_are_pipes = false,
            }
        }
        if forever && all_are_pipes && !pipes.is_empty() {
            self.wait = Wait::Pipes(pipes);
        }
    }

    fn futex(&mut self, pid: i32, arguments: [u64; 6], sight: &Sight<'_>) {
        let (address, expected) = (arguments[0] as usize, arguments[2] as u32);
        let place = sight
            .labels
            .iter()
            .find(|label| address.wrapping_sub(label.start) < label.len)
            .map(|label| match address - label.start {
                0 => label.name.clone(),
                offset => format!("{}, byte {offset}", label.name),
            })
            .unwrap_or_else(|| format!("{address:#x}"));
        let command = arguments[1] as i32 & libc::FUTEX_CMD_MASK;
        if !matches!(command, libc::FUTEX_WAIT | libc::FUTEX_WAIT_BITSET) {
            self.words = format!("waits in futex({place}), operation {command}");
            return;
        }
        let limit = if arguments[3] == 0 { "" } else { ", with a time limit" };
        let mut word = [0; 4];
        let now = read_memory(pid, address, &mut word).map(|()| u32::from_ne_bytes(word));
        self.words = match now {
            Ok(now)
                if expected != 0 && threads_of(pid).contains(&expected.cast_signed()) && now == expected =>
            {
                format!("waits for thread {expected} to end (join){limit}")
            }
            Ok(now) if now == expected => format!("waits in futex({place}): the word is {now}{limit}"),
            Ok(now) => format!("waits in futex({place}): the word was {expected}, now it is {now}{limit}"),
            Err(_) => {
                format!(
                    "waits in futex({place}): the word was {expected}; what it is now cannot be read{limit}"
                )
            }
        };
        if arguments[3] == 0 {
            let changed = now.ok().filter(|now| *now != expected).map(|now| (expected, now));
            self.wait = Wait::WakeUp { changed };
        }
    }

    fn wait_for(&mut self, pid: i32, name: &str, child: i32, sight: &Sight<'_>) {
        let children = if child > 0 { vec![child] } else { children_of(pid) };
        let list: Vec<String> = children.iter().take(8).map(|child| sight.names.short(*child)).collect();
        self.words = match (child > 0, list.len()) {
            (true, _) => format!("waits in {name} for its child {}", list.join("")),
            (false, 0) => format!("waits in {name} for a child, but has none"),
            (false, _) => format!("waits in {name} for any of its children: {}", list.join(", ")),
        };
        // A zombie among them ends the wait by itself.
        if !children.is_empty() && !children.iter().any(|child| has_ended(*child)) {
            self.wait = Wait::Children(children);
        }
    }

    fn file_lock(&mut self, pid: i32, name: &str, fd: i32, sight: &Sight<'_>) {
        self.words = format!("waits in {name}({}) for a lock on the file", descriptor(pid, fd));
        let holder = identity(pid, fd).and_then(|(device, inode)| {
            lock_holder(&fs::read_to_string("/proc/locks").unwrap_or_default(), device, inode)
        });
        if let Some(holder) = holder {
            self.details.push(format!("the lock is held by {}", sight.names.full(holder)));
            let file = open_fd(pid, fd).map_or_else(String::new, |open| open.target);
            self.wait = Wait::Lock { file, holder };
        }
    }
}

/// `fd 4, pipe:[991]`.
fn descriptor(pid: i32, fd: i32) -> String {
    match open_fd(pid, fd) {
        Some(open) => format!("fd {fd}, {}", open.target),
        None => format!("fd {fd}"),
    }
}

fn pipe_wait(pid: i32, fd: i32, direction: Direction, sight: &Sight<'_>) -> Option<PipeWait> {
    let others = sight.ends.holders(pid, fd, direction.opposite())?;
    Some(PipeWait { direction, fd, target: open_fd(pid, fd)?.target, others })
}

/// "the write end is still open in process 1234 itself (fd 5) and process 1200 (fd 5)".
fn who_has_it(pid: i32, wait: &PipeWait, names: &Names) -> String {
    let end = match wait.direction {
        Direction::Reading => "the write end",
        Direction::Writing => "the pipe is full; its read end",
    };
    let places: Vec<String> = wait
        .others
        .iter()
        .take(8)
        .map(|holder| {
            let itself = if holder.pid == pid { " itself" } else { "" };
            format!("{}{itself} (fd {})", names.short(holder.pid), holder.fd)
        })
        .collect();
    match places.split_last() {
        None => format!("{end} is open in no process of this check"),
        Some((only, [])) => format!("{end} is still open in {only}"),
        Some((last, first)) => format!("{end} is still open in {} and {last}", first.join(", ")),
    }
}

/// The most poll entries that are read.
const POLLED: usize = 12;

fn poll_entries(pid: i32, start: usize, count: usize) -> Option<Vec<libc::pollfd>> {
    let mut bytes = vec![0; count.min(POLLED) * size_of::<libc::pollfd>()];
    read_memory(pid, start, &mut bytes).ok()?;
    let (entries, _) = bytes.as_chunks::<{ size_of::<libc::pollfd>() }>();
    let entry = |[a, b, c, d, low, high, ..]: &[u8; 8]| libc::pollfd {
        fd: i32::from_ne_bytes([*a, *b, *c, *d]),
        events: i16::from_ne_bytes([*low, *high]),
        revents: 0,
    };
    Some(entries.iter().map(entry).collect())
}

/// The operations of semop, and the values now: "semaphore 0 by -1 (it is 0)".
fn semaphores(pid: i32, set: i32, start: usize, count: usize) -> String {
    let mut bytes = vec![0; count.min(4) * size_of::<libc::sembuf>()];
    if read_memory(pid, start, &mut bytes).is_err() {
        return format!("{count} operations");
    }
    let (operations, _) = bytes.as_chunks::<{ size_of::<libc::sembuf>() }>();
    let words: Vec<String> = operations
        .iter()
        .map(|[low, high, by_low, by_high, ..]| {
            let index = u16::from_ne_bytes([*low, *high]);
            let by = i16::from_ne_bytes([*by_low, *by_high]);
            // SAFETY: GETVAL takes no further argument and touches no memory.
            let value = unsafe { libc::semctl(set, i32::from(index), libc::GETVAL) };
            let now = if value < 0 { String::new() } else { format!(" (it is {value})") };
            if by == 0 {
                format!("semaphore {index} to become 0{now}")
            } else {
                format!("semaphore {index} by {by:+}{now}")
            }
        })
        .collect();
    words.join(", ")
}

/// A path in the memory of `pid`, quoted; at most 256 bytes and not beyond its page.
fn read_path(pid: i32, start: usize) -> String {
    let longest = 256.min(4096 - start % 4096);
    let mut bytes = vec![0; longest];
    match read_memory(pid, start, &mut bytes) {
        Ok(()) => {
            let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(longest);
            format!("{:?}", String::from_utf8_lossy(&bytes[..end]))
        }
        Err(_) => "a path that cannot be read".to_owned(),
    }
}

/// The process that holds a lock on a file, by /proc/locks: "1: FLOCK ADVISORY WRITE 712 08:01:13 0 EOF".
/// Waiting requests are marked "->". Open-file-description locks belong to no process (-1).
pub(in crate::observe) fn lock_holder(locks: &str, device: u64, inode: u64) -> Option<i32> {
    let file = format!("{:02x}:{:02x}:{inode}", libc::major(device), libc::minor(device));
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let holds = fields.get(1) != Some(&"->") && fields.get(5) == Some(&file.as_str());
        if holds { fields.get(4)?.parse().ok().filter(|holder| *holder > 0) } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::lock_holder;

    #[test]
    fn the_waiting_request_is_not_the_holder() {
        let locks =
            "1: -> FLOCK  ADVISORY  WRITE 9 08:01:13 0 EOF\n2: FLOCK  ADVISORY  WRITE 712 08:01:13 0 EOF\n";
        assert_eq!(lock_holder(locks, libc::makedev(8, 1), 13), Some(712));
    }
}
