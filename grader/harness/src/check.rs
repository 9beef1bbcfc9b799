//! What a check does: asks the submission in forked workers, and judges what comes back.
//!
//! Invariant: the submission's code runs in workers only, never in this process.

mod explore;
pub(crate) mod leftovers;
mod process;
mod respondent;
mod student;
mod supervisor;
mod worker;

use std::cell::Cell;
use std::fmt::Display;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::deadline;
use crate::event::Event;
use crate::panics;
use crate::rng::Rng;
use crate::shared::Shared;
use crate::stop::{Ending, Outcome, Stop};
use crate::wire::{Wire, decode, encode};

pub(crate) use process::Process;
pub use respondent::Respondent;
pub use student::Student;
use supervisor::{Supervisor, Waited};
use worker::Group;
pub use worker::{Stress, Worker};

/// How long workers may take to notice that one of them reported a violation.
const AFTER_VIOLATION: Duration = Duration::from_millis(100);

/// What the next workers are allowed to do.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Children of the worker may outlive it: the check itself looks after them.
    pub may_leave_processes: bool,
    /// The worker may end with descriptors open that it did not have at its start.
    pub may_keep_descriptors: bool,
    /// A deadline for each call of its own, instead of the check's.
    pub deadline: Option<Duration>,
}

/// A running check.
pub struct Check {
    supervisor: Rc<Supervisor>,
    rng: Rng,
    seed: u64,
    slowness: f64,
    /// How many explorations were begun.
    explorations: Cell<u32>,
    replay: Option<Replay>,
}

/// The one execution that is to be run again: the number of the exploration, and the schedule.
#[derive(Debug, Clone)]
pub(crate) struct Replay {
    exploration: u32,
    #[cfg_attr(not(feature = "explore"), expect(dead_code, reason = "only the explored build replays"))]
    schedule: String,
}

impl Replay {
    /// Reads `2:17t2.23r1`.
    pub(crate) fn parse(text: &str) -> Option<Replay> {
        let (exploration, schedule) = text.split_once(':')?;
        Some(Replay { exploration: exploration.parse().ok()?, schedule: schedule.to_owned() })
    }
}

impl Check {
    /// A check without a grader, for tests of checks: events go to stderr.
    pub fn standalone(seed: u64, deadline: Duration) -> Check {
        panics::install();
        deadline::install();
        leftovers::install();
        Check::new(None, seed, deadline, 1.0, None)
    }

    pub(crate) fn new(
        events: Option<OwnedFd>,
        seed: u64,
        deadline: Duration,
        slowness: f64,
        replay: Option<Replay>,
    ) -> Check {
        let supervisor = Rc::new(Supervisor::new(events, deadline));
        supervisor.send(&Event::Started { seed });
        Check { supervisor, rng: Rng::new(seed), seed, slowness, explorations: Cell::new(0), replay }
    }

    /// The seed that repeats this run.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Random numbers from the check's seed.
    pub fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// The time that the whole check has, already scaled to this machine.
    pub fn deadline(&self) -> Duration {
        self.supervisor.limit()
    }

    /// A time on an idle, ordinary machine, scaled to this one.
    pub fn scaled(&self, time: Duration) -> Duration {
        time.mul_f64(self.slowness)
    }

    /// Says in the report what was covered: "1,000 random operands".
    pub fn note(&self, text: impl Display) {
        self.supervisor.send(&Event::Note { text: text.to_string() });
    }

    /// Hands an instruction that was seen at work to the grader, which decodes and judges it.
    /// `address` is relative to where the check binary is loaded.
    pub fn instruction(&self, rule: &str, address: u64, bytes: &[u8]) {
        let bytes = bytes[..bytes.len().min(15)].to_vec();
        self.supervisor.send(&Event::Instruction { rule: rule.to_string(), address, bytes });
    }

    /// What the next workers are allowed to do, until set again.
    pub fn options(&mut self, options: Options) {
        self.supervisor.options.set(options);
    }

    /// Runs the closure in one worker and returns its answer.
    ///
    /// # Errors
    /// The [`Stop`] that fits when the worker panics, dies, ends early, does not finish in time,
    /// reaches a `todo!()`, or leaves a process or a descriptor behind.
    pub fn ask<T: Wire>(&self, what: &str, closure: impl FnOnce() -> T) -> Result<T, Stop> {
        finished(what, self.ending(what, closure)?)
    }

    /// As [`Check::ask`], but tells how the worker ended instead of taking its death for a fault.
    ///
    /// # Errors
    /// As `ask`, for a hang, a `todo!()` and whatever was left behind.
    pub fn ending<T: Wire>(&self, what: &str, closure: impl FnOnce() -> T) -> Result<Ending<T>, Stop> {
        self.spawn(what, closure)?.ending()
    }

