//! What lab 01 asks for, one property a function.

use std::collections::HashSet;
use std::fs;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, AtomicU8, AtomicU32, AtomicUsize, Ordering::SeqCst};

use fork::{ChildExit, PageSharing, Snapshot, daemonize, fork_map, resident_sharing, run_in_child, snapshot};
use harness::faults::{self, Action, Plan};
use harness::{Check, Options, Outcome, Rng, Shared, Stop, Wire, ensure, observe};

harness::checks! {
    "runs-in-a-child" => runs_in_a_child,
    "exit-codes-are-told" => exit_codes_are_told,
    "death-by-signal-is-told" => death_by_signal_is_told,
    "real-time-signals-are-told" => real_time_signals_are_told,
    "code-after-the-call-runs-once" => code_after_the_call_runs_once,
    "a-panic-stays-in-the-child" => a_panic_stays_in_the_child,
    "output-appears-once" => output_appears_once,
    "an-interrupted-wait-goes-on" => an_interrupted_wait_goes_on,
    "a-failed-fork-is-an-error" => a_failed_fork_is_an_error,
    "the-child-is-reaped" => the_child_is_reaped,
    "results-are-in-order" => results_are_in_order,
    "order-is-not-that-of-completion" => order_is_not_that_of_completion,
    "workers-run-at-the-same-time" => workers_run_at_the_same_time,
    "a-crash-costs-its-own-items" => a_crash_costs_its_own_items,
    "large-results-arrive" => large_results_arrive,
    "transfers-may-be-short-or-interrupted" => transfers_may_be_short_or_interrupted,
    "map-leaves-nothing-behind" => map_leaves_nothing_behind,
    "a-failed-fork-undoes-the-map" => a_failed_fork_undoes_the_map,
    "no-items-and-no-workers" => no_items_and_no_workers,
    "untouched-pages-stay-shared" => untouched_pages_stay_shared,
    "written-pages-are-exclusive" => written_pages_are_exclusive,
    "absent-pages-stay-absent" => absent_pages_stay_absent,
    "shared-memory-is-counted-apart" => shared_memory_is_counted_apart,
    "ranges-need-not-be-aligned" => ranges_need_not_be_aligned,
    "the-image-is-the-state-at-the-call" => the_image_is_the_state_at_the_call,
    "a-failed-writer-is-reported" => a_failed_writer_is_reported,
    "extra-memory-follows-the-writes" => extra_memory_follows_the_writes,
    "a-dropped-snapshot-is-reaped" => a_dropped_snapshot_is_reaped,
    "the-daemon-has-no-terminal" => the_daemon_has_no_terminal,
    "the-daemon-is-adopted" => the_daemon_is_adopted,
    "the-daemon-leaves-directory-and-streams" => the_daemon_leaves_directory_and_streams,
    "the-daemon-outlives-its-caller" => the_daemon_outlives_its_caller,
    "a-failed-daemon-is-an-error" => a_failed_daemon_is_an_error,
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

// ---- Part 1: run_in_child.

/// `f` runs once, in a child of the caller; the caller's memory is untouched.
fn runs_in_a_child(check: &mut Check) -> Outcome {
    let runs = Shared::new(AtomicU32::new(0));
    let (pid, parent) = (Shared::new(AtomicI32::new(0)), Shared::new(AtomicI32::new(0)));
    let (caller, mine) = ask(check, "`run_in_child`", "`run_in_child(f)`", |home| {
        let mut mine = 1;
        let _ = home.call(|| {
            run_in_child(|| {
                runs.fetch_add(1, SeqCst);
                pid.store(me(), SeqCst);
                parent.store(std::os::unix::process::parent_id().cast_signed(), SeqCst);
                mine += 1;
                std::hint::black_box(&mut mine);
                0
            })
        });
        (me(), mine)
    })?;
    let (runs, pid, parent) = (runs.load(SeqCst), pid.load(SeqCst), parent.load(SeqCst));
    ensure!(runs == 1, expected: "`f` runs once", observed: "it ran {runs} times", look: "both sides of the `fork` in `run_in_child`");
    ensure!(pid != caller, expected: "`f` runs in a child process", observed: "it ran in the caller, process {caller}", look: "which side of the `fork` calls `f`");
    ensure!(parent == caller, expected: "the parent of the process that runs `f` is the caller, {caller}", observed: "its parent is {parent}", look: "`run_in_child`");
    ensure!(mine == 1, expected: "a variable of the caller is still 1 after `f` made it 2 in the child", observed: "it is {mine}", look: "which side of the `fork` calls `f`");
    Ok(())
}

/// Every exit code from 0 to 255 comes back as `Code`.
fn exit_codes_are_told(check: &mut Check) -> Outcome {
    let mut codes: Vec<u8> = (0..=255).collect();
    check.rng().shuffle(&mut codes);
    let answers = ask(check, "`run_in_child`", "`run_in_child(|| code)`", |home| {
        codes.iter().map(|&code| told(home.call(|| run_in_child(move || code)))).collect::<Vec<_>>()
    })?;
    for (code, answer) in codes.iter().zip(&answers) {
        let seen = describe(answer);
        ensure!(
            *answer == Ok((false, i32::from(*code))),
            expected: "Code({code}) for a child whose `f` returns {code}",
            observed: "{seen}",
            look: "how the status word is taken apart: `WIFEXITED`, `WEXITSTATUS`"
        );
    }
    check.note("all 256 exit codes");
    Ok(())
}

fn signals_are_told(check: &mut Check, signals: &[i32]) -> Outcome {
    let answers =
        ask(check, "`run_in_child`", "`run_in_child` of a function that dies by a signal", |home| {
            signals
                .iter()
                .map(|&signal| told(home.call(|| run_in_child(move || die_by(signal)))))
                .collect::<Vec<_>>()
        })?;
    for (signal, answer) in signals.iter().zip(&answers) {
        let seen = describe(answer);
        ensure!(
            *answer == Ok((true, *signal)),
            expected: "Signal({signal}) for a child killed by signal {signal}",
            observed: "{seen}",
            look: "how the status word is taken apart: `WIFSIGNALED`, `WTERMSIG`"
        );
    }
    check.note(format!("signals {signals:?}"));
    Ok(())
}

/// Death by an ordinary signal is told apart from an exit code.
fn death_by_signal_is_told(check: &mut Check) -> Outcome {
    let mut signals = vec![
        libc::SIGKILL,
        libc::SIGTERM,
        libc::SIGSEGV,
        libc::SIGABRT,
        libc::SIGUSR1,
        libc::SIGHUP,
        libc::SIGALRM,
    ];
    check.rng().shuffle(&mut signals);
    signals_are_told(check, &signals)
}

/// Death by a real-time signal is told too.
fn real_time_signals_are_told(check: &mut Check) -> Outcome {
    let mut signals: Vec<i32> = (libc::SIGRTMIN()..=libc::SIGRTMAX()).collect();
    check.rng().shuffle(&mut signals);
    signals.truncate(4);
    signals_are_told(check, &signals)
}

/// The code after the call runs in the caller only, also when `f` panics.
fn code_after_the_call_runs_once(check: &mut Check) -> Outcome {
    let calls = 2 + check.rng().below(4) as usize;
    let after = Shared::new(AtomicU32::new(0));
    let failures = ask(check, "`run_in_child`", "`run_in_child(f)`", |home| {
        let mut failures = Vec::new();
        for _ in 0..calls {
            failures.extend(text(home.call(|| run_in_child(|| 3))).err());
            after.fetch_add(1, SeqCst);
        }
        failures
    })?;
    went_well(&failures, "`run_in_child`")?;
    let after = after.load(SeqCst) as usize;
    ensure!(after == calls, expected: "the line after {calls} calls runs {calls} times", observed: "it ran {after} times", look: "the child's side of `run_in_child`");
    Ok(())
}

/// A panic in `f` ends the child with code 101 and goes no further.
fn a_panic_stays_in_the_child(check: &mut Check) -> Outcome {
    let answer = ask(check, "`run_in_child`", "`run_in_child` of a function that panics", |home| {
        told(home.call(|| run_in_child(|| panic_quietly())))
    })?;
    let seen = describe(&answer);
    ensure!(answer == Ok((false, 101)), expected: "Code(101) for a child whose `f` panics", observed: "{seen}", look: "`catch_unwind` in the child of `run_in_child`");
    Ok(())
}

/// What was buffered before the fork and what `f` prints appears exactly once.
fn output_appears_once(check: &mut Check) -> Outcome {
    let word = format!("{:04x}", check.rng().below(0x10000));
    let expected = format!("before-{word} inside-{word} after-{word}\n");
    let word = &word;
    let (rust, c) = ask(check, "`run_in_child`", "`run_in_child` with unflushed output", |home| {
        let (rust, c) = (memory_file(), memory_file());
        // SAFETY: descriptors and strings are valid; the stream is closed below, in this process.
        let (stdout, stream) = unsafe {
            let saved = libc::dup(1);
            libc::dup2(rust.as_raw_fd(), 1);
            let stream = libc::fdopen(libc::dup(c.as_raw_fd()), c"w".as_ptr());
            libc::fputs(c"once\n".as_ptr(), stream);
            (OwnedFd::from_raw_fd(saved), stream)
        };
        let _ = write!(io::stdout(), "before-{word} ");
        let _ = home.call(|| {
            run_in_child(|| {
                let _ = write!(io::stdout(), "inside-{word} ");
                0
            })
        });
        let _ = writeln!(io::stdout(), "after-{word}");
        // SAFETY: as above; nothing uses the stream afterwards.
        unsafe {
            libc::fclose(stream);
            libc::dup2(stdout.as_raw_fd(), 1);
        }
        (contents(&rust), contents(&c))
    })?;
    ensure!(
        rust == expected,
        expected: "standard output holds {expected:?}",
        observed: "{rust:?}",
        look: "`run_in_child`: flush `stdout` before the `fork`, and in the child before `_exit`"
    );
    ensure!(
        c == "once\n",
        expected: "a line buffered by C code before the call is written once",
        observed: "the file holds {c:?}",
        look: "how the child ends: `exit` writes inherited stdio buffers, `_exit` does not"
    );
    Ok(())
}

fn memory_file() -> fs::File {
    // SAFETY: the name is a C string; a fresh descriptor is ours alone.
    unsafe { fs::File::from_raw_fd(libc::memfd_create(c"output".as_ptr(), libc::MFD_CLOEXEC)) }
}

fn contents(file: &fs::File) -> String {
    fs::read_to_string(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap_or_default()
}

/// A signal during the wait does not end it.
fn an_interrupted_wait_goes_on(check: &mut Check) -> Outcome {
    let times = 1 + check.rng().below(3) as usize;
    let (answer, interrupted) =
        ask(check, "`run_in_child`", "`run_in_child` while signals arrive", |home| {
            let mut left = times;
            let plan = Plan::new(move |call| {
                if !call.is("waitpid") || left == 0 {
                    return Action::Proceed;
                }
                left -= 1;
                Action::Fail(libc::EINTR)
            });
            let (answer, calls) = faults::with(plan, || home.call(|| run_in_child(|| 42)));
            let eintr = -(libc::EINTR as isize);
            (told(answer), calls.iter().filter(|call| call.is("waitpid") && call.outcome == eintr).count())
        })?;
    let seen = describe(&answer);
    ensure!(answer == Ok((false, 42)), expected: "Code(42), although `waitpid` was interrupted (EINTR) {interrupted} time(s)", observed: "{seen}", look: "the wait in `run_in_child`: repeat it on `EINTR`");
    check.note(format!("`EINTR` {times} times in a row"));
    Ok(())
}

/// When there can be no child, the caller gets the error.
fn a_failed_fork_is_an_error(check: &mut Check) -> Outcome {
    let (answer, forks) = ask(check, "`run_in_child`", "`run_in_child` when `fork` fails", |home| {
        let plan = Plan::fail("fork", 0, libc::EAGAIN);
        let (answer, calls) = faults::with(plan, || home.call(|| run_in_child(|| 0)));
        (answer.map(|_| ()).map_err(|error| error.raw_os_error().unwrap_or(0)), faults::count(&calls, "fork"))
    })?;
    let seen = match answer {
        Ok(()) => "`Ok`".to_string(),
        Err(errno) => format!("an error with errno {errno}"),
    };
    let eagain = libc::EAGAIN;
    ensure!(answer == Err(eagain) || (forks == 0 && answer.is_ok()), expected: "the error of `fork`, errno {eagain} (EAGAIN)", observed: "{seen}", look: "the result of `fork` in `run_in_child`");
    Ok(())
}

/// No zombie is left.
fn the_child_is_reaped(check: &mut Check) -> Outcome {
    let (left, failures) = ask(check, "`run_in_child`", "`run_in_child(f)`", |home| {
        let (mut left, mut failures) = (Vec::new(), Vec::new());
        for way in 0..3u8 {
            let ended = home.call(|| run_in_child(|| if way == 1 { die_by(libc::SIGKILL) } else { way }));
            failures.extend(text(ended).err());
            left.push(children());
        }
        // Reaped here, so that the count is what is reported.
        // SAFETY: no status is asked for.
        while unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) } > 0 {}
        (left, failures)
    })?;
    went_well(&failures, "`run_in_child`")?;
    let worst = left.iter().max().copied().unwrap_or(0);
    ensure!(worst == 0, expected: "no child is left when `run_in_child` returns", observed: "{worst} child processes, ended or running, that nobody has waited for", look: "`waitpid` in `run_in_child`");
    Ok(())
}

