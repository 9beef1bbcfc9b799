//! The supervisor's own duties: wait for workers, notice the deadline and the grader's death,
//! leave no process behind.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use super::process::{Process, raw};
use crate::deadline::{self, Deadline, Time};
use crate::event::Event;
use crate::panics;
use crate::shared;
use crate::stop::Stop;
use crate::{Options, observe};

/// How long the supervisor sleeps at most before it looks at the clock again.
const LOOK: Duration = Duration::from_millis(10);

/// How long clean-up may take before what resists is given up on.
const CLEAN_UP: Duration = Duration::from_secs(5);

pub(super) struct Supervisor {
    events: Option<OwnedFd>,
    deadline: RefCell<Deadline>,
    /// Workers that are still alive on purpose.
    known: RefCell<Vec<i32>>,
    /// Whether something below has been killed in vain: it waits for the machine, and is not waited for a second time.
    resists: Cell<bool>,
    pub(super) options: Cell<Options>,
}

/// Why a wait ended.
pub(super) enum Waited {
    /// Every process has ended.
    All,
    /// A process died without finishing; the others were killed.
    Died(usize),
    /// The caller's condition became true first.
    Early,
}

impl Supervisor {
    pub(super) fn new(events: Option<OwnedFd>, limit: Duration) -> Supervisor {
        // SAFETY: a plain system call; orphans of the workers become our children.
        unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
        Supervisor {
            events,
            deadline: RefCell::new(Deadline::new(limit)),
            known: RefCell::default(),
            resists: Cell::default(),
            options: Cell::default(),
        }
    }

    pub(super) fn limit(&self) -> Duration {
        self.deadline.borrow().limit()
    }

    /// The deadline that holds now: the check's own, or a shorter one from the options.
    pub(super) fn clock(&self) -> Deadline {
        match self.options.get().deadline {
            Some(limit) => Deadline::new(limit),
            None => self.deadline.borrow().for_another_wait(),
        }
    }

    pub(super) fn events_fd(&self) -> Option<RawFd> {
        raw(self.events.as_ref())
    }

    /// Sends one event; without a grader, prints it.
    #[expect(clippy::print_stderr, reason = "a check run by hand has nobody else to tell")]
    pub(super) fn send(&self, event: &Event) {
        let Some(events) = &self.events else {
            eprintln!("{event:?}");
            return;
        };
        let frame = event.encode();
        // SAFETY: the buffer is valid for its length; MSG_NOSIGNAL turns a closed peer into an error.
        unsafe { libc::send(events.as_raw_fd(), frame.as_ptr().cast(), frame.len(), libc::MSG_NOSIGNAL) };
    }

    pub(super) fn know(&self, pid: i32) {
        self.known.borrow_mut().push(pid);
    }

    pub(super) fn forget(&self, pid: i32) {
        self.known.borrow_mut().retain(|&known| known != pid);
    }

    /// Waits until all have ended, one has died, or `early` says so.
    pub(super) fn wait(
        &self,
        clock: &mut Deadline,
        processes: &mut [Process],
        mut early: impl FnMut() -> bool,
    ) -> Result<Waited, Stop> {
        loop {
            let mut ended = true;
            for process in processes.iter_mut() {
                ended &= process.reap();
            }
            if let Some(dead) = processes.iter().position(Process::died) {
                self.kill(processes);
                return Ok(Waited::Died(dead));
            }
            if ended {
                return Ok(Waited::All);
            }
            if early() {
                return Ok(Waited::Early);
            }
            let pids = processes.iter().filter(|process| process.exit.is_none()).map(|process| process.pid);
            let pids: Vec<i32> = pids.collect();
            let time = clock.time_for(&pids);
            if time != Time::Left {
                let report = observe::hang_report(&pids, &shared::labels());
                // What has been done by now has not overrun: we were kept from looking meanwhile, and look too late.
                if early() {
                    return Ok(Waited::Early);
                }
                if processes.iter_mut().any(Process::has_just_ended) {
                    continue;
                }
                return Err(self.too_late_for(time, clock.limit(), processes, &report));
            }
            let alive: Vec<&Process> = processes.iter().filter(|process| process.exit.is_none()).collect();
            let pidfds: Vec<RawFd> = alive.iter().filter_map(|process| raw(process.pidfd.as_ref())).collect();
            let nap = if pidfds.len() < alive.len() { LOOK / 20 } else { LOOK };
            self.sleep(&pidfds, nap)?;
        }
    }

