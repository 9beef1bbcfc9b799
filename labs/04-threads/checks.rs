//! What lab 04 asks for, one property a function. Each part has a file in `checks/`.

use std::ffi::c_int;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use harness::{Check, Ending, Outcome, Stop, Wire, observe};

#[path = "checks/part1.rs"]
mod part1;
#[path = "checks/part2.rs"]
mod part2;
#[path = "checks/part3.rs"]
mod part3;
#[path = "checks/part4.rs"]
mod part4;
#[path = "checks/part5.rs"]
mod part5;
#[path = "checks/part6.rs"]
mod part6;
#[path = "checks/pthreads.rs"]
mod pthreads;

harness::checks! {
    "runs-in-a-new-thread" => part1::runs_in_a_new_thread,
    "join-returns-the-value" => part1::join_returns_the_value,
    "attributes-are-obeyed" => part1::attributes_are_obeyed,
    "exit-works-from-any-depth" => part1::exit_works_from_any_depth,
    "a-panic-is-told-by-join" => part1::a_panic_is_told_by_join,
    "creation-errors-are-returned" => part1::creation_errors_are_returned,
    "join-errors-are-returned" => part1::join_errors_are_returned,
    "everything-is-dropped-once" => part1::everything_is_dropped_once,
    "stacks-are-given-back" => part1::stacks_are_given_back,
    "pid-and-tid-are-told-apart" => part2::pid_and_tid_are_told_apart,
    "numbers-are-right-after-fork" => part2::numbers_are_right_after_fork,
    "tasks-are-those-of-the-kernel" => part2::tasks_are_those_of_the_kernel,
    "a-task-may-vanish" => part2::a_task_may_vanish,
    "tokens-are-right" => part3::tokens_are_right,
    "tokenizers-keep-apart" => part3::tokenizers_keep_apart,
    "each-thread-has-its-own-value" => part3::each_thread_has_its_own_value,
    "values-end-with-their-thread" => part3::values_end_with_their_thread,
    "once-runs-once" => part3::once_runs_once,
    "once-makes-others-wait-asleep" => part3::once_makes_others_wait_asleep,
    "once-recovers-from-a-panic" => part3::once_recovers_from_a_panic,
    "the-sum-is-exact" => part4::the_sum_is_exact,
    "the-work-is-split" => part4::the_work_is_split,
    "a-failing-sum-cleans-up" => part4::a_failing_sum_cleans_up,
    "each-job-runs-once" => part4::each_job_runs_once,
    "workers-work-at-the-same-time" => part4::workers_work_at_the_same_time,
    "a-panic-costs-one-job" => part4::a_panic_costs_one_job,
    "shutdown-finishes-the-queue" => part4::shutdown_finishes_the_queue,
    "a-failing-pool-cleans-up" => part4::a_failing_pool_cleans_up,
    "a-thread-is-a-task-that-shares" => part5::a_thread_is_a_task_that_shares,
    "a-process-is-a-task-that-does-not" => part5::a_process_is_a_task_that_does_not,
    "the-stack-is-its-own" => part5::the_stack_is_its_own,
    "join-waits-for-the-kernel" => part5::join_waits_for_the_kernel,
    "join-survives-a-signal" => part5::join_survives_a_signal,
    "a-dropped-task-is-waited-for" => part5::a_dropped_task_is_waited_for,
    "a-crash-takes-threads-not-processes" => part6::a_crash_takes_threads_not_processes,
    "a-panic-costs-one-worker" => part6::a_panic_costs_one_worker,
    "a-failed-fork-is-an-error" => part6::a_failed_fork_is_an_error,
    "times-are-of-what-they-say" => part6::times_are_of_what_they_say,
}

/// The calling process, by the kernel's word.
fn pid() -> i32 {
    // SAFETY: takes nothing.
    unsafe { libc::syscall(libc::SYS_getpid) as i32 }
}

/// The calling thread, by the kernel's word.
fn tid() -> i32 {
    // SAFETY: takes nothing.
    unsafe { libc::syscall(libc::SYS_gettid) as i32 }
}