// ---- Part 2: fork_map.

type Mapped = Result<Vec<Option<Vec<u8>>>, String>;

fn mapped(result: io::Result<Vec<Result<Vec<u8>, fork::WorkerDied>>>) -> Mapped {
    text(result).map(|results| results.into_iter().map(Result::ok).collect())
}

/// What the checks map items to: bytes that depend on the item, of a length that depends on it too.
fn bytes_of(item: u64, longest: u64) -> Vec<u8> {
    let mut rng = Rng::new(item);
    let length = rng.below(longest + 1) as usize;
    rng.bytes(length)
}

/// All results are there, right, and in the order of the items.
fn all_as_expected(answer: &Mapped, expected: &[Vec<u8>], how: &str, look: &str) -> Outcome {
    let results = match answer {
        Ok(results) => results,
        Err(error) => {
            return Err(Stop::failed(
                format!("{} results {how}", expected.len()),
                format!("the error \"{error}\""),
                look,
            ));
        }
    };
    let (got, wanted) = (results.len(), expected.len());
    ensure!(got == wanted, expected: "{wanted} results for {wanted} items {how}", observed: "{got} results", look: look.to_string());
    for (index, (result, right)) in results.iter().zip(expected).enumerate() {
        let seen = match result {
            None => "`Err(WorkerDied)`, though no worker died".to_string(),
            Some(bytes) if bytes == right => continue,
            Some(bytes) => match expected.iter().position(|other| other == bytes) {
                Some(other) => format!("the result of item {other}"),
                None => format!("{} bytes that are no item's result", bytes.len()),
            },
        };
        let length = right.len();
        return Err(Stop::failed(
            format!("result {index} of {wanted} is that of item {index}, {length} bytes {how}"),
            seen,
            look,
        ));
    }
    Ok(())
}

