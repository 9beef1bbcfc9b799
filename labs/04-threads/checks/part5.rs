//! Part 5: tasks by `clone(2)`. The bodies touch nothing thread-local: atomics and system calls only.

use std::hint::black_box;
use std::io;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicUsize, Ordering::SeqCst};

use harness::faults::{self, Action, Plan};
use harness::{Check, Ending, Outcome, Shared, Stop, ensure, observe};
use threads::{KernelTask, Kind, spawn_task};

use super::{Gate, ask, pid, tid, until_asleep};

/// What a body sees, in memory shared by everybody.
struct Seen {
    value: u8,
    /// Bytes of stack that the body shall use.
    deep: usize,
    started: AtomicU32,
    pid: AtomicI32,
    tid: AtomicI32,
    parent: AtomicI32,
    /// The address of a local variable.
    local: AtomicUsize,
    /// The word that the kernel will clear at the end of the task; 1 if it does not say.
    cleared: AtomicUsize,
    descriptor: AtomicI32,
    go: Gate,
    ended: AtomicU32,
    /// The caller came back from what it was doing.
    returned: AtomicU32,
    signals: AtomicU32,
}

fn seen(check: &mut Check, deep: usize) -> Shared<Seen> {
    Shared::new(Seen {
        value: 1 + check.rng().below(255) as u8,
        deep,
        started: AtomicU32::new(0),
        pid: AtomicI32::new(0),
        tid: AtomicI32::new(0),
        parent: AtomicI32::new(0),
        local: AtomicUsize::new(0),
        cleared: AtomicUsize::new(1),
        descriptor: AtomicI32::new(-1),
        go: Gate::closed(),
        ended: AtomicU32::new(0),
        returned: AtomicU32::new(0),
        signals: AtomicU32::new(0),
    })
}

/// An ordinary global: common to threads, copied for a process.
static GLOBAL: AtomicU32 = AtomicU32::new(0);

const PR_GET_TID_ADDRESS: i32 = 40;

extern "C" fn body(seen: usize) -> u8 {
    // SAFETY: the address of a `Seen` in shared memory, which the check keeps.
    let seen = unsafe { &*(seen as *const Seen) };
    seen.local.store(&raw const *black_box(&seen) as usize, SeqCst);
    seen.pid.store(pid(), SeqCst);
    seen.tid.store(tid(), SeqCst);
    let mut word = 0usize;
    // SAFETY: plain system calls; the last one writes to `word`.
    unsafe {
        seen.parent.store(libc::syscall(libc::SYS_getppid) as i32, SeqCst);
        seen.descriptor.store(libc::syscall(libc::SYS_dup, 0) as i32, SeqCst);
        libc::syscall(libc::SYS_umask, 0o123);
        if libc::syscall(libc::SYS_prctl, PR_GET_TID_ADDRESS, &raw mut word) == 0 {
            seen.cleared.store(word, SeqCst);
        }
    }
    GLOBAL.fetch_add(1, SeqCst);
    use_stack(seen.local.load(SeqCst), seen.deep);
    seen.started.store(1, SeqCst);
    seen.go.wait();
    // SAFETY: the descriptor made above; nobody uses it.
    unsafe { libc::syscall(libc::SYS_close, seen.descriptor.load(SeqCst)) };
    seen.ended.store(1, SeqCst);
    seen.value
}

/// Writes to the stack down to so many bytes below `top`.
fn use_stack(top: usize, bytes: usize) {
    let mut part = [1u8; 1024];
    let here = (&raw mut part) as usize;
    black_box(&mut part);
    if top - here < bytes {
        use_stack(top, bytes);
    }
    black_box(&mut part);
}

/// Makes a task that runs `body`.
fn make(kind: Kind, stack: usize, seen: &Shared<Seen>) -> Result<KernelTask, String> {
    // SAFETY: `body` keeps to system calls and atomics, and takes the address of a `Seen`.
    unsafe { spawn_task(kind, stack, body, seen.address()) }
        .map_err(|error| format!("an error from `spawn_task`: {error}"))
}

fn joined(joined: io::Result<u8>) -> Result<u8, String> {
    joined.map_err(|error| format!("an error from `join`: {error}"))
}

