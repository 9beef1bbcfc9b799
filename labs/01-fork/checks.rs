//! What lab 01 asks for, one property a function.

use std::collections::HashSet;
use std::fs;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, AtomicU8, AtomicU32, AtomicUsize, Ordering::SeqCst};

use fork::{ChildExit, PageSharing, Snapshot, daemonize, fork_map, resident_sharing, run_in_child, snapshot};
use harness::faults::{self, Action, Plan};
use harness::{Bystander, Check, Options, Outcome, Rng, Shared, Stop, Wire, ensure, observe};

#[path = "checks/daemonize.rs"]
mod daemonize;
#[path = "checks/fork_map.rs"]
mod fork_map;
#[path = "checks/resident_sharing.rs"]
mod resident_sharing;
#[path = "checks/run_in_child.rs"]
mod run_in_child;
#[path = "checks/snapshot.rs"]
mod snapshot;

harness::checks! {
    "runs-in-a-child" => run_in_child::runs_in_a_child,
    "exit-codes-are-told" => run_in_child::exit_codes_are_told,
    "death-by-signal-is-told" => run_in_child::death_by_signal_is_told,
    "real-time-signals-are-told" => run_in_child::real_time_signals_are_told,
    "code-after-the-call-runs-once" => run_in_child::code_after_the_call_runs_once,
    "a-panic-stays-in-the-child" => run_in_child::a_panic_stays_in_the_child,
    "output-appears-once" => run_in_child::output_appears_once,
    "an-interrupted-wait-goes-on" => run_in_child::an_interrupted_wait_goes_on,
    "a-failed-fork-is-an-error" => run_in_child::a_failed_fork_is_an_error,
    "the-child-is-reaped" => run_in_child::the_child_is_reaped,
    "results-are-in-order" => fork_map::results_are_in_order,
    "order-is-not-that-of-completion" => fork_map::order_is_not_that_of_completion,
    "workers-run-at-the-same-time" => fork_map::workers_run_at_the_same_time,
    "a-crash-costs-its-own-items" => fork_map::a_crash_costs_its_own_items,
    "large-results-arrive" => fork_map::large_results_arrive,
    "transfers-may-be-short-or-interrupted" => fork_map::transfers_may_be_short_or_interrupted,
    "map-leaves-nothing-behind" => fork_map::map_leaves_nothing_behind,
    "a-failed-fork-undoes-the-map" => fork_map::a_failed_fork_undoes_the_map,
    "no-items-and-no-workers" => fork_map::no_items_and_no_workers,
    "untouched-pages-stay-shared" => resident_sharing::untouched_pages_stay_shared,
    "written-pages-are-exclusive" => resident_sharing::written_pages_are_exclusive,
    "absent-pages-stay-absent" => resident_sharing::absent_pages_stay_absent,
    "shared-memory-is-counted-apart" => resident_sharing::shared_memory_is_counted_apart,
    "ranges-need-not-be-aligned" => resident_sharing::ranges_need_not_be_aligned,
    "the-image-is-the-state-at-the-call" => snapshot::the_image_is_the_state_at_the_call,
    "a-failed-writer-is-reported" => snapshot::a_failed_writer_is_reported,
    "extra-memory-follows-the-writes" => snapshot::extra_memory_follows_the_writes,
    "a-dropped-snapshot-is-reaped" => snapshot::a_dropped_snapshot_is_reaped,
    "the-daemon-has-no-terminal" => daemonize::the_daemon_has_no_terminal,
    "the-daemon-is-adopted" => daemonize::the_daemon_is_adopted,
    "the-daemon-leaves-directory-and-streams" => daemonize::the_daemon_leaves_directory_and_streams,
    "the-daemon-outlives-its-caller" => daemonize::the_daemon_outlives_its_caller,
    "a-failed-daemon-is-an-error" => daemonize::a_failed_daemon_is_an_error,
}

// ---- How the checks talk to the student's functions.

fn me() -> i32 {
    std::process::id().cast_signed()
}

/// A worker process at the moment it calls the student's function. Only that process may come back from it.
struct Home<'a> {
    strays: &'a AtomicU32,
}

impl Home<'_> {
    /// Makes the call. A child that comes back from it, by return or by panic, is noted and ends here.
    fn call<R>(&self, call: impl FnOnce() -> R) -> R {
        let _guard = Guard { pid: me(), strays: self.strays };
        call()
    }
}

