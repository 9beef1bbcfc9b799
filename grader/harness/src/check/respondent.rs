//! One worker that answers many questions, one at a time: random inputs, judged by the supervisor.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::process::{Process, raise};
use super::supervisor::{Supervisor, Waited, read_exact, write_all};
use super::{Check, finished};
use crate::deadline::Deadline;
use crate::stop::Stop;
use crate::wire::{Wire, decode, encode};

/// The longest answer that is read: a worker holds the submission's code.
const LONGEST: usize = 64 << 20;
/// From the end of a worker's channel to its own.
const LAST_BREATH: Duration = Duration::from_millis(100);
/// An answer that was there before the question.
const TOO_MANY: &str = ": there is an answer too many; has it forked a process that returns from it, too?";

/// A worker that answers questions.
pub struct Respondent<I, O> {
    supervisor: Rc<Supervisor>,
    process: [Process; 1],
    channel: OwnedFd,
    types: PhantomData<(I, O)>,
}

impl<I: Wire, O: Wire> Respondent<I, O> {
    pub(super) fn start(
        check: &Check,
        what: &str,
        mut closure: impl FnMut(I) -> O,
    ) -> Result<Respondent<I, O>, Stop> {
        let (ours, theirs) =
            socket_pair().map_err(|error| Stop::inconclusive(format!("no socket pair: {error}")))?;
        let process = check.fork(what, None, || {
            let channel = theirs.as_raw_fd();
            // SAFETY: the worker's copy of the supervisor's end; without it the worker sees the supervisor's end close.
            unsafe { libc::close(ours.as_raw_fd()) };
            while let Some(question) = receive(channel).ok().as_deref().and_then(decode) {
                let answer = encode(&closure(question));
                if send(channel, &answer).is_err() {
                    break;
                }
            }
            Vec::new()
        })?;
        let supervisor = Rc::clone(&check.supervisor);
        Ok(Respondent { supervisor, process: [process], channel: ours, types: PhantomData })
    }

    /// Asks one question and waits for the answer.
    ///
    /// # Errors
    /// As [`Check::ask`].
    pub fn ask(&mut self, question: I) -> Result<O, Stop> {
        let channel = self.channel.as_raw_fd();
        // What is there before the question is no answer to it.
        if readable(channel, 0) {
            let more = if has_data(channel) { TOO_MANY } else { "" };
            return Err(self.fault(more));
        }
        if send(channel, &encode(&question)).is_err() {
            return Err(self.fault(""));
        }
        let mut clock = self.supervisor.clock();
        let mut length = [0; 8];
        self.receive(&mut clock, &mut length)?;
        let length = u64::from_le_bytes(length) as usize;
        if length > LONGEST {
            return Err(self.fault(""));
        }
        let mut answer = vec![0; length];
        self.receive(&mut clock, &mut answer)?;
        decode(&answer).ok_or_else(|| self.fault(""))
    }

    /// Fills the buffer, with what comes as long as the worker lives and the deadline is not over.
    fn receive(&mut self, clock: &mut Deadline, mut missing: &mut [u8]) -> Result<(), Stop> {
        let channel = self.channel.as_raw_fd();
        while !missing.is_empty() {
            if !readable(channel, 0) {
                // Sleeping here instead of in `wait` makes an answer arrive in microseconds.
                match self.supervisor.wait(clock, &mut self.process, || readable(channel, 5))? {
                    Waited::Early => {}
                    Waited::All | Waited::Died(_) => return Err(self.fault("")),
                }
            }
            match read_some(channel, missing) {
                0 => return Err(self.fault("")),
                count => missing = &mut missing[count..],
            }
        }
        Ok(())
    }

    /// The worker's process number.
    pub fn pid(&self) -> i32 {
        self.process[0].pid
    }

    /// Why there is no answer; `more` is what else is known of a broken channel.
    fn fault(&mut self, more: &str) -> Stop {
        let what = self.process[0].what.clone();
        // A worker that ends has its channel closed just before.
        let start = Instant::now();
        let mut clock = self.supervisor.clock();
        match self.supervisor.wait(&mut clock, &mut self.process, || start.elapsed() > LAST_BREATH) {
            Ok(Waited::All | Waited::Died(_)) => {}
            Ok(Waited::Early) | Err(_) => {
                self.supervisor.kill(&mut self.process);
                return broken(&what, more);
            }
        }
        match self.process[0].ending().and_then(|ending| finished(&what, ending)) {
            Err(stop) => stop,
            Ok(_) => broken(&what, more),
        }
    }
}

impl<I, O> Drop for Respondent<I, O> {
    fn drop(&mut self) {
        self.supervisor.kill(&mut self.process);
    }
}

fn broken(what: &str, more: &str) -> Stop {
    Stop::Crashed {
        how: format!("{what} broke the channel on which its answer was expected{more}"),
        place: None,
    }
}

/// Whether there is something to read, and not an end.
fn has_data(channel: RawFd) -> bool {
    let mut byte = 0_u8;
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    let nobody = std::ptr::null::<libc::c_void>();
    // SAFETY: room for one byte, and no wish to know who sent it. The raw call is not interposed.
    unsafe { libc::syscall(libc::SYS_recvfrom, channel, &raw mut byte, 1, flags, nobody, nobody) == 1 }
}

fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: the array has room for the two descriptors.
    if unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((raise(ends[0]), raise(ends[1])))
}

fn readable(fd: RawFd, milliseconds: i32) -> bool {
    let mut polled = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let time = libc::timespec { tv_sec: 0, tv_nsec: i64::from(milliseconds) * 1_000_000 };
    // SAFETY: one descriptor and a time, both valid for the call.
    unsafe { libc::ppoll(&raw mut polled, 1, &raw const time, std::ptr::null()) > 0 }
}

/// Reads what there is, without waiting; 0 at the end and after an error.
fn read_some(fd: RawFd, bytes: &mut [u8]) -> usize {
    loop {
        // SAFETY: the buffer is valid for its length. The raw call is not interposed.
        let count = unsafe { libc::syscall(libc::SYS_read, fd, bytes.as_mut_ptr(), bytes.len()) };
        if count >= 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return usize::try_from(count).unwrap_or(0);
        }
    }
}

fn send(fd: RawFd, bytes: &[u8]) -> io::Result<()> {
    let mut framed = Vec::with_capacity(bytes.len() + 8);
    framed.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    framed.extend_from_slice(bytes);
    write_all(fd, &framed)
}

fn receive(fd: RawFd) -> io::Result<Vec<u8>> {
    let mut length = [0; 8];
    read_exact(fd, &mut length)?;
    let length = u64::from_le_bytes(length) as usize;
    if length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length];
    read_exact(fd, &mut bytes)?;
    Ok(bytes)
}
