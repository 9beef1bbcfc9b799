//! Part 6: processes and threads side by side.

use std::collections::HashSet;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use harness::faults::{self, Plan};
use harness::{Check, Outcome, Shared, Stop, ensure, observe};
use threads::Isolation::{self, Processes, Threads};
use threads::{creation_time, run_workers, switch_time};

use super::{ask, panic_quietly, pid, pthreads, tid, wait_for};

const BOTH: [Isolation; 2] = [Threads, Processes];

/// Who ran a call of `work`.
struct Who {
    pid: AtomicI32,
    tid: AtomicI32,
}

fn who(count: usize) -> harness::SharedSlice<Who> {
    Shared::<()>::slice(count, |_| Who { pid: AtomicI32::new(0), tid: AtomicI32::new(0) })
}

impl Who {
    fn is_me(&self) {
        self.tid.store(tid(), SeqCst);
        self.pid.store(pid(), SeqCst);
    }
}

fn has_ended(pid: i32) -> bool {
    observe::state_of(pid).is_none_or(|state| matches!(state, 'Z' | 'X'))
}

/// A fatal signal, whatever handlers there are; no core file.
fn crash(signal: i32) {
    // SAFETY: plain system calls on this process.
    unsafe {
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        libc::setrlimit(libc::RLIMIT_CORE, &none);
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

/// A fatal signal in one worker ends all threads of its process, and no other process.
pub fn a_crash_takes_threads_not_processes(check: &mut Check) -> Outcome {
    for isolation in BOTH {
        let count = 3 + check.rng().below(3) as usize;
        let victim = check.rng().below(count as u64) as usize;
        let signal = [libc::SIGSEGV, libc::SIGABRT, libc::SIGKILL][check.rng().below(3) as usize];
        let who = who(count);
        let what = format!("`run_workers({count}, {isolation:?}, …)` when worker {victim} crashes");
        let look = "`run_workers`: in which process and thread each call of `work` runs";
        let (caller, finished) = ask(check, &what, "the caller survives", look, || {
            let caller = pid();
            let finished = run_workers(count, isolation, |index| {
                who[index].is_me();
                if pid() == caller {
                    return;
                }
                wait_for(|| who.iter().all(|who| who.pid.load(SeqCst) != 0));
                if index == victim {
                    crash(signal);
                }
                // The others go on when the crash is over; threads of the same process never will.
                wait_for(|| has_ended(who[victim].pid.load(SeqCst)));
            });
            (caller, finished.map_err(|error| error.to_string()))
        })?;
        let pids: Vec<i32> = who.iter().map(|who| who.pid.load(SeqCst)).collect();
        let tids: HashSet<i32> = who.iter().map(|who| who.tid.load(SeqCst)).collect();
        let processes = pids.iter().collect::<HashSet<_>>().len();
        let in_caller = pids.contains(&caller);
        ensure!(!in_caller, expected: "no worker runs in the caller's process, {caller}", observed: "the workers ran in the processes {pids:?}", look: "`run_workers`: `fork` first, for both kinds");
        let wanted = if isolation == Threads { 1 } else { count };
        ensure!(processes == wanted, expected: "{count} workers isolated as {isolation:?} run in {wanted} process(es)", observed: "in {processes}: {pids:?}", look: look);
        let distinct = tids.len();
        ensure!(distinct == count, expected: "{count} workers are {count} tasks", observed: "{distinct}", look: look);
        let right: Vec<bool> = (0..count).map(|index| isolation == Processes && index != victim).collect();
        let seen = format!("{finished:?}");
        ensure!(finished == Ok(right.clone()), expected: "{right:?}: who has finished when worker {victim} of {count} died by signal {signal} ({isolation:?})", observed: "{seen}", look: "`run_workers`: where a worker leaves its mark, and when");
    }
    check.note("a crash among 3 to 5 threads and processes");
    Ok(())
}

/// A panic is no crash: it costs its own worker, in both cases.
pub fn a_panic_costs_one_worker(check: &mut Check) -> Outcome {
    for isolation in BOTH {
        let count = 4;
        let victim = check.rng().below(count) as usize;
        let who = who(count as usize);
        let what = format!("`run_workers(4, {isolation:?}, …)` when worker {victim} panics");
        let finished = ask(
            check,
            &what,
            "a panic costs one worker",
            "`run_workers`: catch the panic in the child",
            || {
                let panicked = Shared::new(AtomicU32::new(0));
                let finished = run_workers(count as usize, isolation, |index| {
                    who[index].is_me();
                    if index == victim {
                        panicked.store(1, SeqCst);
                        panic_quietly("on purpose, by the check");
                    }
                    wait_for(|| panicked.load(SeqCst) == 1);
                });
                finished.map_err(|error| error.to_string())
            },
        )?;
        let right: Vec<bool> = (0..count as usize).map(|index| index != victim).collect();
        let seen = format!("{finished:?}");
        ensure!(finished == Ok(right.clone()), expected: "{right:?} when worker {victim} panics ({isolation:?})", observed: "{seen}", look: "`run_workers`: a panic ends its own worker only, which has not finished");
    }
    Ok(())
}

/// When a child cannot be made, the error is told and no child is left.
pub fn a_failed_fork_is_an_error(check: &mut Check) -> Outcome {
    let gate = Shared::new(AtomicU32::new(0));
    let mut tried = 0;
    for (isolation, nth) in [(Threads, 0), (Processes, 0), (Processes, 2)] {
        let what = format!("`run_workers(3, {isolation:?}, …)` when `fork` number {nth} fails");
        let (finished, forks, children) = check.ask(&what, || {
            let (finished, calls) = faults::with(Plan::fail("fork", nth, libc::EAGAIN), || {
                run_workers(3, isolation, |_| {
                    // A child that is left stays until somebody ends it, or the caller is gone.
                    let caller = std::os::unix::process::parent_id();
                    wait_for(|| gate.load(SeqCst) == 1 || std::os::unix::process::parent_id() != caller);
                })
            });
            let children = observe::children_of(pid());
            for &child in &children {
                // SAFETY: a child of this worker; no status is asked for.
                unsafe {
                    libc::kill(child, libc::SIGKILL);
                    libc::waitpid(child, std::ptr::null_mut(), 0);
                }
            }
            let finished = finished.map_err(|error| error.raw_os_error().unwrap_or(0));
            (finished, faults::count(&calls, "fork"), children.len())
        })?;
        let eagain = libc::EAGAIN;
        let seen = format!("{finished:?}");
        ensure!(finished == Err(eagain), expected: "the error of `fork` number {nth}, errno {eagain} (EAGAIN), {isolation:?}", observed: "{seen} after {forks} forks", look: "`run_workers`: the result of `fork`");
        ensure!(children == 0, expected: "no child is left when `run_workers` returns an error", observed: "{children}, running or not waited for", look: "`run_workers`: the children made before must be ended and waited for");
        tried += 1;
    }
    check.note(format!("{tried} forks that fail"));
    Ok(())
}

/// What is seen of the exchange, from inside its reads and writes.
struct Traffic {
    reads: AtomicU64,
    writes: AtomicU64,
    /// The caller's transfers, out of all.
    callers: AtomicU64,
    /// Transfers by a task that may run on several processors.
    unbound: AtomicU64,
    partner_pid: AtomicI32,
    partner_tid: AtomicI32,
}

fn processors() -> Vec<usize> {
    let me = nix::unistd::Pid::from_raw(0);
    let Ok(set) = nix::sched::sched_getaffinity(me) else { return Vec::new() };
    (0..nix::sched::CpuSet::count()).filter(|&cpu| set.is_set(cpu).unwrap_or(false)).collect()
}

/// The times are of creations and switches that take place, as many as they say, on one processor.
pub fn times_are_of_what_they_say(check: &mut Check) -> Outcome {
    for isolation in BOTH {
        creations_take_place(check, isolation)?;
        switches_take_place(check, isolation)?;
    }
    let invalid = check.ask("no rounds", || {
        BOTH.map(|isolation| {
            [creation_time(isolation, 0), switch_time(isolation, 0)].iter().all(|time| {
                time.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::InvalidInput)
            })
        }) == [true; 2]
    })?;
    ensure!(invalid, expected: "an `InvalidInput` error for 0 rounds", observed: "something else", look: "`creation_time`, `switch_time`");
    let figures = check.ask("`creation_time` and `switch_time`", || {
        BOTH.map(|isolation| {
            let time = |time: std::io::Result<Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1e6);
            (time(creation_time(isolation, 50)), time(switch_time(isolation, 1500)))
        })
        .to_vec()
    })?;
    let [(thread, switch), (process, other)] = figures[..] else { return Ok(()) };
    check.note(format!("on this machine, by your own measurement: creating a thread {thread:.0} µs, a process {process:.0} µs ({:.1} times)", process / thread));
    check.note(format!("a switch between threads {switch:.2} µs, between processes {other:.2} µs ({:.2} times; the notes say 5)", other / switch));
    Ok(())
}