struct Guard<'a> {
    pid: i32,
    strays: &'a AtomicU32,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if me() != self.pid {
            self.strays.store(if std::thread::panicking() { 2 } else { 1 }, SeqCst);
            leave(0);
        }
    }
}

fn leave(code: i32) -> ! {
    // SAFETY: ends this process at once.
    unsafe { libc::_exit(code) }
}

/// Asks in a worker; a child that came back from the student's function is the first thing to report.
fn ask<T: Wire>(
    check: &mut Check,
    function: &str,
    what: &str,
    question: impl FnOnce(&Home<'_>) -> T,
) -> Result<T, Stop> {
    let strays = Shared::new(AtomicU32::new(0));
    let answer = check.ask(what, || question(&Home { strays: &strays }));
    if !matches!(answer, Err(Stop::Unimplemented { .. })) {
        let how = match strays.load(SeqCst) {
            0 => return answer,
            1 => "the child returned from it too, and would have run the caller's code a second time",
            _ => "a panic unwound through it in the child, out into the caller's code",
        };
        return Err(Stop::failed(
            format!("{what} comes back in the calling process only"),
            how,
            format!("the child's side of {function}: catch the panic, then leave by `_exit`"),
        ));
    }
    answer
}

/// What comes of a call while another child of the caller's has ended, which is there to be waited for afterwards.
fn others_are_left_alone(
    check: &mut Check,
    function: &str,
    expected: &str,
    call: impl FnOnce(&Home<'_>) -> String,
) -> Outcome {
    let what = format!("{function} while another child of the caller has ended");
    let answer = ask(check, function, &what, |home| {
        let bystander = Bystander::new().map_err(|error| error.to_string())?;
        let seen = call(home);
        Ok((seen, bystander.is_left()))
    })?;
    let (seen, is_left) = answer.map_err(|error: String| Stop::inconclusive(format!("`fork`: {error}")))?;
    let stolen = match is_left {
        true => String::new(),
        false => {
            let code = Bystander::CODE;
            format!(", and the other child, which had ended with {code}, has been waited for")
        }
    };
    ensure!(
        is_left && seen == expected,
        expected: "{expected} of {what}, and that child left to whoever made it",
        observed: "{seen}{stolen}",
        look: "`waitpid` in {function}: which child it waits for"
    );
    Ok(())
}

fn text<T>(result: io::Result<T>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

/// `run_in_child`'s answer in a form that travels: (by signal?, number).
type Told = Result<(bool, i32), String>;

fn told(result: io::Result<ChildExit>) -> Told {
    text(result.map(|exit| match exit {
        ChildExit::Code(code) => (false, code.into()),
        ChildExit::Signal(signal) => (true, signal),
    }))
}

fn describe(told: &Told) -> String {
    match told {
        Ok((false, code)) => format!("Code({code})"),
        Ok((true, signal)) => format!("Signal({signal})"),
        Err(error) => format!("the error \"{error}\""),
    }
}

/// Waits, without sleeping on anything of the student's, until the condition holds; the check's deadline ends it otherwise.
fn spin_until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        std::thread::yield_now();
    }
}

/// Whether there is no such process, or it only waits to be reaped.
fn has_ended(pid: i32) -> bool {
    matches!(observe::state_of(pid), None | Some('Z' | 'X'))
}

/// Children of this process, living and ended.
fn children() -> usize {
    observe::children_of(me()).len()
}

/// Waits for all children, so that what is left is counted by the check and reported in its words.
fn reap_all() {
    // SAFETY: no status is asked for.
    while unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) } > 0 {}
}

/// What a caller waits for that should be on its way.
#[derive(Clone, Copy)]
enum Wait {
    Child = 1,
    Pipe,
    Something,
}

impl Wait {
    /// For children: their caller has no reason to wait while all of them are in the check's closures, except for one of them. `None` too
    /// while it sleeps in a call that waits for nobody, such as a `fork` that somebody lets through one at a time.
    fn of(caller: i32) -> Option<Wait> {
        if observe::state_of(caller) != Some('S') {
            return None;
        }
        let Some(call) = observe::blocked_in(caller, caller) else { return Wait::by_place(caller) };
        match call.number {
            libc::SYS_wait4 | libc::SYS_waitid => Some(Wait::Child),
            libc::SYS_read | libc::SYS_poll | libc::SYS_ppoll | libc::SYS_select | libc::SYS_epoll_wait => {
                Some(Wait::Pipe)
            }
            libc::SYS_rt_sigtimedwait | libc::SYS_rt_sigsuspend | libc::SYS_clock_nanosleep => {
                Some(Wait::Something)
            }
            _ => None,
        }
    }

