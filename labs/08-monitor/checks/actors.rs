//! What the checks of all parts need: processes that wait, the moment when all is still, and a plain number for the explorer.

use std::cell::UnsafeCell;
use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use harness::{Check, Outcome, Shared, SharedSlice, Stop, Student, ensure, observe};

/// Processor time after which somebody who should sleep is said to be spinning.
const PATIENCE: Duration = Duration::from_millis(150);

/// How many actors a check may have.
const MOST: usize = 8;

/// Processes of the submission that come, wait somewhere, get through, and leave when they are told to.
pub struct Actors<'a> {
    check: &'a Check,
    flags: SharedSlice<Flags>,
    students: Vec<Option<Student<()>>>,
}

/// What an actor and the supervisor tell each other.
pub struct Flags {
    through: AtomicU32,
    may_leave: AtomicU32,
}

impl Flags {
    /// The actor's side: it has got through.
    pub fn through(&self) {
        self.through.store(1, Ordering::SeqCst);
    }

    /// The actor's side: stays until it may leave.
    pub fn stay(&self) {
        while self.may_leave.load(Ordering::SeqCst) == 0 {
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

impl<'a> Actors<'a> {
    /// Nobody there yet.
    pub fn new(check: &'a Check) -> Actors<'a> {
        let flags =
            Shared::slice(MOST, |_| Flags { through: AtomicU32::new(0), may_leave: AtomicU32::new(0) });
        Actors { check, flags, students: Vec::new() }
    }

    /// One more comes; this returns when all is still. The closure is given the actor's flags.
    pub fn comes(&mut self, what: &str, body: impl FnOnce(&Flags)) -> Result<usize, Stop> {
        let index = self.students.len();
        let flags = &self.flags[index];
        self.students.push(Some(self.check.spawn(what, || body(flags))?));
        self.settle(what)?;
        Ok(index)
    }

    /// One may leave; this returns when it has, and all is still.
    pub fn leaves(&mut self, index: usize, what: &str) -> Outcome {
        self.flags[index].may_leave.store(1, Ordering::SeqCst);
        if let Some(student) = self.students[index].take() {
            student.join()?;
        }
        self.settle(what)
    }

    /// All may leave.
    pub fn all_leave(&mut self) -> Outcome {
        self.flags.iter().for_each(|flags| flags.may_leave.store(1, Ordering::SeqCst));
        self.students.iter_mut().filter_map(Option::take).try_for_each(Student::join)
    }

    pub fn is_through(&self, index: usize) -> bool {
        self.flags[index].through.load(Ordering::SeqCst) == 1
    }

    /// How many have got through.
    pub fn through(&self) -> usize {
        (0..self.students.len()).filter(|&index| self.is_through(index)).count()
    }

    /// Until everybody has got through or sleeps in a futex call. Nobody is running then, so it stays as it is.
    pub fn settle(&mut self, what: &str) -> Outcome {
        let mut before = None;
        let mut spinning = None;
        let (flags, students) = (&self.flags, &mut self.students);
        self.check.wait_until(&format!("{what}: everybody has got through or sleeps"), || {
            // Two looks with nobody awake in between: the counters are those of the first.
            let mut now = Vec::new();
            for (index, student) in students.iter_mut().enumerate() {
                let Some(student) = student else { continue };
                let through = flags[index].through.load(Ordering::SeqCst) == 1;
                let count = match sleeps_since(student.pid()) {
                    _ if through => 0,
                    Some(count) => count,
                    None if student.ended() => 0,
                    None => {
                        let used = observe::cpu_time_of(student.pid()).unwrap_or_default();
                        spinning = (used > PATIENCE).then_some(used);
                        before = None;
                        return spinning.is_some();
                    }
                };
                now.push((through, count));
            }
            let still = before.as_ref() == Some(&now);
            before = Some(now);
            still
        })?;
        ensure!(
            spinning.is_none(),
            expected: "{what}: whoever has to wait sleeps in the kernel",
            observed: format!("one was still running after {} ms of processor time", spinning.unwrap_or_default().as_millis()),
            look: "{what}: does it sleep with `futex_wait`, and is the word still as it expects there?",
        );
        Ok(())
    }
}

/// Whether the process sleeps in a futex call without a time limit.
pub fn sleeps_for_ever(pid: i32) -> bool {
    let call = observe::blocked_in(pid, pid).filter(|call| call.number == libc::SYS_futex);
    observe::state_of(pid) == Some('S') && call.is_some_and(|call| call.arguments[3] == 0)
}

/// How often the process went to sleep so far (proc_pid_status(5)), if it sleeps in a futex call.
fn sleeps_since(pid: i32) -> Option<u64> {
    observe::blocked_in(pid, pid).filter(|call| call.number == libc::SYS_futex)?;
    if observe::state_of(pid) != Some('S') {
        return None;
    }
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
    line.trim().parse().ok()
}

/// Wakes everybody who sleeps on any word of `memory`, for no reason.
pub fn wake_for_nothing<T: Sync>(memory: &Shared<T>) {
    let words = memory.address()..memory.address() + size_of::<T>();
    for word in words.step_by(4) {
        // SAFETY: a word of memory that is alive; waking changes nothing in it.
        unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAKE, i32::MAX) };
    }
}

/// A number without any protection of its own: the explorer reports whoever reaches it unprotected.
pub struct Plain(UnsafeCell<u64>);

// SAFETY: reached under the submission's protection only; if that fails, it is what the check is to find.
unsafe impl Sync for Plain {}

impl Plain {
    pub fn new(value: u64) -> Plain {
        Plain(UnsafeCell::new(value))
    }

    pub fn get(&self) -> u64 {
        // SAFETY: as for `Sync`.
        unsafe { *self.0.get() }
    }

    pub fn set(&self, value: u64) {
        // SAFETY: as for `Sync`.
        unsafe { *self.0.get() = value }
    }
}

/// A flag of the check itself, on which model threads wait without any part of the submission.
pub struct Flag(AtomicU32);

impl Flag {
    pub fn new() -> Flag {
        Flag(AtomicU32::new(0))
    }

    pub fn set(&self) {
        self.0.store(1, Ordering::SeqCst);
        // SAFETY: the word is alive; waking changes no memory.
        unsafe { libc::syscall(libc::SYS_futex, self.0.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
    }

    pub fn wait(&self) {
        while self.0.load(Ordering::SeqCst) == 0 {
            // SAFETY: the word is alive; no time is given.
            unsafe { libc::syscall(libc::SYS_futex, self.0.as_ptr(), libc::FUTEX_WAIT, 0, 0usize) };
        }
    }
}