/// Results come in the order of the items, whatever the number of workers.
fn results_are_in_order(check: &mut Check) -> Outcome {
    for (count, workers) in [(1, 1), (7, 3), (12, 4), (5, 1), (3, 8), (10, 2)] {
        let items: Vec<u64> = (0..count).map(|_| check.rng().next_u64()).collect();
        let answer = ask(check, "`fork_map`", "`fork_map`", |home| {
            mapped(home.call(|| fork_map(&items, workers, |item| bytes_of(*item, 2000))))
        })?;
        let expected: Vec<Vec<u8>> = items.iter().map(|item| bytes_of(*item, 2000)).collect();
        all_as_expected(
            &answer,
            &expected,
            &format!("({workers} workers)"),
            "`fork_map`: which child has which items, and how results find their places",
        )?;
    }
    check.note("6 combinations of items and workers");
    Ok(())
}

/// A worker that has finished and left first does not come first.
fn order_is_not_that_of_completion(check: &mut Check) -> Outcome {
    let second = Shared::new(AtomicI32::new(0));
    let items = [check.rng().next_u64(), check.rng().next_u64()];
    let answer =
        ask(check, "`fork_map`", "`fork_map` of two items, the first of which takes longer", |home| {
            let caller = me();
            mapped(home.call(|| {
                fork_map(&items, 2, |item| {
                    if me() == caller {
                        return Vec::new();
                    }
                    if *item == items[1] {
                        second.store(me(), SeqCst);
                    } else {
                        // The first worker goes on when the second process has ended, its result delivered.
                        spin_until(|| second.load(SeqCst) != 0);
                        spin_until(|| has_ended(second.load(SeqCst)));
                    }
                    bytes_of(*item, 500)
                })
            }))
        })?;
    let expected = items.map(|item| bytes_of(item, 500));
    all_as_expected(
        &answer,
        &expected,
        "(the worker of item 1 ends first)",
        "`fork_map`: a result's place is its item's, not the order of arrival",
    )
}

/// `min(workers, items)` processes work at the same time, none of them the caller, each with its fair share.
fn workers_run_at_the_same_time(check: &mut Check) -> Outcome {
    for (count, workers) in [(3usize, 3usize), (2, 5), (7, 3), (8, 4)] {
        let processes = workers.min(count);
        let pids: Vec<Shared<AtomicI32>> = (0..count).map(|_| Shared::new(AtomicI32::new(0))).collect();
        let started = Shared::new(AtomicUsize::new(0));
        let seen = Shared::new(AtomicI32::new(0));
        let items: Vec<usize> = (0..count).collect();
        let caller = ask(
            check,
            "`fork_map`",
            &format!("`fork_map` of {count} items that wait for each other, {workers} workers"),
            |home| {
                let caller = me();
                let _ = home.call(|| {
                    fork_map(&items, workers, |item| {
                        pids[*item].store(me(), SeqCst);
                        if me() == caller {
                            seen.store(1, SeqCst);
                            return Vec::new();
                        }
                        // The first item of each process waits for the first of every other.
                        if pids.iter().filter(|pid| pid.load(SeqCst) == me()).count() == 1 {
                            started.fetch_add(1, SeqCst);
                            spin_until(|| started.load(SeqCst) >= processes);
                        }
                        Vec::new()
                    })
                });
                caller
            },
        )?;
        ensure!(seen.load(SeqCst) == 0, expected: "`f` runs in children only", observed: "it ran in the caller, process {caller}", look: "which side of the `fork` in `fork_map` calls `f`");
        let pids: Vec<i32> = pids.iter().map(|pid| pid.load(SeqCst)).collect();
        let distinct = pids.iter().collect::<HashSet<_>>().len();
        ensure!(distinct == processes, expected: "{processes} processes for {count} items and {workers} workers", observed: "{distinct} processes ran `f`", look: "`fork_map`: min(workers, items) children");
        let most =
            pids.iter().map(|pid| pids.iter().filter(|other| *other == pid).count()).max().unwrap_or(0);
        let fair = count.div_ceil(processes);
        ensure!(most <= fair, expected: "no child has more than {fair} of {count} items ({processes} children)", observed: "one had {most}", look: "how `fork_map` deals the items");
    }
    Ok(())
}