    /// By the kernel's own function, where a child may not ask for its caller's system call.
    fn by_place(caller: i32) -> Option<Wait> {
        match observe::wchan_of(caller).as_str() {
            "do_wait" => Some(Wait::Child),
            place if place.contains("pipe_") || place.contains("poll") => Some(Wait::Pipe),
            _ => None,
        }
    }

    /// What a child has noted in shared memory; 0 is nothing.
    fn noted(number: u32) -> Option<&'static str> {
        match number {
            0 => None,
            1 => Some("the caller waited for a child to end"),
            2 => Some("the caller waited at a pipe"),
            _ => Some("the caller slept"),
        }
    }
}

/// An error's errno for a comparison, and its text for the student.
fn errno_and_text(error: &io::Error) -> (i32, String) {
    (error.raw_os_error().unwrap_or(0), error.to_string())
}

fn descriptors() -> usize {
    observe::open_fds(me()).map_or(0, |fds| fds.len())
}

/// A signal ends this process and leaves no core file, whatever the handlers were.
fn die_by(signal: i32) -> u8 {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: plain system calls on valid memory; the mask is empty.
    unsafe {
        libc::setrlimit(libc::RLIMIT_CORE, &none);
        libc::signal(signal, libc::SIG_DFL);
        let mut mask = std::mem::zeroed();
        libc::sigemptyset(&mut mask);
        libc::sigprocmask(libc::SIG_SETMASK, &mask, std::ptr::null_mut());
        libc::kill(libc::getpid(), signal);
    }
    0
}

/// A panic without the message and the backtrace, which would only frighten.
fn panic_quietly() -> ! {
    std::panic::resume_unwind(Box::new("on purpose, by the check"))
}

/// The call went well, without which the absence of leftovers means nothing.
fn went_well(failures: &[String], call: &str) -> Outcome {
    match failures.first() {
        None => Ok(()),
        Some(error) => Err(Stop::failed(format!("`Ok` from {call}"), format!("the error \"{error}\""), call)),
    }
}

fn wait_at(mut gate: &PipeReader) {
    let _ = gate.read(&mut [0]);
}

fn open(mut gate: &PipeWriter) {
    let _ = gate.write(&[1]);
}

/// The caller got the errno EAGAIN that the check made `fork` fail with, unless it does not call `fork` at all.
fn its_error(answer: &Result<(), (i32, String)>, forks: usize, expected: &str, look: &str) -> Outcome {
    let seen = match answer {
        Ok(()) if forks == 0 => return Ok(()),
        Err((libc::EAGAIN, _)) => return Ok(()),
        Ok(()) => "`Ok`".to_string(),
        Err((_, text)) => format!("the error \"{text}\""),
    };
    let wanted = io::Error::from_raw_os_error(libc::EAGAIN);
    Err(Stop::failed(format!("{expected}, \"{wanted}\" (EAGAIN)"), seen, look))
}

/// Private or shared anonymous memory, in pages of the ordinary size. Never unmapped: its process ends soon.
#[derive(Clone, Copy)]
struct Region {
    start: usize,
    pages: usize,
    page: usize,
}

impl Region {
    fn new(pages: usize, sharing: i32) -> Region {
        // SAFETY: fresh anonymous memory; no huge pages, so that the kernel copies page by page.
        unsafe {
            let page = libc::sysconf(libc::_SC_PAGESIZE) as usize;
            let flags = sharing | libc::MAP_ANONYMOUS;
            let start = libc::mmap(
                std::ptr::null_mut(),
                pages * page,
                libc::PROT_READ | libc::PROT_WRITE,
                flags,
                -1,
                0,
            );
            assert!(start != libc::MAP_FAILED, "cannot map {pages} pages: {}", io::Error::last_os_error());
            libc::madvise(start, pages * page, libc::MADV_NOHUGEPAGE);
            Region { start: start as usize, pages, page }
        }
    }

    fn write(self, index: usize, value: u8) {
        // SAFETY: the region is mapped, writable, and no reference into it is held.
        unsafe { ((self.start + index * self.page) as *mut u8).write_volatile(value) };
    }

    fn range(self) -> Range<usize> {
        self.start..self.start + self.pages * self.page
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: the region is mapped and readable for the life of the process.
        unsafe { std::slice::from_raw_parts(self.start as *const u8, self.pages * self.page) }
    }
}