    /// Waits until the condition is true.
    pub(super) fn wait_until(&self, what: &str, mut condition: impl FnMut() -> bool) -> Result<(), Stop> {
        let mut clock = self.clock();
        let start = Instant::now();
        let time = self.time_until(&mut clock, || self.known.borrow().clone(), &mut condition)?;
        if time == Time::Left {
            return Ok(());
        }
        let report = observe::hang_report(&self.known.borrow(), &shared::labels());
        // As in `wait`.
        if condition() {
            return Ok(());
        }
        self.sweep();
        let waited = start.elapsed().as_secs_f64();
        Err(too_late(time, format!("waited {waited:.1} s until {what}, in vain\n{report}")))
    }

    /// Waits until the condition is true, or these processes had the time for it.
    pub(super) fn wait_within(
        &self,
        what: &str,
        limit: Duration,
        pids: &[i32],
        mut condition: impl FnMut() -> bool,
    ) -> Result<bool, Stop> {
        match self.time_until(&mut Deadline::new(limit), || pids.to_vec(), &mut condition)? {
            Time::Left => Ok(true),
            Time::Over => Ok(condition()),
            Time::Denied => Err(too_late(
                Time::Denied,
                format!("waited {:.1} s until {what}, in vain", limit.as_secs_f64()),
            )),
        }
    }

    /// What the clock says about these processes when the condition is true, or there is no time left.
    fn time_until(
        &self,
        clock: &mut Deadline,
        pids: impl Fn() -> Vec<i32>,
        mut condition: impl FnMut() -> bool,
    ) -> Result<Time, Stop> {
        while !condition() {
            if let Some(todo) = panics::first_todo() {
                return Err(Stop::Unimplemented { todo: todo.message, place: todo.place });
            }
            let time = clock.time_for(&pids());
            if time != Time::Left {
                return Ok(time);
            }
            self.sleep(&[], Duration::from_micros(100))?;
        }
        Ok(Time::Left)
    }

    /// Ends them.
    fn too_late_for(&self, time: Time, limit: Duration, processes: &[Process], report: &str) -> Stop {
        self.sweep();
        if let Some(todo) = panics::first_todo() {
            return Stop::Unimplemented { todo: todo.message, place: todo.place };
        }
        let stuck = processes.iter().find(|process| process.exit.is_none());
        let what = stuck.map_or("the check", |process| process.what.as_str());
        too_late(time, format!("{what} did not finish within {:.1} s\n{report}", limit.as_secs_f64()))
    }