/// A worker that dies loses only items of its own.
fn a_crash_costs_its_own_items(check: &mut Check) -> Outcome {
    let ways = ["panics", "is killed by SIGKILL", "calls `_exit(0)`", "calls `abort`"];
    for (way, how) in ways.iter().enumerate() {
        let (count, workers) = (6 + check.rng().below(6) as usize, 2 + check.rng().below(3) as usize);
        let fatal = check.rng().below(count as u64) as usize;
        let salt = check.rng().next_u64();
        let pids: Vec<Shared<AtomicI32>> = (0..count).map(|_| Shared::new(AtomicI32::new(0))).collect();
        let items: Vec<usize> = (0..count).collect();
        let what = format!("`fork_map` when the worker of item {fatal} {how}");
        let answer = ask(check, "`fork_map`", &what, |home| {
            let caller = me();
            mapped(home.call(|| {
                fork_map(&items, workers, |item| {
                    pids[*item].store(me(), SeqCst);
                    if *item == fatal && me() != caller {
                        match way {
                            0 => panic_quietly(),
                            1 => die_by(libc::SIGKILL),
                            2 => leave(0),
                            _ => die_by(libc::SIGABRT),
                        };
                    }
                    bytes_of(salt ^ *item as u64, 300)
                })
            }))
        })?;
        let look = "`fork_map`: what the caller does when a pipe ends before all results are in";
        let results = answer.map_err(|error| {
            Stop::failed(
                format!("results, with `Err(WorkerDied)` for item {fatal} (its worker {how})"),
                format!("the error \"{error}\" for the whole call"),
                look,
            )
        })?;
        let got = results.len();
        ensure!(got == count, expected: "{count} results for {count} items", observed: "{got}", look: look);
        ensure!(results[fatal].is_none(), expected: "`Err(WorkerDied)` for item {fatal}, whose worker {how}", observed: "`Ok`", look: look);
        let dead = pids[fatal].load(SeqCst);
        for (item, result) in results.iter().enumerate() {
            let pid = pids[item].load(SeqCst);
            match result {
                Some(bytes) => {
                    ensure!(*bytes == bytes_of(salt ^ item as u64, 300), expected: "the right result for item {item}, or `Err(WorkerDied)`", observed: "`Ok` with other bytes", look: "`fork_map`: incomplete results of a dead worker");
                }
                None => {
                    ensure!(pid == dead || pid == 0, expected: "`Ok` for item {item}: its worker, process {pid}, lived", observed: "`Err(WorkerDied)`: process {dead}, the worker of item {fatal}, was the one that died", look: look);
                }
            }
        }
        let (lost, fair) =
            (results.iter().filter(|result| result.is_none()).count(), count.div_ceil(workers));
        ensure!(lost <= fair, expected: "at most {fair} of {count} items lost, those of one worker out of {workers}", observed: "{lost} items lost", look: look);
    }
    check.note(format!("a worker that {}", ways.join(", or ")));
    Ok(())
}

/// Results larger than a pipe holds do not block anybody for ever.
fn large_results_arrive(check: &mut Check) -> Outcome {
    let lengths: Vec<usize> = (0..5).map(|_| 200_000 + check.rng().below(400_000) as usize).collect();
    for workers in [1, 2, 5] {
        let answer = ask(
            check,
            "`fork_map`",
            &format!(
                "`fork_map` of results of {} bytes and more, {workers} workers",
                lengths[0].min(200_000)
            ),
            |home| {
                let results =
                    mapped(home.call(|| fork_map(&lengths, workers, |length| vec![*length as u8; *length])))?;
                let wrong = results.iter().zip(&lengths).position(|(result, length)| {
                    result.as_ref().is_none_or(|bytes| {
                        bytes.len() != *length || bytes.iter().any(|byte| *byte != *length as u8)
                    })
                });
                Ok::<_, String>((results.len(), wrong))
            },
        )?;
        let seen = match answer {
            Ok((5, None)) => continue,
            Ok((5, Some(item))) => {
                format!("the result of item {item}, {} bytes, is missing or damaged", lengths[item])
            }
            Ok((count, _)) => format!("{count} results"),
            Err(error) => format!("the error \"{error}\""),
        };
        return Err(Stop::failed(
            format!("5 complete results with {workers} workers"),
            seen,
            "`fork_map`: the length of a result, and reads until it is complete",
        ));
    }
    check.note("results of 200,000 to 600,000 bytes; a pipe holds 65,536");
    Ok(())
}

/// One byte at a time, or interrupted: the results are the same.
fn transfers_may_be_short_or_interrupted(check: &mut Check) -> Outcome {
    let seed = check.rng().next_u64();
    type Disturbance = (&'static str, fn(u64) -> Plan);
    let plans: [Disturbance; 4] = [
        ("when every read and write moves one byte", |_| Plan::one_byte()),
        ("when every call is interrupted once (EINTR)", |_| Plan::interrupted_every(1)),
        ("when every third call is interrupted (EINTR)", |_| Plan::interrupted_every(3)),
        ("when transfers are short and interrupted at random", Plan::random),
    ];
    for (how, plan) in plans {
        let items: Vec<u64> = (0..5).map(|_| check.rng().next_u64()).collect();
        let answer = ask(check, "`fork_map`", &format!("`fork_map` {how}"), |home| {
            faults::with(plan(seed), || {
                mapped(home.call(|| fork_map(&items, 2, |item| bytes_of(*item, 400))))
            })
            .0
        })?;
        let expected: Vec<Vec<u8>> = items.iter().map(|item| bytes_of(*item, 400)).collect();
        all_as_expected(
            &answer,
            &expected,
            how,
            "`fork_map`: reads and writes that move fewer bytes than asked, or fail with `EINTR`",
        )?;
    }
    check.note("single bytes, `EINTR` on every call, both at random");
    Ok(())
}

/// No child, no descriptor remains.
fn map_leaves_nothing_behind(check: &mut Check) -> Outcome {
    check.options(Options { may_leave_processes: true, may_keep_descriptors: true, ..Options::default() });
    let (opened, left, failures) =
        ask(check, "`fork_map`", "`fork_map` of 6 items with 3 workers", |home| {
            let before = descriptors();
            let answer = home.call(|| fork_map(&[1, 2, 3, 4, 5, 6], 3, |item| vec![*item; 10]));
            let left = children();
            let opened = descriptors() as i64 - before as i64;
            // SAFETY: no status is asked for.
            while unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) } > 0 {}
            (opened, left, Vec::from_iter(text(answer).err()))
        })?;
    went_well(&failures, "`fork_map`")?;
    ensure!(left == 0, expected: "every child has been waited for when `fork_map` returns", observed: "{left} of 3 children were not", look: "`waitpid` in `fork_map`");
    ensure!(opened <= 0, expected: "as many open descriptors as before `fork_map`", observed: "{opened} more", look: "both ends of every pipe in `fork_map`");
    Ok(())
}

/// If a later child cannot be started, the earlier ones are ended and reaped.
fn a_failed_fork_undoes_the_map(check: &mut Check) -> Outcome {
    let nth = 1 + check.rng().below(2) as usize;
    check.options(Options { may_leave_processes: true, may_keep_descriptors: true, ..Options::default() });
    let what = format!("`fork_map` with 4 workers when `fork` number {} fails", nth + 1);
    let (answer, forks, opened, left) = ask(check, "`fork_map`", &what, |home| {
        let before = descriptors();
        let plan = Plan::fail("fork", nth, libc::EAGAIN);
        let (answer, calls) =
            faults::with(plan, || home.call(|| fork_map(&[1, 2, 3, 4], 4, |item| vec![*item; 10])));
        let left = children();
        let opened = descriptors() as i64 - before as i64;
        // SAFETY: no status is asked for.
        while unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) } > 0 {}
        (
            answer.map(|_| ()).map_err(|error| error.raw_os_error().unwrap_or(0)),
            faults::count(&calls, "fork"),
            opened,
            left,
        )
    })?;
    let seen = match answer {
        Ok(()) => "`Ok`".to_string(),
        Err(errno) => format!("an error with errno {errno}"),
    };
    let eagain = libc::EAGAIN;
    ensure!(answer == Err(eagain) || (forks == 0 && answer.is_ok()), expected: "the error of `fork`, errno {eagain} (EAGAIN)", observed: "{seen}", look: "the result of `fork` in `fork_map`");
    ensure!(left == 0, expected: "the children started before have been waited for", observed: "{left} were not", look: "`fork_map`: the way out when a later `fork` fails");
    ensure!(opened <= 0, expected: "as many open descriptors as before", observed: "{opened} more", look: "`fork_map`: the way out when a later `fork` fails");
    Ok(())
}