const LOOK: &str = "the stack and the flags that `spawn_task` gives to `clone`";
const GOES_ON: &str = "the process goes on";

/// `Kind::Thread`: the same thread group, its own TID; memory, descriptors and file system state are common.
pub fn a_thread_is_a_task_that_shares(check: &mut Check) -> Outcome {
    let seen = seen(check, 0);
    let (caller, listed, told, shared, value) =
        ask(check, "`spawn_task(Kind::Thread, …)`", GOES_ON, LOOK, || {
            let task = match make(Kind::Thread, 64 << 10, &seen) {
                Ok(task) => task,
                Err(error) => return ((0, 0), false, 0, (false, false, false), Err(error)),
            };
            super::wait_for(|| seen.started.load(SeqCst) == 1);
            let listed = observe::threads_of(pid()).contains(&seen.tid.load(SeqCst));
            // SAFETY: flags of a descriptor number; the file mode mask of this process.
            let (open, mask) =
                unsafe { (libc::fcntl(seen.descriptor.load(SeqCst), libc::F_GETFD) >= 0, libc::umask(0o22)) };
            let shared = (GLOBAL.load(SeqCst) == 1, open, mask == 0o123);
            let told = task.tid();
            seen.go.open();
            let value = joined(task.join());
            // A task that is a process after all would be left.
            // SAFETY: no status is asked for.
            while unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) } > 0 {}
            ((pid(), tid()), listed, told, shared, value)
        })?;
    if let Err(error) = &value {
        ensure!(caller.0 != 0, expected: "a task", observed: "{error}", look: "`spawn_task`");
    }
    let (its_pid, its_tid) = (seen.pid.load(SeqCst), seen.tid.load(SeqCst));
    let (caller, first) = caller;
    ensure!(its_pid == caller, expected: "the task belongs to the caller's process: its PID (TGID) is {caller}", observed: "{its_pid}", look: "`CLONE_THREAD`");
    ensure!(its_tid != first && listed, expected: "the task has a TID of its own, in /proc/{caller}/task", observed: "its TID is {its_tid}", look: LOOK);
    ensure!(told == its_tid, expected: "`tid()` is {its_tid}", observed: "{told}", look: "`KernelTask::tid`: what `clone` returns");
    let (memory, descriptors, mask) = shared;
    ensure!(memory, expected: "what the task writes to a global is seen by the caller", observed: "it is not", look: "`CLONE_VM`");
    ensure!(descriptors, expected: "a descriptor that the task opens is open in the caller", observed: "it is not", look: "`CLONE_FILES`");
    ensure!(mask, expected: "the file mode mask (as the directory) that the task sets is that of the caller", observed: "the caller has another one", look: "`CLONE_FS`");
    let right = seen.value;
    ensure!(value == Ok(right), expected: "`Ok({right})` from `join`", observed: "{value:?}", look: "how the body's value reaches `join`");
    Ok(())
}

extern "C" fn kills_itself(_: usize) -> u8 {
    // SAFETY: ends this process.
    unsafe { libc::syscall(libc::SYS_kill, pid(), libc::SIGKILL) };
    0
}