    /// Starts a worker in the background.
    ///
    /// # Errors
    /// `Inconclusive` when the machine gives no process.
    pub fn spawn<T: Wire>(&self, what: &str, closure: impl FnOnce() -> T) -> Result<Student<T>, Stop> {
        let process = self.fork(what, None, || encode(&closure()))?;
        Ok(Student::new(Rc::clone(&self.supervisor), process))
    }

    /// Starts a worker that answers questions one at a time.
    ///
    /// # Errors
    /// `Inconclusive` when the machine gives no process or socket.
    pub fn respondent<I: Wire, O: Wire>(
        &self,
        what: &str,
        closure: impl FnMut(I) -> O,
    ) -> Result<Respondent<I, O>, Stop> {
        Respondent::start(self, what, closure)
    }

    /// Builds a value in a worker, straight into shared memory: for values that contain types of
    /// the submission. The value must hold no pointers into the worker's own memory.
    ///
    /// # Errors
    /// As [`Check::ask`].
    pub fn shared<T: Sync>(&self, what: &str, make: impl FnOnce() -> T) -> Result<Shared<T>, Stop> {
        // SAFETY: nobody reads the zero bytes as a `T`: on any failure of the worker the region is
        // dropped unread, and on success the worker has written a whole `T`.
        let shared = unsafe { Shared::<T>::zeroed() };
        let place = shared.as_ptr();
        self.ask(what, || {
            let value = make();
            // SAFETY: the worker has inherited the mapping, which has room for one `T`.
            unsafe { place.write(value) };
        })?;
        Ok(shared.named(what))
    }

    /// Runs `count` workers, each on a processor of its own as far as they go, released together,
    /// and waits for all of them.
    ///
    /// # Errors
    /// As [`Check::ask`], for the first worker that fails; the others are killed.
    /// A reported violation is [`Stop::Failed`].
    pub fn workers(&self, count: usize, what: &str, closure: impl Fn(&Worker<'_>)) -> Outcome {
        match self.group(count, what, None, closure)? {
            None => Ok(()),
            Some(violation) => Err(Stop::failed(format!("{what} as the contract says"), violation, what)),
        }
    }

    /// Runs workers for a time budget, with a stop at the first violation, and returns its text.
    ///
    /// # Errors
    /// As [`Check::workers`].
    pub fn stress(&self, stress: Stress<'_>, closure: impl Fn(&Worker<'_>)) -> Result<Option<String>, Stop> {
        self.group(stress.workers, stress.what, Some(self.scaled(stress.budget)), closure)
    }

    /// Waits until the condition is true. The condition runs here: it may look at shared memory
    /// and ask the kernel, never call the submission.
    ///
    /// # Errors
    /// [`Stop::TimedOut`] with what everybody waits for, once the deadline is over.
    pub fn wait_until(&self, what: &str, condition: impl FnMut() -> bool) -> Outcome {
        self.supervisor.wait_until(what, condition)
    }

    /// As [`Check::wait_until`], for what these processes must do soon: within the limit, not counting the time in which the
    /// machine kept them from it. `false` when they have not. The limit is scaled here.
    ///
    /// # Errors
    /// As [`Check::wait_until`]; [`Stop::Inconclusive`] when the machine gave them no time.
    pub fn wait_within(
        &self,
        what: &str,
        limit: Duration,
        pids: &[i32],
        condition: impl FnMut() -> bool,
    ) -> Result<bool, Stop> {
        self.supervisor.wait_within(what, self.scaled(limit), pids, condition)
    }

    fn fork(
        &self,
        what: &str,
        cpu: Option<usize>,
        closure: impl FnOnce() -> Vec<u8>,
    ) -> Result<Process, Stop> {
        let events = self.supervisor.events_fd();
        let process = Process::fork(what, self.supervisor.options.get(), events, cpu, closure)?;
        self.supervisor.know(process.pid);
        Ok(process)
    }