/// No items give no results; no workers are an error.
fn no_items_and_no_workers(check: &mut Check) -> Outcome {
    let (empty, none) = ask(check, "`fork_map`", "`fork_map` without items, and without workers", |home| {
        let nothing: [u8; 0] = [];
        let empty = mapped(home.call(|| fork_map(&nothing, 3, |_| Vec::new())));
        let none = home.call(|| fork_map(&[1], 0, |_: &i32| Vec::new()));
        (
            empty,
            none.map(|results| results.len()).map_err(|error| error.kind() == io::ErrorKind::InvalidInput),
        )
    })?;
    let seen = format!("{empty:?}");
    ensure!(empty == Ok(Vec::new()), expected: "an empty vector for no items", observed: "{seen}", look: "`fork_map`");
    let seen = match none {
        Ok(count) => format!("`Ok` with {count} results"),
        Err(_) => "an error of another kind".to_string(),
    };
    ensure!(none == Err(true), expected: "an error of kind `InvalidInput` for 0 workers", observed: "{seen}", look: "`fork_map`");
    Ok(())
}

// ---- Part 3: resident_sharing.

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

/// Gives up the privilege that shows frame numbers, so that every machine shows the same.
fn drop_privilege() {
    let header = [0x2008_0522u32, 0];
    let none = [0u32; 6];
    // SAFETY: a version-3 header for this process and the two empty sets it asks for.
    unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
}

/// (shared, exclusive, file, absent).
type Counts = (usize, usize, usize, usize);

fn counts(sharing: PageSharing) -> Counts {
    (sharing.shared, sharing.exclusive, sharing.file, sharing.absent)
}

fn show((shared, exclusive, file, absent): Counts) -> String {
    format!("shared {shared}, exclusive {exclusive}, file {file}, absent {absent}")
}

/// The check's own reading of the same pages.
fn own_reading(range: &Range<usize>) -> Option<Counts> {
    let mut seen = (0, 0, 0, 0);
    for page in observe::page_map(me(), range.start, range.len()).ok()? {
        match (page.present, page.file_or_shared, page.exclusive) {
            (false, _, _) => seen.3 += 1,
            (true, true, _) => seen.2 += 1,
            (true, false, true) => seen.1 += 1,
            (true, false, false) => seen.0 += 1,
        }
    }
    Some(seen)
}

/// Calls `resident_sharing` in a worker after `prepare`, between two readings of the check's own; both must show `expected`.
fn sharing(
    check: &mut Check,
    region: Region,
    expected: Counts,
    what: &str,
    prepare: impl FnOnce(),
) -> Outcome {
    let (before, answer, after) = ask(check, "`resident_sharing`", "`resident_sharing`", |home| {
        drop_privilege();
        prepare();
        let before = own_reading(&region.range());
        let answer = text(home.call(|| resident_sharing(region.range())).map(counts));
        (before, answer, own_reading(&region.range()))
    })?;
    if before != Some(expected) {
        let seen = before.map_or("nothing".to_string(), show);
        return Err(Stop::inconclusive(format!(
            "this kernel's page map shows {seen} for {what}, not {}",
            show(expected)
        )));
    }
    let (wanted, pages) = (show(expected), region.pages);
    let seen = answer.map_or_else(|error| format!("the error \"{error}\""), show);
    ensure!(seen == wanted, expected: "{wanted} for {pages} pages, {what}", observed: "{seen}", look: "`resident_sharing`: bits 63, 61 and 56; without privilege the frame number reads as 0");
    let after = after.map_or("nothing".to_string(), show);
    ensure!(after == wanted, expected: "the pages are as before the call: {wanted}", observed: "{after}", look: "`resident_sharing`: it must not touch the pages it counts");
    Ok(())
}

/// Pages that nobody has written since the fork are shared.
fn untouched_pages_stay_shared(check: &mut Check) -> Outcome {
    let pages = 20 + check.rng().below(200) as usize;
    let region = Region::new(pages, libc::MAP_PRIVATE);
    (0..pages).for_each(|index| region.write(index, 1));
    sharing(check, region, (pages, 0, 0, 0), "filled before the `fork` and only read since", || {
        std::hint::black_box(region.bytes().iter().map(|&byte| u64::from(byte)).sum::<u64>());
    })
}

/// Exactly the pages written since the fork are exclusive.
fn written_pages_are_exclusive(check: &mut Check) -> Outcome {
    for _ in 0..4 {
        let pages = 20 + check.rng().below(300) as usize;
        let region = Region::new(pages, libc::MAP_PRIVATE);
        (0..pages).for_each(|index| region.write(index, 1));
        let percent = 10 + check.rng().below(80);
        let written: Vec<usize> = (0..pages).filter(|_| check.rng().chance(percent)).collect();
        let count = written.len();
        let what = format!("filled before the `fork`, {count} of them written in the child");
        sharing(check, region, (pages - count, count, 0, 0), &what, || {
            written.iter().for_each(|&index| region.write(index, 2));
        })?;
    }
    check.note("4 regions with a random set of pages written");
    Ok(())
}

/// Pages that were never touched are absent, before the call and after it.
fn absent_pages_stay_absent(check: &mut Check) -> Outcome {
    let pages = 50 + check.rng().below(100) as usize;
    let region = Region::new(pages, libc::MAP_PRIVATE);
    let parent = 5 + check.rng().below(20) as usize;
    let child = 1 + check.rng().below(20) as usize;
    (0..parent).for_each(|index| region.write(index, 1));
    let what = format!("{parent} touched before the `fork`, {child} others in the child");
    sharing(check, region, (parent, child, 0, pages - parent - child), &what, || {
        (pages - child..pages).for_each(|index| region.write(index, 2));
    })
}

/// Pages of shared memory are counted apart, however many processes map them.
fn shared_memory_is_counted_apart(check: &mut Check) -> Outcome {
    let pages = 30 + check.rng().below(50) as usize;
    let region = Region::new(pages, libc::MAP_SHARED);
    let both = 3 + check.rng().below(10) as usize;
    let alone = 3 + check.rng().below(10) as usize;
    (0..both).for_each(|index| region.write(index, 1));
    let what = format!("MAP_SHARED, {both} touched by parent and child, {alone} by the child alone");
    sharing(check, region, (0, 0, both + alone, pages - both - alone), &what, || {
        (0..both + alone).for_each(|index| region.write(index, 2));
    })
}

