//! Listens to one check: its events, its output, what its warden says, and the clock.

use std::fs;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use harness::event::{Event, MAX_FRAME};
use harness::observe::{Root, descendants_of};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv};

use super::tier::Tier;
use super::warden::NAME;
use super::word::Word;
use super::{MOST_OUTPUT, Stopped};
use crate::descendants;
use crate::error::{Error, Result};
use crate::output::Output;
use crate::signals;

/// More events than this are not kept; in bytes, as they came, and [`EVENT`] more for each.
const MOST_EVENTS: usize = 2 << 20;
const EVENT: usize = 256;
/// How often something is read before the clock is looked at again.
const AT_ONCE: usize = 64;
/// More than this is no word of a warden; in bytes.
const MOST_WORDS: usize = 256 * 1024;
/// How long a check may take to clean up once its socket is closed, and its warden once it is told to stop.
const GRACE: Duration = Duration::from_millis(500);
/// How long the grader waits at most before it looks at the clock.
const NAP: Duration = Duration::from_millis(500);

/// What is heard of one check.
#[derive(Debug)]
pub struct Watch {
    events: Option<OwnedFd>,
    /// In the order received.
    pub received: Vec<Event>,
    /// Room for more of them, in bytes.
    room: usize,
    /// Frames that were no events, or too many.
    pub malformed: usize,
    /// Standard output and error, and the warden's words.
    pipes: [Option<fs::File>; 3],
    /// What came through the first two.
    pub output: Output,
    /// What came through the third.
    pub words: Vec<u8>,
    /// What everything was waiting for when the check had overrun.
    pub hang: String,
    /// How the check is shut in.
    tier: Tier,
}

impl Watch {
    /// Begins to listen.
    ///
    /// # Errors
    /// When a pipe cannot be made to return at once.
    pub fn new(events: OwnedFd, pipes: [Option<OwnedFd>; 3], tier: Tier) -> std::io::Result<Watch> {
        let pipes = pipes.map(|pipe| pipe.map(fs::File::from));
        for pipe in pipes.iter().flatten() {
            nix::fcntl::fcntl(pipe, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))?;
        }
        Ok(Watch {
            events: Some(events),
            received: Vec::new(),
            room: MOST_EVENTS,
            malformed: 0,
            pipes,
            output: Output::default(),
            words: Vec::new(),
            hang: String::new(),
            tier,
        })
    }

    /// Whether the warden has said that nothing is left of the check. Believed only where no submission reaches its pipe.
    pub fn nothing_is_left(&self) -> bool {
        self.tier.has_namespaces() && Word::is_last(&self.words)
    }

    /// Listens until the warden has ended, which it is made to do at the `hard_deadline`, or nothing else is left. The deadline
    /// is put off by the time in which the machine stood still.
    ///
    /// # Errors
    /// When the process cannot be watched.
    pub fn until_ended(&mut self, pid: i32, mut hard_deadline: Instant) -> Result<Option<Stopped>> {
        let process = pidfd(pid)?;
        let mut stopped = None;
        let mut kill_at = hard_deadline;
        let mut told = false;
        loop {
            let now = Instant::now();
            // What has ended has not overrun, even if we were stopped ourselves meanwhile and look too late.
            if stopped.is_none() && now >= hard_deadline && self.wait(&process, Duration::ZERO, true)? {
                return Ok(None);
            }
            let why = if signals::received().is_some() {
                Some(Stopped::Interrupted)
            } else if self.output.total() > MOST_OUTPUT {
                Some(Stopped::Flooded)
            } else {
                (now >= hard_deadline).then_some(Stopped::Overran)
            };
            if stopped.is_none() && why.is_some() {
                stopped = why;
                if why == Some(Stopped::Overran) {
                    let check = Root { pid: check_below(pid), name: "the check itself".to_owned() };
                    self.hang = harness::observe::hang_report_of(&[check], &[]);
                }
                self.events = None;
                kill_at = now + GRACE;
            } else if now >= kill_at {
                match told {
                    // The warden ends the whole check at once, which we could not from here.
                    false => descendants::tell_to_end(pid),
                    true => descendants::kill(pid),
                }
                told = true;
                kill_at = now + GRACE;
            }
            let nap = kill_at.saturating_duration_since(now).min(NAP);
            if self.wait(&process, nap, stopped.is_none())? {
                return Ok(stopped);
            }
            if stopped.is_none() {
                hard_deadline += harness::stood_still(nap, now.elapsed());
                kill_at = hard_deadline;
            }
        }
    }

    /// Waits for something to read, and reads it. True when the process has ended, or nothing else is left.
    fn wait(&mut self, process: &OwnedFd, patience: Duration, mind_signals: bool) -> Result<bool> {
        let sources = [
            Some(process.as_fd()),
            signals::descriptor().filter(|_| mind_signals),
            self.events.as_ref().map(AsFd::as_fd),
            self.pipes[0].as_ref().map(AsFd::as_fd),
            self.pipes[1].as_ref().map(AsFd::as_fd),
            self.pipes[2].as_ref().map(AsFd::as_fd),
        ];
        let mut polled: Vec<_> =
            sources.into_iter().flatten().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        // Rounded up, so that the wait does not end just before its time.
        let milliseconds = u16::try_from(patience.as_millis() + 1).unwrap_or(u16::MAX);
        match poll(&mut polled, PollTimeout::from(milliseconds)) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(Error::Internal(format!("cannot watch a check: {error}"))),
        }
        let ended = polled.first().and_then(PollFd::any) == Some(true);
        self.read();
        Ok(ended || self.nothing_is_left())
    }

    /// Reads what is left when a check has ended, without waiting. What somebody still writes is not waited for.
    pub fn drain(&mut self) {
        for _ in 0..AT_ONCE {
            if !self.read() {
                break;
            }
        }
    }

    /// Reads some of what there is, without waiting: a flood must not keep the deadline from being looked at. True when there
    /// may be more.
    fn read(&mut self) -> bool {
        let events = self.read_events();
        self.read_pipes() || events
    }

    fn read_events(&mut self) -> bool {
        let mut frame = [0; MAX_FRAME + 1];
        for _ in 0..AT_ONCE {
            let Some(events) = &self.events else { return false };
            match recv(events.as_raw_fd(), &mut frame, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => self.events = None,
                Ok(length) => self.hear(&frame[..length]),
                Err(nix::Error::EINTR) => {}
                Err(nix::Error::EAGAIN) => return false,
                Err(_) => self.events = None,
            }
        }
        true
    }

    fn hear(&mut self, frame: &[u8]) {
        let rest = self.room.checked_sub(frame.len() + EVENT);
        match (rest, Event::decode(frame)) {
            (Some(rest), Ok(event)) => {
                self.room = rest;
                self.received.push(event);
            }
            (_, Ok(_) | Err(_)) => self.malformed += 1,
        }
    }

    fn read_pipes(&mut self) -> bool {
        let mut more = false;
        for (number, pipe) in self.pipes.iter_mut().enumerate() {
            let mut chunk = [0; 16 * 1024];
            for turn in 1..=AT_ONCE {
                let Some(file) = pipe else { break };
                more |= turn == AT_ONCE;
                match file.read(&mut chunk) {
                    Ok(0) => *pipe = None,
                    Ok(length) if number < 2 => self.output.push(&chunk[..length]),
                    Ok(length) => {
                        let room = MOST_WORDS.saturating_sub(self.words.len());
                        self.words.extend_from_slice(&chunk[..length.min(room)]);
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                    Err(_) => *pipe = None,
                }
            }
        }
        more
    }
}

