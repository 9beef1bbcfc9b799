//! What the checks of all parts need: who sleeps where, wake-up calls for no reason, and turns that are counted.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use harness::{Check, Outcome, Shared, Student, Wire, ensure, observe};

/// Processor time after which somebody who should sleep is said to be spinning.
const PATIENCE: Duration = Duration::from_millis(150);

/// Whether the process sleeps in a futex call on some word of `memory`.
pub fn asleep_on<T: Sync>(pid: i32, memory: &Shared<T>) -> bool {
    let inside = memory.address()..memory.address() + size_of::<T>();
    asleep_where(pid).is_some_and(|address| inside.contains(&address))
}

/// The address of the word on which the process sleeps in a futex call, as it sees it itself.
pub fn asleep_where(pid: i32) -> Option<usize> {
    let call = observe::blocked_in(pid, pid).filter(|call| call.number == libc::SYS_futex)?;
    (observe::state_of(pid) == Some('S')).then_some(call.arguments[0] as usize)
}

/// If the process sleeps on some word of `memory` without a time limit: how often it went to sleep so far. Who has the same number
/// twice has slept all the time in between.
pub fn asleep_for_ever<T: Sync>(pid: i32, memory: &Shared<T>) -> Option<u64> {
    let call = observe::blocked_in(pid, pid)?;
    (asleep_on(pid, memory) && call.arguments[3] == 0).then(|| times_asleep(pid))
}

/// How often the process went to sleep so far (proc_pid_status(5)).
pub fn times_asleep(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

/// Waits until the student sleeps, as it should, on a word of `memory`; it says by `passed` when it went on instead.
pub fn falls_asleep<T: Wire, M: Sync>(
    check: &Check,
    student: &Student<T>,
    memory: &Shared<M>,
    passed: &AtomicU32,
    function: &str,
) -> Outcome {
    sleeps_if(check, student.pid(), passed, (function, function), |pid| asleep_on(pid, memory))
}

/// As [`falls_asleep`], in memory that the student has mapped somewhere itself; `look` is where to look if it goes on.
pub fn falls_asleep_somewhere(
    check: &Check,
    pid: i32,
    passed: &AtomicU32,
    function: &str,
    look: &str,
) -> Outcome {
    sleeps_if(check, pid, passed, (function, look), |pid| asleep_where(pid).is_some())
}

fn sleeps_if(
    check: &Check,
    pid: i32,
    passed: &AtomicU32,
    (function, look): (&str, &str),
    asleep: impl Fn(i32) -> bool,
) -> Outcome {
    let (mut used, mut went_on, mut gone) = (Duration::ZERO, false, false);
    check.wait_until(&format!("{function} sleeps"), || {
        went_on = passed.load(Ordering::SeqCst) != 0;
        used = observe::cpu_time_of(pid).unwrap_or_default();
        gone = matches!(observe::state_of(pid), None | Some('Z'));
        asleep(pid) || went_on || gone || used > PATIENCE
    })?;
    ensure!(
        !went_on,
        expected: "{function} does not return while another process holds the mutex",
        observed: "it returned: two processes hold the mutex",
        look: "{look}",
    );
    ensure!(
        used <= PATIENCE,
        expected: "{function} on a mutex that another process holds soon sleeps in the kernel",
        observed: format!("after {} ms of processor time it was still running", used.as_millis()),
        look: "{function}: does it call `FUTEX_WAIT`, and does the word still have the value that it expects there?",
    );
    Ok(())
}

/// Makes a futex call that wakes at most `count` on one word, for processes in general.
pub fn wake(word: &AtomicU32, count: i32) -> u32 {
    // SAFETY: the word is alive; waking changes no memory.
    let woken = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, count) };
    u32::try_from(woken).unwrap_or(0)
}

/// Sleeps on a word while it is `expected`; true if somebody woke us.
pub fn wait(word: &AtomicU32, expected: u32) -> bool {
    // SAFETY: the word is alive; no time is given.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, expected, 0usize) == 0 }
}

/// Wakes everybody who sleeps on any word of `memory`, for no reason.
pub fn wake_for_nothing<T: Sync>(memory: &Shared<T>) -> u32 {
    let words = memory.address()..memory.address() + size_of::<T>();
    // SAFETY: aligned words of memory that is alive; only their addresses are used.
    words.step_by(4).map(|word| wake(unsafe { AtomicU32::from_ptr(word as *mut u32) }, i32::MAX)).sum()
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