fn creations_take_place(check: &Check, isolation: Isolation) -> Outcome {
    let rounds = 20;
    let (time, forks, threads, elapsed) =
        check.ask(&format!("`creation_time({isolation:?}, 20)`"), || {
            let (before, start) = (pthreads::calls(), Instant::now());
            let (time, calls) = faults::with(Plan::none(), || creation_time(isolation, rounds));
            let elapsed = start.elapsed().as_secs_f64();
            let time = time.map(|time| time.as_secs_f64()).map_err(|error| error.to_string());
            (time, faults::count(&calls, "fork"), before.since().created, elapsed)
        })?;
    let (made, kind) = match isolation {
        Threads => (threads as usize, "threads"),
        Processes => (forks, "processes"),
    };
    ensure!(made == rounds as usize, expected: "{rounds} {kind} are made for {rounds} rounds", observed: "{made}", look: "`creation_time`");
    plausible(time, 1, f64::from(rounds), elapsed, "`creation_time`")
}

/// So many rounds of that mean time fit into the time that passed, and are not nothing.
fn plausible(
    time: Result<f64, String>,
    per_round: u32,
    rounds: f64,
    elapsed: f64,
    function: &str,
) -> Outcome {
    let time = match time {
        Ok(time) => time * f64::from(per_round),
        Err(error) => return Err(Stop::failed("a time", format!("the error \"{error}\""), function)),
    };
    let (whole, passed) = (time * rounds * 1e6, elapsed * 1e6);
    ensure!(whole > 0.0 && whole <= passed * 1.01, expected: "a mean time: {rounds} rounds of it are not more than the {passed:.0} µs that the call took", observed: "{whole:.1} µs", look: format!("{function}: the time divided by the number of rounds"));
    Ok(())
}

