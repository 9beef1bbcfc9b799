//! What the checks of all parts need: who sleeps, wake-up calls for no reason, signals.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use harness::{Check, Outcome, Shared, ensure, observe};

/// Processor time after which somebody who should sleep is said to be spinning.
const PATIENCE: Duration = Duration::from_millis(150);

/// Whether the process sleeps in the kernel, on a futex or a System V semaphore.
pub fn asleep(pid: i32) -> bool {
    let calls = [libc::SYS_futex, libc::SYS_semop, libc::SYS_semtimedop];
    observe::blocked_in(pid, pid).is_some_and(|call| calls.contains(&call.number))
        && observe::state_of(pid) == Some('S')
}

/// Whether the process sleeps on a futex and has not asked to be woken at any time.
pub fn asleep_for_ever(pid: i32) -> bool {
    let forever = |call: observe::Syscall| call.number == libc::SYS_futex && call.arguments[3] == 0;
    observe::blocked_in(pid, pid).is_some_and(forever) && observe::state_of(pid) == Some('S')
}

/// How often the process went to sleep so far (proc_pid_status(5)).
pub fn times_asleep(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

/// A call that should sleep.
pub struct Sleeper<'a> {
    /// The call, for messages.
    pub function: &'a str,
    /// Why it cannot go on: "the count is 0".
    pub because: &'a str,
    /// Set by the worker when the call has returned.
    pub passed: &'a AtomicU32,
}

impl Sleeper<'_> {
    /// Waits until the worker sleeps in the call, as it should.
    pub fn falls_asleep(&self, check: &Check, pid: i32) -> Outcome {
        let Sleeper { function, because, passed } = self;
        let mut used = Duration::ZERO;
        check.wait_until(&format!("{function} sleeps"), || {
            used = observe::cpu_time_of(pid).unwrap_or_default();
            let gone = matches!(observe::state_of(pid), None | Some('Z'));
            asleep(pid) || gone || used > PATIENCE || passed.load(Ordering::SeqCst) != 0
        })?;
        ensure!(
            passed.load(Ordering::SeqCst) == 0,
            expected: "{function} does not return while {because}",
            observed: "it returned",
            look: "{function}",
        );
        ensure!(
            used <= PATIENCE,
            expected: "{function} soon sleeps in the kernel while {because}",
            observed: format!("after {} ms of processor time it was still running", used.as_millis()),
            look: "{function}: does it sleep, and does the word still have the value that it expects there?",
        );
        Ok(())
    }

    /// Waits until it has returned, which it does at once after what has just happened.
    pub fn goes_on(&self, check: &Check, pid: i32, after: &str) -> Outcome {
        let function = self.function;
        let passed = || self.passed.load(Ordering::SeqCst) != 0;
        check.wait_until(&format!("{function} returns"), || passed() || asleep(pid))?;
        ensure!(
            passed(),
            expected: "{function} returns after {after}",
            observed: "it sleeps",
            look: "{function}: who wakes it?",
        );
        Ok(())
    }
}

/// Wakes everybody who sleeps on any word of `memory`, for no reason.
pub fn wake_for_nothing<T: Sync>(memory: &Shared<T>) -> u32 {
    let words = memory.address()..memory.address() + size_of::<T>();
    let wake = |word: usize| {
        // SAFETY: waking uses the address only and changes no memory.
        let woken = unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAKE, i32::MAX) };
        u32::try_from(woken).unwrap_or(0)
    };
    words.step_by(4).map(wake).sum()
}

/// A worker's side: until the supervisor has set the flag.
pub fn until(flag: &AtomicU32) {
    while flag.load(Ordering::SeqCst) == 0 {
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// A worker's side: SIGUSR1 does nothing, but interrupts what it finds (no `SA_RESTART`).
pub fn interruptible() {
    extern "C" fn nothing(_: libc::c_int) {}
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
    let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing at all.
    let _ = unsafe { sigaction(Signal::SIGUSR1, &action) };
}

/// Sends SIGUSR1.
pub fn interrupt(pid: i32) {
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGUSR1);
}