/// `Kind::Process`: a child process, by the same call.
pub fn a_process_is_a_task_that_does_not(check: &mut Check) -> Outcome {
    let seen = seen(check, 0);
    let (caller, state, (told, alone), value, killed) =
        ask(check, "`spawn_task(Kind::Process, …)`", GOES_ON, LOOK, || {
            let task = match make(Kind::Process, 64 << 10, &seen) {
                Ok(task) => task,
                Err(error) => return (0, None, (0, false), Err(error), false),
            };
            super::wait_for(|| seen.started.load(SeqCst) == 1);
            let state = observe::state_of(seen.pid.load(SeqCst));
            // SAFETY: flags of a descriptor number.
            let open = unsafe { libc::fcntl(seen.descriptor.load(SeqCst), libc::F_GETFD) } >= 0;
            let alone = GLOBAL.load(SeqCst) == 0 && !open;
            let told = task.tid();
            seen.go.open();
            let value = joined(task.join());
            // SAFETY: the body makes one system call.
            let killed = unsafe { spawn_task(Kind::Process, 64 << 10, kills_itself, 0) };
            (pid(), state, (told, alone), value, killed.is_ok_and(|task| task.join().is_err()))
        })?;
    if let Err(error) = &value {
        ensure!(caller != 0, expected: "a task", observed: "{error}", look: "`spawn_task`");
    }
    let (its_pid, its_tid, parent) = (seen.pid.load(SeqCst), seen.tid.load(SeqCst), seen.parent.load(SeqCst));
    ensure!(its_pid != caller && its_pid == its_tid, expected: "a process of its own, whose one task has TID = PID", observed: "PID {its_pid}, TID {its_tid}; the caller's PID is {caller}", look: LOOK);
    ensure!(parent == caller && state.is_some(), expected: "its parent is the caller, {caller}", observed: "{parent}", look: LOOK);
    ensure!(told == its_pid, expected: "`tid()` is {its_pid}", observed: "{told}", look: "`KernelTask::tid`: what `clone` returns");
    ensure!(alone, expected: "what it writes to a global, and the descriptors it opens, stay its own", observed: "the caller sees them", look: LOOK);
    let right = seen.value;
    ensure!(value == Ok(right), expected: "`Ok({right})` from `join`, its exit code", observed: "{value:?}", look: "`KernelTask::join` of a process: `waitpid`, `WEXITSTATUS`");
    ensure!(killed, expected: "an error from `join` of a process killed by a signal", observed: "`Ok`", look: "`KernelTask::join` of a process: `WIFEXITED`");
    Ok(())
}

/// The mapping in which an address lies, and whether the one just below it can be written.
fn mapping_of(address: usize) -> Option<(usize, usize, bool)> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let mut below = (0, false);
    for line in maps.lines() {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
        if (start..end).contains(&address) {
            return Some((start, end, below.0 == start && below.1));
        }
        below = (end, rest.starts_with("rw"));
    }
    None
}

/// The body runs on a stack of the size asked for, with a guard below, which is unmapped by `join`.
pub fn the_stack_is_its_own(check: &mut Check) -> Outcome {
    for kind in [Kind::Thread, Kind::Process] {
        let size = (128 << 10) + (check.rng().below(100) << 12) as usize;
        let seen = seen(check, size - (24 << 10));
        let look = "the stack that `spawn_task` maps: its size, its upper end for `clone`, its guard page";
        let what = format!("`spawn_task({kind:?}, {size}, …)` of a function that uses {} bytes", seen.deep);
        let (own, its, during, after) =
            ask(check, &what, &format!("a stack of {size} bytes, from its upper end"), look, || {
                let own = 0u8;
                let own = mapping_of(&raw const own as usize).map(|(start, end, _)| (start, end));
                let Ok(task) = make(kind, size, &seen) else { return Default::default() };
                // A process that dies does not start either.
                super::wait_for(|| {
                    seen.started.load(SeqCst) == 1
                        || observe::state_of(task.tid()).is_none_or(|state| state == 'Z')
                });
                let its = seen.local.load(SeqCst);
                let during = mapping_of(its);
                seen.go.open();
                let value = task.join();
                (own, if value.is_ok() { its } else { 0 }, during, mapping_of(its).is_some())
            })?;
        ensure!(its != 0, expected: "a task of kind {kind:?} that uses most of its {size} bytes of stack", observed: "it died, or was not made", look: look);
        let on_own = own.is_some_and(|(start, end)| (start..end).contains(&its));
        ensure!(!on_own, expected: "the task runs on a stack of its own", observed: "on the caller's", look: look);
        ensure!(during.is_some(), expected: "the stack of a {kind:?} is mapped while it runs", observed: "it is not", look: look);
        let (start, end, writable) = during.unwrap_or_default();
        let below = its - start;
        ensure!(below <= size && !writable, expected: "below the {size} bytes of the stack there is a page that cannot be accessed", observed: "memory can be written for {below} bytes below the first frame, in the mapping {start:#x}-{end:#x}", look: "`spawn_task`: the guard page (`mprotect` with `PROT_NONE`, or `mmap` with it and `mprotect` for the rest)");
        ensure!(!after, expected: "the stack is unmapped when `join` returns", observed: "it is still mapped", look: "`KernelTask::join`: `munmap`");
    }
    let refused = check.ask("`spawn_task` when `mmap` fails", || {
        let plan =
            Plan::new(|call| if call.is("mmap") { Action::Fail(libc::ENOMEM) } else { Action::Proceed });
        let (task, calls) = faults::with(plan, || {
            // SAFETY: the body makes one system call, in a process of its own.
            unsafe { spawn_task(Kind::Process, 64 << 10, kills_itself, 0) }
        });
        let error = task.map(std::mem::forget).map_err(|error| error.raw_os_error().unwrap_or(0));
        (error, faults::count(&calls, "mmap"))
    });
    // A stack that comes past the hooks cannot be refused.
    if let Ok((error, 1..)) = refused {
        let enomem = libc::ENOMEM;
        ensure!(error == Err(enomem), expected: "the error of `mmap`, errno {enomem}", observed: "{error:?}", look: "`spawn_task`: what `mmap` returns when it fails (`MAP_FAILED`)");
    }
    check.note("a thread and a process, stacks of random size");
    Ok(())
}