/// A page counts if one byte of it is in the range; a reversed or impossible range is an error.
fn ranges_need_not_be_aligned(check: &mut Check) -> Outcome {
    let region = Region::new(8, libc::MAP_PRIVATE);
    (0..8).for_each(|index| region.write(index, 1));
    let (start, page) = (region.start, region.page);
    let inside = 1 + check.rng().below(page as u64 - 2) as usize;
    let cases = [
        (start..start + page, 1),
        (start + inside..start + inside + 1, 1),
        (start + inside..start + page + 1, 2),
        (start + page - 1..start + 3 * page + 1, 4),
        (start + inside..start + page + inside, 2),
        (start + inside..start + inside, 0),
        (start..start, 0),
    ];
    let (answers, reversed, beyond) = ask(check, "`resident_sharing`", "`resident_sharing`", |home| {
        drop_privilege();
        let answers: Vec<Result<Counts, String>> = cases
            .iter()
            .map(|(range, _)| text(home.call(|| resident_sharing(range.clone())).map(counts)))
            .collect();
        #[expect(clippy::reversed_empty_ranges, reason = "the case that is asked about")]
        let reversed = home.call(|| resident_sharing(8192..4096)).map(counts);
        let top = usize::MAX - 8 * page + 1;
        let beyond = home.call(|| resident_sharing(top..top + page)).map(counts);
        let invalid = |error: io::Error| error.kind() == io::ErrorKind::InvalidInput;
        (answers, reversed.map_err(invalid), text(beyond))
    })?;
    for ((range, pages), answer) in cases.iter().zip(answers) {
        let (from, to) = (range.start - start, range.end - start);
        let seen = match answer {
            Ok((shared, exclusive, file, absent)) if shared + exclusive + file + absent == *pages => continue,
            Ok(counts) => show(counts),
            Err(error) => format!("the error \"{error}\""),
        };
        return Err(Stop::failed(
            format!(
                "{pages} page(s) of {page} bytes for the bytes {from}..{to} of a region that starts on a page border"
            ),
            seen,
            "`resident_sharing`: first page and end, rounded outwards",
        ));
    }
    let seen = reversed.map_or_else(|_| "an error of another kind".to_string(), show);
    ensure!(reversed == Err(true), expected: "an error of kind `InvalidInput` for a range that ends before it starts", observed: "{seen}", look: "`resident_sharing`");
    ensure!(beyond.is_err(), expected: "an error for addresses beyond user space", observed: beyond.map_or_else(|error| error, show), look: "`resident_sharing`: reads at the end of the page map return 0 bytes");
    Ok(())
}

// ---- Part 4: snapshot.

/// What the writer of a check's snapshot tells through shared memory.
struct Scene {
    /// 1 once the child has written the first half; 2 if the writer ran in the caller.
    half: AtomicU32,
}

fn wait_at(mut gate: &PipeReader) {
    let _ = gate.read(&mut [0]);
}

fn open(mut gate: &PipeWriter) {
    let _ = gate.write(&[1]);
}

/// The caller rewrites the state while it is saved; the image does not show it.
fn the_image_is_the_state_at_the_call(check: &mut Check) -> Outcome {
    let length = 40_000 + check.rng().below(100_000) as usize;
    let original = check.rng().bytes(length);
    let image = Shared::slice(length, |_| AtomicU8::new(0));
    let scene = Shared::new(Scene { half: AtomicU32::new(0) });
    let what = "`snapshot` of a state that the caller changes while it is written";
    let finished = ask(check, "`snapshot`", what, |home| {
        let (reader, writer) = io::pipe().map_err(|error| error.to_string())?;
        let caller = me();
        let mut state = original.clone();
        let copy = |range: Range<usize>, bytes: &[u8]| {
            range.for_each(|index| image[index].store(bytes[index], SeqCst));
        };
        let saving = text(home.call(|| {
            snapshot(&state, |bytes| {
                if me() == caller {
                    scene.half.store(2, SeqCst);
                    return Ok(());
                }
                copy(0..length / 2, bytes);
                scene.half.store(1, SeqCst);
                wait_at(&reader);
                copy(length / 2..length, bytes);
                Ok(())
            })
        }))?;
        state[..length / 4].fill(0xaa);
        std::hint::black_box(&mut state);
        spin_until(|| scene.half.load(SeqCst) != 0);
        state.fill(0x55);
        std::hint::black_box(&mut state);
        open(&writer);
        text(saving.finish())
    })?;
    let half = scene.half.load(SeqCst);
    ensure!(half != 2, expected: "`write` runs in a child process", observed: "it ran in the caller", look: "`snapshot`: which side of the `fork` calls `write`");
    let seen = finished.clone().err().unwrap_or_default();
    ensure!(finished.is_ok(), expected: "`finish` returns `Ok`: the writer did", observed: "the error \"{seen}\"", look: "`Snapshot::finish`");
    let wrong = image.iter().zip(&original).position(|(byte, right)| byte.load(SeqCst) != *right);
    let at = wrong.unwrap_or(0);
    let count = image.iter().zip(&original).filter(|(byte, right)| byte.load(SeqCst) != **right).count();
    ensure!(wrong.is_none(), expected: "the image is the state at the call, all {length} bytes", observed: "{count} bytes differ, the first at {at}: they show what the caller wrote later, or nothing", look: "`snapshot`: the child must see its own copy of the state");
    check.note(format!("{length} bytes, all rewritten while the image was half done"));
    Ok(())
}

/// An error, a panic, a death and another exit code of the writer are errors of `finish`.
fn a_failed_writer_is_reported(check: &mut Check) -> Outcome {
    let ways = [
        "returns `Ok`",
        "returns an error",
        "panics",
        "is killed by SIGKILL",
        "returns an error without errno",
    ];
    let answers = ask(check, "`snapshot`", "`snapshot` with a writer that fails", |home| {
        let mut answers = Vec::new();
        for way in 0..ways.len() {
            let caller = me();
            let saving = home.call(|| {
                snapshot(b"state", |_| match way {
                    0 => Ok(()),
                    1 => Err(io::Error::from_raw_os_error(libc::ENOSPC)),
                    2 => panic_quietly(),
                    3 if me() != caller => {
                        die_by(libc::SIGKILL);
                        Ok(())
                    }
                    _ => Err(io::Error::other("no room")),
                })
            });
            answers.push(match saving {
                Ok(saving) => (true, text(saving.finish())),
                Err(error) => (false, Err(error.to_string())),
            });
        }
        answers
    })?;
    for (way, (how, (started, answer))) in ways.iter().zip(&answers).enumerate() {
        let (wanted, seen) =
            (if way == 0 { "Ok" } else { "an error" }, if answer.is_ok() { "Ok" } else { "an error" });
        ensure!(*started, expected: "`snapshot` itself succeeds when the writer {how}: it does not wait for it", observed: "an error", look: "`snapshot`");
        ensure!(wanted == seen, expected: "`finish` returns {wanted} when the writer {how}", observed: "{seen}", look: "`Snapshot::finish`: the child's exit code, and the status word read in full");
    }
    Ok(())
}