fn switches_take_place(check: &Check, isolation: Isolation) -> Outcome {
    let rounds: u32 = 40;
    let traffic = Shared::new(Traffic {
        reads: AtomicU64::new(0),
        writes: AtomicU64::new(0),
        callers: AtomicU64::new(0),
        unbound: AtomicU64::new(0),
        partner_pid: AtomicI32::new(0),
        partner_tid: AtomicI32::new(0),
    });
    let place = traffic.address();
    let before = processors();
    if before.is_empty() {
        return Err(Stop::inconclusive("this machine does not tell which processors a thread may use"));
    }
    let ((caller, time), elapsed, after) = check.ask(&format!("`switch_time({isolation:?}, 40)`"), || {
        let caller = tid();
        let plan = Plan::new(move |call| {
            // SAFETY: shared memory that the check keeps.
            let traffic = unsafe { &*(place as *const Traffic) };
            if call.is("read") || call.is("write") {
                if call.is("read") { &traffic.reads } else { &traffic.writes }.fetch_add(1, SeqCst);
                traffic.unbound.fetch_add(u64::from(processors().len() != 1), SeqCst);
                if tid() == caller {
                    traffic.callers.fetch_add(1, SeqCst);
                } else {
                    traffic.partner_pid.store(pid(), SeqCst);
                    traffic.partner_tid.store(tid(), SeqCst);
                }
            }
            faults::Action::Proceed
        });
        let start = Instant::now();
        let (time, _) = faults::with(plan, || switch_time(isolation, rounds));
        let elapsed = start.elapsed().as_secs_f64();
        (
            (pid(), time.map(|time| time.as_secs_f64()).map_err(|error| error.to_string())),
            elapsed,
            processors(),
        )
    })?;
    plausible(time, 2, f64::from(rounds), elapsed, "`switch_time`")?;
    let (reads, writes) = (traffic.reads.load(SeqCst), traffic.writes.load(SeqCst));
    let (callers, wanted) = (traffic.callers.load(SeqCst), 2 * u64::from(rounds));
    ensure!(reads >= wanted && writes >= wanted, expected: "{rounds} rounds are {wanted} writes and {wanted} reads: each side writes and reads a byte", observed: "{writes} writes and {reads} reads", look: "`switch_time`: how the byte is handed over");
    ensure!(callers >= wanted && callers <= wanted + 4, expected: "half of them are the caller's, {wanted}", observed: "{callers}", look: "`switch_time`: the caller is one of the two");
    let (partner, task) = (traffic.partner_pid.load(SeqCst), traffic.partner_tid.load(SeqCst));
    let fits = (partner == caller) == (isolation == Threads);
    ensure!(fits, expected: "the partner is one of {isolation:?}; the caller is process {caller}", observed: "its task {task} belongs to process {partner}", look: "`switch_time`: what the partner is");
    let unbound = traffic.unbound.load(SeqCst);
    ensure!(unbound == 0 || before.len() == 1, expected: "both are bound to one processor while they exchange the byte", observed: "{unbound} transfers by a task that may run on several", look: "`switch_time`: `sched_setaffinity` before the partner is made");
    ensure!(after == before, expected: "the caller may use the processors {before:?} afterwards, as before", observed: "{after:?}", look: "`switch_time`: `sched_setaffinity` at the end");
    Ok(())
}