/// A worker in which a thread-like task is being joined or dropped, until the supervisor opens the gate.
fn joining(seen: &Shared<Seen>, way: impl FnOnce(KernelTask) -> Result<u8, String>) -> Result<u8, String> {
    let task = make(Kind::Thread, 64 << 10, seen)?;
    let value = way(task);
    seen.returned.store(1, SeqCst);
    value
}

/// Waits until the worker's main thread sleeps although the task runs on.
fn until_it_waits(check: &Check, worker: i32, seen: &Shared<Seen>, who: &str, look: &str) -> Outcome {
    check.wait_until("the task runs", || {
        seen.started.load(SeqCst) == 1 || seen.returned.load(SeqCst) == 1 || has_ended(worker)
    })?;
    if has_ended(worker) {
        // The worker's end is told by whoever joins it.
        return Ok(());
    }
    until_asleep(check, worker, &[worker], || seen.returned.load(SeqCst) == 1, who, look)
}

fn has_ended(pid: i32) -> bool {
    observe::state_of(pid).is_none_or(|state| state == 'Z')
}

/// `join` sleeps on the word that the kernel clears, and the kernel finds it there.
pub fn join_waits_for_the_kernel(check: &mut Check) -> Outcome {
    let seen = seen(check, 0);
    let process =
        check.spawn("`KernelTask::join` of a thread", || joining(&seen, |task| joined(task.join())))?;
    let pid = process.pid();
    until_it_waits(
        check,
        pid,
        &seen,
        "`join`",
        "`KernelTask::join` of a thread: `FUTEX_WAIT` until the word is 0",
    )?;
    let call = observe::blocked_in(pid, pid);
    let cleared = seen.cleared.load(SeqCst);
    if let Some(call) = call {
        ensure!(cleared != 0, expected: "the kernel will clear a word when the task has left its stack", observed: "no word is registered for the task (`PR_GET_TID_ADDRESS` says 0)", look: "`CLONE_CHILD_CLEARTID` in `spawn_task`");
        let (name, word, operation) = (call.name, call.arguments[0] as usize, call.arguments[1] as i32);
        let is_futex = name == "futex";
        ensure!(is_futex, expected: "`join` waits in `futex`", observed: "it waits in `{name}`", look: "`KernelTask::join` of a thread");
        ensure!(operation & libc::FUTEX_PRIVATE_FLAG == 0, expected: "`join` waits by a shared futex operation, for the kernel wakes by one", observed: "the operation is {operation:#x}: with FUTEX_PRIVATE_FLAG nobody will wake it", look: "`KernelTask::join` of a thread: no FUTEX_PRIVATE_FLAG");
        ensure!(cleared == 1 || word == cleared, expected: "`join` waits on the word that the kernel will clear, {cleared:#x}", observed: "it waits on {word:#x}", look: "the last argument of `clone`, and the word in `KernelTask::join`");
    }
    seen.go.open();
    check.wait_until("`join` returns, after the task has ended", || {
        seen.returned.load(SeqCst) == 1 || has_ended(pid)
    })?;
    let value = process.join()?;
    let right = seen.value;
    ensure!(value == Ok(right), expected: "`Ok({right})` from `join`", observed: "{value:?}", look: "how the body's value reaches `join`");
    Ok(())
}