/// The memory of this process and its descendants in KiB, shared pages counted once.
fn memory_in_kib() -> Option<u64> {
    let mut pids = observe::descendants_of(me());
    pids.push(me());
    let mut sum = 0;
    for pid in pids {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let line = rollup.lines().find(|line| line.starts_with("Pss:"))?;
        sum += line.split_whitespace().nth(1)?.parse::<u64>().ok()?;
    }
    Some(sum)
}

/// The extra memory is that of the pages written meanwhile, not of the whole state.
fn extra_memory_follows_the_writes(check: &mut Check) -> Outcome {
    let pages = 4096;
    let count = 10 + check.rng().below(100) as usize;
    let mut order: Vec<usize> = (0..pages).collect();
    check.rng().shuffle(&mut order);
    let waiting = Shared::new(AtomicU32::new(0));
    let answer = ask(check, "`snapshot`", "`snapshot` of a large state", |home| {
        let region = Region::new(pages, libc::MAP_PRIVATE);
        (0..pages).for_each(|index| region.write(index, 1));
        let (reader, writer) = io::pipe().map_err(|error| error.to_string())?;
        let caller = me();
        let before = memory_in_kib();
        let saving = text(home.call(|| {
            snapshot(region.bytes(), |bytes| {
                std::hint::black_box(bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>());
                waiting.store(1, SeqCst);
                if me() != caller {
                    wait_at(&reader);
                }
                Ok(())
            })
        }))?;
        spin_until(|| waiting.load(SeqCst) == 1);
        order[..count].iter().for_each(|&index| region.write(index, 2));
        let after = memory_in_kib();
        open(&writer);
        text(saving.finish())?;
        Ok::<_, String>(before.zip(after))
    })?;
    let look = "`snapshot`: no copy of the state; `fork` shares the pages and copies those that are written";
    match answer {
        Err(error) => Err(Stop::failed("a snapshot", format!("the error \"{error}\""), look)),
        Ok(None) => Err(Stop::inconclusive("/proc/PID/smaps_rollup cannot be read here")),
        Ok(Some((before, after))) => {
            let (extra, size) = (after.saturating_sub(before), 16_384);
            let allowed = count as u64 * 4 + 3_072;
            ensure!(extra <= allowed, expected: "little more than the {count} pages written meanwhile: at most {allowed} KiB", observed: "{extra} KiB of extra memory for a state of {size} KiB", look: look);
            check.note(format!("{count} of {pages} pages written meanwhile: {extra} KiB more"));
            Ok(())
        }
    }
}

/// A snapshot that is dropped leaves no zombie.
fn a_dropped_snapshot_is_reaped(check: &mut Check) -> Outcome {
    let (dropped, finished, failures) =
        ask(check, "`snapshot`", "`snapshot`, dropped and finished", |home| {
            let mut failures =
                Vec::from_iter(text(home.call(|| snapshot(b"state", |_| Ok(()))).map(drop)).err());
            let dropped = children();
            let ended = home.call(|| snapshot(b"state", |_| Ok(()))).and_then(Snapshot::finish);
            failures.extend(text(ended).err());
            let finished = children() - dropped.min(children());
            // SAFETY: no status is asked for.
            while unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) } > 0 {}
            (dropped, finished, failures)
        })?;
    went_well(&failures, "`snapshot`")?;
    ensure!(dropped == 0, expected: "the child has been waited for when a `Snapshot` has been dropped", observed: "{dropped} child process that nobody waited for", look: "`Drop` of `Snapshot`");
    ensure!(finished == 0, expected: "the child has been waited for when `finish` returns", observed: "{finished} child process that nobody waited for", look: "`Snapshot::finish`");
    Ok(())
}

// ---- Part 5: daemonize.

/// Makes the worker the leader of a session with a controlling terminal. The terminal stays open until the worker ends.
fn acquire_terminal() -> bool {
    // SAFETY: plain system calls; the name is a buffer of the stated length and a C string afterwards.
    unsafe {
        if libc::setsid() == -1 {
            return false;
        }
        let terminal = libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY);
        let mut name = [0; 128];
        if terminal == -1
            || libc::unlockpt(terminal) != 0
            || libc::ptsname_r(terminal, name.as_mut_ptr(), name.len()) != 0
        {
            return false;
        }
        let line = libc::open(name.as_ptr(), libc::O_RDWR);
        line != -1 && libc::ioctl(line, libc::TIOCSCTTY, 0) == 0
    }
}

/// Starts a daemon that waits, looks at it in the caller, and lets it end.
fn with_daemon<T: Wire>(check: &mut Check, look: impl FnOnce(i32) -> T) -> Result<T, Stop> {
    check.options(Options { may_leave_processes: true, may_keep_descriptors: true, ..Options::default() });
    let runs = Shared::new(AtomicU32::new(0));
    let answer = ask(check, "`daemonize`", "`daemonize`", |home| {
        let terminal = acquire_terminal();
        let (gate, open) = io::pipe().map_err(|error| error.to_string())?;
        let end = open.into_raw_fd();
        let caller = me();
        let pid = text(home.call(|| {
            daemonize(|| {
                runs.fetch_add(1, SeqCst);
                if me() != caller {
                    // SAFETY: the daemon's own copy of the write end, which nothing here uses again.
                    unsafe { libc::close(end) };
                    wait_at(&gate);
                }
            })
        }))?;
        let seen = (pid != caller && pid > 1).then(|| look(pid));
        // SAFETY: the caller's copy; nothing uses it again. This lets the daemon end.
        unsafe { libc::close(end) };
        if seen.is_some() {
            spin_until(|| has_ended(pid));
        }
        Ok::<_, String>((terminal, caller, pid, seen))
    })?;
    let look = "`daemonize`: which process reports its pid, and to whom";
    let (terminal, caller, pid, seen) = answer.map_err(|error| {
        Stop::failed("`Ok` with the daemon's pid", format!("the error \"{error}\""), look)
    })?;
    if !terminal {
        return Err(Stop::inconclusive(
            "no pseudoterminal can be opened here, so there is no terminal to get rid of",
        ));
    }
    let seen = seen.ok_or_else(|| {
        Stop::failed("the pid of a new process", format!("{pid} (the caller is {caller})"), look)
    })?;
    let runs = runs.load(SeqCst);
    ensure!(runs == 1, expected: "`f` runs once", observed: "it ran {runs} times", look: "`daemonize`");
    Ok(seen)
}