    fn group(
        &self,
        count: usize,
        what: &str,
        budget: Option<Duration>,
        closure: impl Fn(&Worker<'_>),
    ) -> Result<Option<String>, Stop> {
        let group = Shared::new(Group::new());
        let mut processes = Vec::with_capacity(count);
        for index in 0..count {
            let process = self.fork(what, Some(index), || {
                closure(&Worker::start(&group, index, count, budget, self.seed));
                Vec::new()
            });
            match process {
                Ok(process) => processes.push(process),
                Err(stop) => {
                    self.supervisor.kill(&mut processes);
                    return Err(stop);
                }
            }
        }
        let mut clock = self.supervisor.clock();
        let mut seen: Option<Instant> = None;
        let waited = self.supervisor.wait(&mut clock, &mut processes, || {
            if seen.is_none() && group.violation().is_some() {
                seen = Some(Instant::now());
            }
            seen.is_some_and(|seen| seen.elapsed() > AFTER_VIOLATION)
        });
        processes.iter().for_each(|process| self.supervisor.forget(process.pid));
        let violation = group.violation();
        match waited {
            Ok(Waited::All) if violation.is_none() => {
                for process in &processes {
                    finished::<Vec<u8>>(what, process.ending()?)?;
                }
                self.supervisor.left_over(what)?;
                Ok(None)
            }
            Ok(Waited::Died(dead)) if violation.is_none() => {
                finished(what, processes[dead].ending()?)?;
                Ok(None)
            }
            // A violation is the cause of whatever else went wrong afterwards.
            Ok(_) => {
                self.supervisor.kill(&mut processes);
                Ok(violation)
            }
            Err(Stop::TimedOut(why)) => violation.map(Some).ok_or(Stop::TimedOut(why)),
            Err(stop) => Err(stop),
        }
    }

    /// Ends the check: kills and reaps what is left, tells the grader how it went.
    pub(crate) fn finish(self, outcome: Outcome) -> bool {
        let todo = panics::first_todo();
        let outcome = match todo {
            Some(todo) => Err(Stop::Unimplemented { todo: todo.message, place: todo.place }),
            None => outcome,
        };
        let left = self.supervisor.sweep();
        let outcome = match outcome {
            Ok(()) if !left.is_empty() => {
                let pids: Vec<String> = left.iter().map(i32::to_string).collect();
                Err(Stop::Leaked(format!("processes still running at the end: {}", pids.join(", "))))
            }
            outcome => outcome,
        };
        let objects = leftovers::remove();
        let outcome = match outcome {
            Ok(()) if !objects.is_empty() => {
                Err(Stop::Leaked(format!("not removed at the end: {}", objects.join(", "))))
            }
            outcome => outcome,
        };
        let passed = outcome.is_ok();
        if let Some(event) = outcome.err().and_then(Stop::event) {
            self.supervisor.send(&event);
        }
        self.supervisor.send(&Event::Finished);
        passed
    }
}

impl Supervisor {
    /// Says what workers left running, unless they may.
    fn left_over(&self, what: &str) -> Outcome {
        if self.options.get().may_leave_processes {
            return Ok(());
        }
        let orphans = self.orphans();
        if orphans.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = orphans.iter().map(|&pid| format!("{pid} (`{}`)", name_of(pid))).collect();
        Err(Stop::Leaked(format!("processes still running after {what}: {}", names.join(", "))))
    }
}

fn name_of(pid: i32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim_end().to_string()
}

/// The answer, or the fault that the ending is when a normal return was wanted.
fn finished<T>(what: &str, ending: Ending<T>) -> Result<T, Stop> {
    match ending {
        Ending::Returned(answer) => Ok(answer),
        Ending::Exited(code) => Err(Stop::Crashed {
            how: format!("the process ended itself with exit code {code} before {what} had returned"),
            place: None,
        }),
        Ending::Signalled(signal) => {
            Err(Stop::Crashed { how: format!("{} during {what}", signal_in_words(signal)), place: None })
        }
        Ending::Panicked { message, place } => {
            Err(Stop::Crashed { how: format!("{what} panicked: {message}"), place })
        }
    }
}

fn signal_in_words(signal: i32) -> String {
    let name = nix::sys::signal::Signal::try_from(signal)
        .map_or_else(|_| format!("signal {signal}"), |signal| signal.as_str().to_string());
    let meaning = match signal {
        libc::SIGSEGV => " (access to memory that is not mapped, or not for this)",
        libc::SIGBUS => " (access beyond the end of a mapped object)",
        libc::SIGABRT => " (abort: a stack overflow, a panic while panicking, or heap corruption)",
        libc::SIGILL => " (illegal instruction)",
        libc::SIGFPE => " (arithmetic fault)",
        libc::SIGPIPE => " (write to a pipe without a reader)",
        libc::SIGKILL => " (killed)",
        _ => "",
    };
    format!("killed by {name}{meaning}")
}

/// A worker's answer, decoded.
fn decoded<T: Wire>(what: &str, ending: Ending<Vec<u8>>) -> Result<Ending<T>, Stop> {
    Ok(match ending {
        Ending::Returned(bytes) => Ending::Returned(decode(&bytes).ok_or_else(|| Stop::Crashed {
            how: format!("the answer of {what} did not arrive whole: something wrote over it"),
            place: None,
        })?),
        Ending::Exited(code) => Ending::Exited(code),
        Ending::Signalled(signal) => Ending::Signalled(signal),
        Ending::Panicked { message, place } => Ending::Panicked { message, place },
    })
}

/// Moves a descriptor away from the low numbers that a student's own will have.
pub(crate) fn out_of_the_way(fd: OwnedFd) -> OwnedFd {
    process::raise(fd.into_raw_fd())
}