/// Asks in a worker. Death by a signal means that the function in question took the process down.
fn ask<T: Wire>(
    check: &Check,
    what: &str,
    expected: &str,
    look: &str,
    question: impl FnOnce() -> T,
) -> Result<T, Stop> {
    match check.ending(what, question)? {
        Ending::Returned(answer) => Ok(answer),
        Ending::Signalled(signal) => {
            Err(Stop::failed(expected, format!("the process was killed by {}", name_of(signal)), look))
        }
        Ending::Exited(code) => {
            Err(Stop::failed(expected, format!("the process ended with exit code {code}"), look))
        }
        Ending::Panicked { message, place } => {
            Err(Stop::Crashed { how: format!("{what} panicked: {message}"), place })
        }
    }
}

fn name_of(signal: c_int) -> String {
    nix::sys::signal::Signal::try_from(signal)
        .map_or_else(|_| format!("signal {signal}"), |signal| signal.to_string())
}

/// Waits in a worker for a fact, and leaves the processor to those who bring it about. The check's deadline ends it if need be.
fn wait_for(mut condition: impl FnMut() -> bool) {
    while !condition() {
        std::thread::sleep(Duration::from_micros(50));
    }
}

/// Waits until the other threads of this process have ended.
fn until_alone() {
    wait_for(|| observe::threads_of(pid()).len() == 1);
}

/// A gate in shared memory. Who waits there sleeps.
struct Gate(AtomicU32);

impl Gate {
    const fn closed() -> Gate {
        Gate(AtomicU32::new(0))
    }

    fn open(&self) {
        self.0.store(1, SeqCst);
        // SAFETY: wakes whoever waits at the word.
        unsafe { libc::syscall(libc::SYS_futex, self.0.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
    }

    /// Touches nothing thread-local: raw tasks may wait here too.
    fn wait(&self) {
        while self.0.load(SeqCst) == 0 {
            let none = std::ptr::null::<libc::timespec>();
            // SAFETY: the word outlives the call; no timeout.
            unsafe { libc::syscall(libc::SYS_futex, self.0.as_ptr(), libc::FUTEX_WAIT, 0, none) };
        }
    }
}

/// A panic without the message and the backtrace, which would only frighten.
fn panic_quietly(message: &str) -> ! {
    std::panic::resume_unwind(Box::new(message.to_owned()))
}

/// The processor time that nobody uses who sleeps.
const BUSY: Duration = Duration::from_millis(300);

/// Looks at sleeping threads that must agree: whoever waits for a lock in the kernel for a moment does not sleep.
const LOOKS: u32 = 20;

/// Waits until the threads of process `pid` sleep in system calls. An error if they return instead, poll, or burn time.
fn until_asleep(
    check: &Check,
    pid: i32,
    tids: &[i32],
    returned: impl Fn() -> bool,
    who: &str,
    look: &str,
) -> Outcome {
    let before = observe::cpu_time_of(pid).unwrap_or_default();
    let (mut early, mut ended, mut spent) = (false, false, Duration::ZERO);
    let (mut seen, mut same) = (None, 0);
    check.wait_until(&format!("{who} sleeps"), || {
        early = returned();
        spent = observe::cpu_time_of(pid).unwrap_or_default().saturating_sub(before);
        let calls = tids.iter().map(|&tid| observe::blocked_in(pid, tid)).collect::<Option<Vec<_>>>();
        same = if calls.is_some() && calls == seen { same + 1 } else { 0 };
        seen = calls;
        ended = observe::state_of(pid).is_none_or(|state| state == 'Z');
        early || ended || same >= LOOKS || spent > BUSY
    })?;
    if ended && !early {
        // Whoever joins the process says how it ended.
        return Ok(());
    }
    let observed = if early {
        format!("{who} did not wait: the call returned at once")
    } else if same < LOOKS {
        let used = spent.as_millis();
        format!("{who} used {used} ms of processor time while there was nothing to do but wait")
    } else if seen.is_some_and(|calls| calls.iter().any(|call| call.name.contains("nanosleep"))) {
        format!("{who} naps and looks again (nanosleep), instead of being woken")
    } else {
        return Ok(());
    };
    Err(Stop::failed(format!("{who} waits asleep"), observed, look))
}