/// The daemon is in a new session that it does not lead, without a controlling terminal.
fn the_daemon_has_no_terminal(check: &mut Check) -> Outcome {
    let (pid, mine, its, terminal) = with_daemon(check, |pid| {
        (pid, observe::session_of(me()), observe::session_of(pid), observe::tty_of(pid))
    })?;
    let (mine, its) = (mine.unwrap_or(0), its.unwrap_or(0));
    ensure!(its > 0, expected: "process {pid}, whose number `daemonize` returned, is running: its `f` has not returned yet", observed: "there is no such process", look: "`daemonize`: it returns the pid of the daemon, not of the process in between");
    ensure!(its != mine, expected: "the daemon is in a new session", observed: "it is in the caller's, session {mine}", look: "`setsid` in `daemonize`");
    ensure!(its != pid, expected: "the daemon does not lead its session, so it can never get a terminal again", observed: "process {pid} leads session {its}", look: "the second `fork` in `daemonize`");
    let terminal = terminal.unwrap_or(0);
    ensure!(terminal == 0, expected: "the daemon has no controlling terminal", observed: "its terminal is device {terminal:#x}", look: "`setsid` in `daemonize`");
    Ok(())
}

/// Its parent is init or a subreaper; the process in between has been waited for.
fn the_daemon_is_adopted(check: &mut Check) -> Outcome {
    let (caller, parent, below, left) = with_daemon(check, |pid| {
        (me(), observe::parent_of(pid), observe::descendants_of(me()).contains(&pid), children())
    })?;
    let parent = parent.map_or("nobody, it is not running".to_string(), |parent| format!("process {parent}"));
    ensure!(parent != format!("process {caller}"), expected: "the daemon is no child of its caller", observed: "its parent is the caller, {parent}", look: "the second `fork` in `daemonize`");
    ensure!(!below, expected: "the daemon has been handed to init or to a subreaper when `daemonize` returns", observed: "its parent is {parent}, a child of the caller", look: "the process in between must end and be waited for");
    ensure!(left == 0, expected: "no child of the caller is left when `daemonize` returns", observed: "{left} that nobody waited for", look: "`waitpid` for the process in between");
    ensure!(parent.starts_with("process"), expected: "the daemon is running: its `f` has not returned yet", observed: "its parent is {parent}", look: "which pid `daemonize` returns");
    Ok(())
}

fn directory_of(pid: i32) -> String {
    fs::read_link(format!("/proc/{pid}/cwd"))
        .map_or_else(|error| error.to_string(), |path| path.display().to_string())
}

fn streams_of(pid: i32) -> Vec<String> {
    let target = |fd| fs::read_link(format!("/proc/{pid}/fd/{fd}"));
    (0..3).map(|fd| target(fd).map_or_else(|_| "closed".into(), |path| path.display().to_string())).collect()
}

/// The daemon works in `/` with `/dev/null` as its streams; the caller keeps its own.
fn the_daemon_leaves_directory_and_streams(check: &mut Check) -> Outcome {
    let (directory, streams, caller, pid) = with_daemon(check, |pid| {
        (directory_of(pid), streams_of(pid), (directory_of(me()), streams_of(me())), pid)
    })?;
    let mine = (directory_of(me()), streams_of(me()));
    ensure!(directory == "/", expected: "the daemon's directory is `/`", observed: "{directory}", look: "`chdir` in `daemonize`");
    for (fd, stream) in streams.iter().enumerate() {
        ensure!(stream == "/dev/null", expected: "descriptor {fd} of the daemon, process {pid}, is /dev/null", observed: "{stream}", look: "`dup2` in `daemonize`");
    }
    let (wanted, seen) = (format!("{mine:?}"), format!("{caller:?}"));
    ensure!(wanted == seen, expected: "the caller's directory and streams are as before: {wanted}", observed: "{seen}", look: "`daemonize`: in which process it calls `chdir` and `dup2`");
    Ok(())
}

/// The daemon goes on when its caller, and with it the terminal, is gone.
fn the_daemon_outlives_its_caller(check: &mut Check) -> Outcome {
    check.options(Options { may_leave_processes: true, may_keep_descriptors: true, ..Options::default() });
    let (gate, end) = io::pipe().map_err(|error| Stop::inconclusive(error.to_string()))?;
    let end = end.into_raw_fd();
    let done = Shared::new(AtomicU32::new(0));
    let started = ask(check, "`daemonize`", "`daemonize`, after which the caller ends", |home| {
        acquire_terminal();
        let pid = home.call(|| {
            daemonize(|| {
                // SAFETY: the daemon's own copy of the write end, which nothing here uses again.
                unsafe { libc::close(end) };
                wait_at(&gate);
                done.store(1, SeqCst);
            })
        });
        text(pid.map(|pid| (pid, has_ended(pid))))
    })?;
    // SAFETY: the supervisor's copy, the last one: the daemon's read ends.
    unsafe { libc::close(end) };
    let (pid, ended) = started.map_err(|error| {
        Stop::failed("`Ok` with the daemon's pid", format!("the error \"{error}\""), "`daemonize`")
    })?;
    ensure!(
        !ended,
        expected: "process {pid}, whose number `daemonize` returned, is running: its `f` has not returned yet",
        observed: "it has ended, or never was",
        look: "`daemonize`: it returns the pid of the daemon, not of the process in between"
    );
    check.wait_until("the daemon has ended", || has_ended(pid))?;
    ensure!(
        done.load(SeqCst) == 1,
        expected: "the daemon, process {pid}, finishes `f` after its caller has ended",
        observed: "it ended before `f` was through",
        look: "`setsid` in `daemonize`: the end of a session's leader hangs up its terminal (SIGHUP)"
    );
    Ok(())
}

/// When the second fork fails the caller learns it.
fn a_failed_daemon_is_an_error(check: &mut Check) -> Outcome {
    let runs = Shared::new(AtomicU32::new(0));
    for which in [1, 2] {
        let (answer, calls) =
            ask(check, "`daemonize`", &format!("`daemonize` when `fork` number {which} fails"), |home| {
                let caller = me();
                let plan = Plan::new(move |call| {
                    if call.is("fork") && (me() == caller) == (which == 1) {
                        Action::Fail(libc::EAGAIN)
                    } else {
                        Action::Proceed
                    }
                });
                let (answer, calls) = faults::with(plan, || {
                    home.call(|| {
                        daemonize(|| {
                            runs.fetch_add(1, SeqCst);
                        })
                    })
                });
                (answer.map_err(|error| error.raw_os_error().unwrap_or(0)), faults::count(&calls, "fork"))
            })?;
        let seen = match answer {
            Ok(pid) => format!("`Ok({pid})`"),
            Err(errno) => format!("an error with errno {errno}"),
        };
        let eagain = libc::EAGAIN;
        ensure!(answer == Err(eagain) || (calls == 0 && answer.is_ok()), expected: "the error of `fork` number {which}, errno {eagain} (EAGAIN)", observed: "{seen}", look: "`daemonize`: how a process in between tells the caller that it failed");
        ensure!(calls == 0 || runs.load(SeqCst) == 0, expected: "`f` does not run when there is no daemon", observed: "it ran", look: "`daemonize`");
    }
    Ok(())
}