/// The place where the signal handler counts.
static COUNT: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count_signal(_: i32) {
    // SAFETY: the address of a `Seen` in shared memory, set before the handler.
    let seen = unsafe { &*(COUNT.load(SeqCst) as *const Seen) };
    seen.signals.fetch_add(1, SeqCst);
}

/// A signal that interrupts `join` does not end it.
pub fn join_survives_a_signal(check: &mut Check) -> Outcome {
    let seen = seen(check, 0);
    let look = "`KernelTask::join` of a thread: look at the word again after each return of `FUTEX_WAIT`";
    let process = check.spawn("`KernelTask::join` of a thread, with signals", || {
        COUNT.store(seen.address(), SeqCst);
        // SAFETY: the handler counts in shared memory; no SA_RESTART, so that system calls are interrupted.
        unsafe {
            let mut action = std::mem::zeroed::<libc::sigaction>();
            action.sa_sigaction = count_signal as *const () as usize;
            libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut());
        }
        joining(&seen, |task| joined(task.join()))
    })?;
    let pid = process.pid();
    for round in 1..=3 {
        let who = if round == 1 { "`join`" } else { "`join`, interrupted by a signal," };
        until_it_waits(check, pid, &seen, who, look)?;
        // SAFETY: a signal for the main thread of our own worker.
        unsafe { libc::syscall(libc::SYS_tgkill, pid, pid, libc::SIGUSR1) };
        check.wait_until("the signal has been handled", || {
            seen.signals.load(SeqCst) >= round || has_ended(pid)
        })?;
    }
    if !has_ended(pid) {
        until_it_waits(check, pid, &seen, "`join`, interrupted by a signal,", look)?;
    }
    seen.go.open();
    let value = process.join()?;
    let (right, ended) = (seen.value, seen.ended.load(SeqCst));
    ensure!(ended == 1 && value == Ok(right), expected: "`Ok({right})` from `join`, after the end of the task", observed: "{value:?}", look: look);
    check.note("3 signals");
    Ok(())
}

/// Dropping a task waits for its end, for it needs its stack.
pub fn a_dropped_task_is_waited_for(check: &mut Check) -> Outcome {
    let seen = seen(check, 0);
    let look = "`drop` of a `KernelTask`: wait as `join` does, then unmap";
    let process = check.spawn("`drop` of a `KernelTask`", || {
        joining(&seen, |task| {
            drop(task);
            // SAFETY: asks about one page.
            let mapped = mapping_of(seen.local.load(SeqCst)).is_some();
            Ok(u8::from(mapped))
        })
    })?;
    let pid = process.pid();
    until_it_waits(check, pid, &seen, "`drop`", look)?;
    seen.go.open();
    let mapped = match process.ending()? {
        Ending::Returned(mapped) => mapped,
        Ending::Signalled(signal) => {
            let expected = "`drop` waits for the task, then unmaps the stack that the task needs";
            return Err(Stop::failed(
                expected,
                format!("the process was killed by {}", super::name_of(signal)),
                look,
            ));
        }
        ending => {
            return Err(Stop::failed("`drop` of a task returns", format!("{ending:?}"), look));
        }
    };
    ensure!(mapped == Ok(0), expected: "the stack of a dropped task is unmapped", observed: "{mapped:?} (1: still mapped)", look: look);
    let ended = seen.ended.load(SeqCst);
    ensure!(ended == 1, expected: "`drop` returns when the task has ended", observed: "it returned before", look: look);
    let reaped = check.ask("`drop` of a task of kind `Process`", || {
        // SAFETY: the body makes one system call, in a process of its own.
        drop(unsafe { spawn_task(Kind::Process, 64 << 10, kills_itself, 0) });
        observe::children_of(super::pid()).len()
    })?;
    ensure!(reaped == 0, expected: "a process that is dropped has been waited for", observed: "{reaped} child is left", look: look);
    Ok(())
}