    /// Sleeps until a descriptor is readable or the time is over; notices that the grader is gone.
    pub(super) fn sleep(&self, readable: &[RawFd], longest: Duration) -> Result<(), Stop> {
        let wanted = |fd, events| libc::pollfd { fd, events, revents: 0 };
        let mut polled: Vec<libc::pollfd> = readable.iter().map(|&fd| wanted(fd, libc::POLLIN)).collect();
        polled.extend(self.events_fd().map(|fd| wanted(fd, 0)));
        let time =
            libc::timespec { tv_sec: longest.as_secs() as i64, tv_nsec: longest.subsec_nanos().into() };
        let start = Instant::now();
        // SAFETY: the array and the time are valid for the call; the mask stays as it is.
        let ready = unsafe {
            libc::ppoll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, &raw const time, std::ptr::null())
        };
        deadline::napped(longest, start.elapsed());
        let gone = self.events.is_some()
            && ready > 0
            && polled.last().is_some_and(|events| events.revents & (libc::POLLHUP | libc::POLLERR) != 0);
        if gone {
            self.sweep();
            return Err(Stop::Abandoned);
        }
        Ok(())
    }

    /// Kills the processes and everything below them, and reaps them.
    pub(super) fn kill(&self, processes: &mut [Process]) {
        for process in processes.iter_mut().filter(|process| process.exit.is_none()) {
            for pid in observe::descendants_of(process.pid).into_iter().chain([process.pid]) {
                kill_one(pid);
            }
        }
        let start = Instant::now();
        while !processes.iter_mut().fold(true, |all, process| all & process.reap())
            && start.elapsed() < CLEAN_UP
        {
            let pidfds: Vec<RawFd> =
                processes.iter().filter_map(|process| raw(process.pidfd.as_ref())).collect();
            let _ = self.sleep(&pidfds, LOOK);
        }
        processes.iter().for_each(|process| self.forget(process.pid));
    }

    /// Our children that no check knows: orphans of workers. Reaps the ended ones, returns the others.
    pub(super) fn orphans(&self) -> Vec<i32> {
        let known = self.known.borrow();
        let strangers = observe::children_of(std::process::id().cast_signed());
        strangers.into_iter().filter(|pid| !known.contains(pid)).filter(|&pid| !reap_one(pid)).collect()
    }

    /// Kills and reaps every process below this one. Returns those that were still running.
    pub(super) fn sweep(&self) -> Vec<i32> {
        let me = std::process::id().cast_signed();
        let mut found = Vec::new();
        let start = Instant::now();
        loop {
            // A look at all processes misses one that is always another one; the kernel does not.
            if !observe::has_children() {
                break;
            }
            if start.elapsed() > CLEAN_UP {
                self.resists.set(true);
            }
            for pid in observe::descendants_of(me) {
                if !observe::has_ended(pid) {
                    kill_one(pid);
                    if !found.contains(&pid) {
                        found.push(pid);
                    }
                }
            }
            while reap_one(-1) {}
            if self.resists.get() {
                break;
            }
            std::thread::yield_now();
        }
        let known = self.known.take();
        found.retain(|pid| !known.contains(pid));
        found
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.sweep();
    }
}

fn kill_one(pid: i32) {
    // SAFETY: sends a signal to a process below us, which cannot be reused before we reap it or its parent does.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

/// Reaps a child if it has ended; -1 means any.
fn reap_one(pid: i32) -> bool {
    // SAFETY: no status is asked for.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG) > 0 }
}

/// Reads exactly `bytes.len()` bytes; an error at the end of the stream.
pub(super) fn read_exact(fd: RawFd, mut bytes: &mut [u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        // SAFETY: the buffer is valid for its length. The raw call is not interposed.
        let count = unsafe { libc::syscall(libc::SYS_read, fd, bytes.as_mut_ptr(), bytes.len()) };
        match count {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            1.. => bytes = &mut bytes[count as usize..],
            _ => retry_interrupted()?,
        }
    }
    Ok(())
}

/// Writes all bytes.
pub(super) fn write_all(fd: RawFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        // SAFETY: the buffer is valid for its length; MSG_NOSIGNAL turns a closed peer into an error.
        let count = unsafe {
            libc::syscall(
                libc::SYS_sendto,
                fd,
                bytes.as_ptr(),
                bytes.len(),
                libc::MSG_NOSIGNAL,
                0usize,
                0usize,
            )
        };
        match count {
            0.. => bytes = &bytes[count as usize..],
            _ => retry_interrupted()?,
        }
    }
    Ok(())
}

/// Why nobody waits any longer.
fn too_late(time: Time, what: String) -> Stop {
    match time {
        Time::Denied => Stop::Inconclusive(format!(
            "{what}\nthis machine is too busy: there was no processor, or no disk, for it"
        )),
        Time::Left | Time::Over => Stop::TimedOut(what),
    }
}

fn retry_interrupted() -> io::Result<()> {
    let error = io::Error::last_os_error();
    if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) }
}
