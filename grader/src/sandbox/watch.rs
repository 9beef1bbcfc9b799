//! Listens to one check: its events, its output, what its warden says, and the clock.

use std::fs;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use harness::event::{Event, MAX_FRAME};
use harness::observe::{Root, descendants_of};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv};

use super::warden::NAME;
use super::{MOST_OUTPUT, Stopped};
use crate::descendants;
use crate::error::{Error, Result};
use crate::output::Output;
use crate::signals;

/// More events than this are not kept.
const MOST_EVENTS: usize = 10_000;
/// More than this is no word of a warden; in bytes.
const MOST_WORDS: usize = 256 * 1024;
/// How long a check may take to clean up once its socket is closed, and its warden once it is told to stop.
const GRACE: Duration = Duration::from_millis(500);

/// What is heard of one check.
#[derive(Debug)]
pub struct Watch {
    events: Option<OwnedFd>,
    /// In the order received.
    pub received: Vec<Event>,
    /// Frames that were no events.
    pub malformed: usize,
    /// Standard output and error, and the warden's words.
    pipes: [Option<fs::File>; 3],
    /// What came through the first two.
    pub output: Output,
    /// What came through the third.
    pub words: Vec<u8>,
    /// What everything was waiting for when the check had overrun.
    pub hang: String,
}

impl Watch {
    /// Begins to listen.
    ///
    /// # Errors
    /// When a pipe cannot be made to return at once.
    pub fn new(events: OwnedFd, pipes: [Option<OwnedFd>; 3]) -> std::io::Result<Watch> {
        let pipes = pipes.map(|pipe| pipe.map(fs::File::from));
        for pipe in pipes.iter().flatten() {
            nix::fcntl::fcntl(pipe, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))?;
        }
        Ok(Watch {
            events: Some(events),
            received: Vec::new(),
            malformed: 0,
            pipes,
            output: Output::default(),
            words: Vec::new(),
            hang: String::new(),
        })
    }

    /// Listens until the warden has ended, which it is made to do at the `hard_deadline`.
    ///
    /// # Errors
    /// When the process cannot be watched.
    pub fn until_ended(&mut self, pid: i32, hard_deadline: Instant) -> Result<Option<Stopped>> {
        let process = pidfd(pid)?;
        let mut stopped = None;
        let mut kill_at = hard_deadline;
        let mut told = false;
        loop {
            let now = Instant::now();
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
            if self.wait(&process, kill_at.saturating_duration_since(now), stopped.is_none())? {
                return Ok(stopped);
            }
        }
    }

    /// Waits for something to read, and reads it. True when the process has ended.
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
        self.drain();
        Ok(ended)
    }

    /// Reads all there is, without waiting.
    pub fn drain(&mut self) {
        while let Some(events) = &self.events {
            let mut frame = [0; MAX_FRAME + 1];
            match recv(events.as_raw_fd(), &mut frame, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => self.events = None,
                Ok(length) => match Event::decode(&frame[..length]) {
                    Ok(event) if self.received.len() < MOST_EVENTS => self.received.push(event),
                    Ok(_) | Err(_) => self.malformed += 1,
                },
                Err(nix::Error::EINTR) => {}
                Err(nix::Error::EAGAIN) => break,
                Err(_) => self.events = None,
            }
        }
        for (number, pipe) in self.pipes.iter_mut().enumerate() {
            let mut chunk = [0; 16 * 1024];
            // Bounded, so that a flood of output does not keep the deadline from being looked at.
            for _ in 0..64 {
                let Some(file) = pipe else { break };
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
    }
}

/// The check process below a warden: the first process there that is no warden; the warden itself if there is none.
fn check_below(warden: i32) -> i32 {
    let is_warden = |pid: i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|&byte| byte == 0).next() == Some(NAME.as_bytes())
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