/// The check process below a warden: the first process there that is no warden; the warden itself if there is none.
fn check_below(warden: i32) -> i32 {
    let is_warden = |pid: i32| {
        // A process decides itself how long its command line is.
        let mut begin = [0; NAME.len() + 1];
        let line = fs::File::open(format!("/proc/{pid}/cmdline"));
        let read = line.and_then(|mut line| line.read_exact(&mut begin));
        read.is_ok() && begin.split_last() == Some((&0, NAME.as_bytes()))
    };
    descendants_of(warden).into_iter().find(|&pid| !is_warden(pid)).unwrap_or(warden)
}

fn pidfd(pid: i32) -> Result<OwnedFd> {
    // SAFETY: pidfd_open takes a pid and flags; the child has not been waited for, so the pid is its own.
    let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    match i32::try_from(descriptor) {
        // SAFETY: a descriptor just returned by the kernel, owned by nobody else. It is close-on-exec.
        Ok(descriptor) if descriptor >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        _ => Err(Error::Internal(format!(
            "cannot watch process {pid}: {}; Linux 5.3 or newer is needed",
            std::io::Error::last_os_error()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, send, socketpair};
    use nix::sys::wait::{Id, WaitPidFlag, waitid};

    use super::*;

    /// Everything that is heard while `tell` sends on a socket.
    fn heard(tell: impl FnOnce(i32) + Send) -> Watch {
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
        let mut watch = Watch::new(ours, [None, None, None], Tier::Open).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || tell(theirs.as_raw_fd()));
            while let Some(events) = &watch.events {
                let mut polled = [PollFd::new(events.as_fd(), PollFlags::POLLIN)];
                poll(&mut polled, PollTimeout::NONE).unwrap();
                watch.read();
            }
        });
        watch
    }

    #[test]
    fn a_flood_of_events_takes_a_bounded_room() {
        let frame = Event::Note { text: "x".repeat(12_000) }.encode();
        let watch = heard(|to| {
            for _ in 0..10_000 {
                send(to, &frame, MsgFlags::MSG_NOSIGNAL).unwrap();
            }
        });
        let kept = watch.received.len();
        assert!(kept > 100 && kept * frame.len() <= MOST_EVENTS, "{kept} events kept");
        assert_eq!(watch.malformed, 10_000 - kept);
    }

    #[test]
    fn so_does_a_flood_of_small_ones() {
        let watch = heard(|to| {
            for _ in 0..50_000 {
                send(to, &Event::Finished.encode(), MsgFlags::MSG_NOSIGNAL).unwrap();
            }
        });
        assert!(watch.received.len() * size_of::<Event>().max(EVENT) <= MOST_EVENTS);
        assert!(watch.malformed > 0);
    }

    #[test]
    fn a_frame_that_is_too_long_is_none() {
        let watch = heard(|to| {
            send(to, &vec![1; 2 * MAX_FRAME], MsgFlags::MSG_NOSIGNAL).unwrap();
        });
        assert_eq!((watch.received.len(), watch.malformed), (0, 1));
    }

    #[test]
    fn what_ended_while_the_grader_was_stopped_has_not_overrun() {
        let (ours, _theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
                .expect("a pair");
        let mut child = std::process::Command::new("true").spawn().expect("a process");
        let pid = child.id().cast_signed();
        let ended =
            waitid(Id::Pid(nix::unistd::Pid::from_raw(pid)), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
        assert!(ended.is_ok(), "{ended:?}");
        let mut watch = Watch::new(ours, [None, None, None], Tier::Open).expect("a watch");
        assert_eq!(watch.until_ended(pid, Instant::now()).ok(), Some(None));
        assert!(child.wait().is_ok_and(|status| status.success()));
    }
}
