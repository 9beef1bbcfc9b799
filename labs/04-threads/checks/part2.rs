//! Part 2: PID, TGID, TID, and the tasks of a process.

use std::sync::Barrier;
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};
use std::thread;

use harness::faults::{self, Plan};
use harness::{Check, Outcome, Shared, Stop, Student, ensure, observe};
use threads::{Task, is_main_thread, process_id, tasks_of, thread_id};

use super::{Gate, pid, tid};

/// What the three functions say in the calling thread, and what is so.
type Numbers = ((i32, i32, bool), (i32, i32));

fn numbers() -> Numbers {
    ((process_id(), thread_id(), is_main_thread()), (pid(), tid()))
}

fn right_numbers(numbers: &[Numbers], place: &str) -> Outcome {
    for ((process, thread, main), (pid, tid)) in numbers {
        ensure!(process == pid, expected: "`process_id()` is {pid} {place}, the number that all threads share", observed: "{process}", look: "`process_id`: `getpid`");
        ensure!(thread == tid, expected: "`thread_id()` is {tid} {place} (in process {pid})", observed: "{thread}", look: "`thread_id`: `gettid`; a number remembered from elsewhere is of no use");
        let is = pid == tid;
        ensure!(*main == is, expected: "`is_main_thread()` is {is} in thread {tid} of process {pid}, {place}", observed: "{main}", look: "`is_main_thread`");
    }
    Ok(())
}

/// In every thread PID and TID are those of the kernel.
pub fn pid_and_tid_are_told_apart(check: &mut Check) -> Outcome {
    let mut seen = check.ask("`process_id`, `thread_id`, `is_main_thread`", || {
        let mut seen = vec![numbers()];
        // All at once, so that no number is used twice.
        let all = Barrier::new(3);
        thread::scope(|scope| {
            let start = || {
                let numbers = numbers();
                all.wait();
                numbers
            };
            let others: Vec<_> = (0..3).map(|_| scope.spawn(start)).collect();
            seen.extend(others.into_iter().filter_map(|other| other.join().ok()));
        });
        seen
    })?;
    let others = seen.split_off(1);
    right_numbers(&seen, "in the main thread")?;
    right_numbers(&others, "in a thread that is not the first")?;
    ensure!(others.len() == 3, expected: "answers from 3 threads", observed: "{others:?}", look: "`process_id`, `thread_id`");
    Ok(())
}

/// A child forked from a thread has numbers of its own, and its one thread is its main thread.
pub fn numbers_are_right_after_fork(check: &mut Check) -> Outcome {
    let seen: Vec<Shared<AtomicI32>> = (0..5).map(|_| Shared::new(AtomicI32::new(-1))).collect();
    check.ask("`process_id`, `thread_id` and `is_main_thread` in a forked child", || {
        let in_child = || {
            // Whoever remembers, remembers these.
            let _ = numbers();
            // SAFETY: the child writes to shared memory and leaves.
            match unsafe { libc::fork() } {
                0 => {
                    let ((process, thread, main), (pid, tid)) = numbers();
                    for (place, number) in seen.iter().zip([process, thread, main.into(), pid, tid]) {
                        place.store(number, SeqCst);
                    }
                    // SAFETY: ends the child.
                    unsafe { libc::_exit(0) }
                }
                child => {
                    // SAFETY: no status is asked for.
                    unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
                }
            }
        };
        let _ = numbers();
        thread::scope(|scope| drop(scope.spawn(in_child).join()));
    })?;
    let seen: Vec<i32> = seen.iter().map(|place| place.load(SeqCst)).collect();
    let (pid, tid) = (seen[3], seen[4]);
    if pid == -1 {
        return Err(Stop::inconclusive("no child could be forked"));
    }
    right_numbers(&[((seen[0], seen[1], seen[2] == 1), (pid, tid))], "in a child forked from a thread")
}

/// Names that a careless parser stumbles over.
const NAMES: [&str; 5] = ["worker", "two words", "a) R (b", "back\\slash", "ends in space "];

/// A process with named threads, all of them asleep. Its pid, and each thread's TID in the order of the names.
fn sleepers<'g>(check: &Check, tids: &'g [AtomicI32], gate: &'g Gate) -> Result<Student<()>, Stop> {
    let process = check.spawn("the process that is looked at", || {
        thread::scope(|scope| {
            for (place, name) in tids.iter().zip(NAMES) {
                scope.spawn(move || {
                    let name: Vec<u8> = name.bytes().chain([0]).collect();
                    // SAFETY: a C string of at most 16 bytes.
                    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
                    place.store(tid(), SeqCst);
                    gate.wait();
                });
            }
            gate.wait();
        });
    })?;
    let pid = process.pid();
    check.wait_until("the threads of a test process sleep", || {
        tids.iter().all(|tid| tid.load(SeqCst) != 0)
            && observe::threads_of(pid).iter().all(|&tid| observe::blocked_in(pid, tid).is_some())
    })?;
    Ok(process)
}

/// A task in a form that travels.
type Told = (i32, i32, String, char);

fn told(task: Task) -> Told {
    (task.tid, task.tgid, task.name, task.state)
}

/// `tasks_of` in a worker. An error as its errno.
fn ask_tasks(check: &Check, number: i32) -> Result<Result<Vec<Told>, (bool, String)>, Stop> {
    check.ask(&format!("`tasks_of({number})`"), || {
        tasks_of(number)
            .map(|tasks| tasks.into_iter().map(told).collect())
            .map_err(|error| (error.kind() == std::io::ErrorKind::NotFound, error.to_string()))
    })
}

/// `tasks_of` agrees with the kernel on numbers, names and states.
pub fn tasks_are_those_of_the_kernel(check: &mut Check) -> Outcome {
    let tids = Shared::<()>::slice(NAMES.len(), |_| AtomicI32::new(0));
    let gate = Shared::new(Gate::closed());
    let process = sleepers(check, &tids, &gate)?;
    let pid = process.pid();
    let own_name = observe::name_of(pid).unwrap_or_default();
    let any_thread = tids[check.rng().below(NAMES.len() as u64) as usize].load(SeqCst);
    for (number, state) in [(pid, 'S'), (any_thread, 'S'), (pid, 'T')] {
        if state == 'T' {
            // SAFETY: stops our own worker.
            unsafe { libc::kill(pid, libc::SIGSTOP) };
            check.wait_until("the test process is stopped", || {
                observe::threads_of(pid).iter().all(|&tid| observe::thread_state_of(pid, tid) == Some('T'))
            })?;
        }
        let mut right: Vec<Told> = vec![(pid, pid, own_name.clone(), state)];
        right.extend(
            tids.iter().zip(NAMES).map(|(tid, name)| (tid.load(SeqCst), pid, name.to_owned(), state)),
        );
        right.sort_unstable();
        let answer = ask_tasks(check, number)?;
        let whose =
            if number == pid { "a process" } else { "a process, asked by the TID of one of its threads" };
        let tasks = match answer {
            Ok(tasks) => tasks,
            Err((_, error)) => {
                return Err(Stop::failed(
                    format!("the 6 tasks of {whose}"),
                    format!("the error \"{error}\""),
                    "`tasks_of`",
                ));
            }
        };
        let (wanted, seen): (Vec<i32>, Vec<i32>) =
            (right.iter().map(|task| task.0).collect(), tasks.iter().map(|task| task.0).collect());
        ensure!(seen == wanted, expected: "the tasks {wanted:?} of {whose}, the main thread {pid} among them, ascending", observed: "{seen:?}", look: "`tasks_of`: the names in /proc/PID/task, as numbers");
        for (seen, right) in tasks.iter().zip(&right) {
            let tid = right.0;
            ensure!(seen.1 == right.1, expected: "task {tid} has the TGID {pid}", observed: format!("{}", seen.1), look: "`tasks_of`: `Tgid:` in the status file");
            ensure!(seen.2 == right.2, expected: format!("the name of task {tid} is {:?}", right.2), observed: format!("{:?}", seen.2), look: "`tasks_of`: the name, from the file `comm`");
            ensure!(seen.3 == state, expected: "the state of task {tid} is {state:?}", observed: format!("{:?}", seen.3), look: "`tasks_of`: `State:` in the status file");
        }
    }
    process.kill();
    let missing = ask_tasks(check, i32::MAX)?;
    let seen = format!("{missing:?}");
    ensure!(matches!(missing, Err((true, _))), expected: "an error of the kind `NotFound` for a process that does not exist", observed: "{seen}", look: "`tasks_of`: a task may vanish while it is read, a process that is not there is an error");
    check.note("6 tasks, asleep and stopped, with difficult names");
    Ok(())
}

/// A task that ends while it is being looked at is left out.
pub fn a_task_may_vanish(check: &mut Check) -> Outcome {
    let tids = Shared::<()>::slice(NAMES.len(), |_| AtomicI32::new(0));
    let gate = Shared::new(Gate::closed());
    let process = sleepers(check, &tids, &gate)?;
    let pid = process.pid();
    let what = "`tasks_of` when a task ends meanwhile (opening fails with ENOENT, or reading with ESRCH)";
    let answers = check.ask(what, || {
        let (_, calls) = faults::with(Plan::none(), || tasks_of(pid));
        // The first open may be that of the directory.
        let opens = (1..faults::count(&calls, "open")).map(|nth| ("open", nth, libc::ENOENT));
        let reads = (0..faults::count(&calls, "read")).map(|nth| ("read", nth, libc::ESRCH));
        let moments = opens.chain(reads).map(|(call, nth, errno)| {
            let (tasks, _) = faults::with(Plan::fail(call, nth, errno), || tasks_of(pid));
            let tasks = tasks.map(|tasks| tasks.len()).map_err(|error| error.to_string());
            (call.to_owned(), nth, errno, tasks)
        });
        moments.collect::<Vec<_>>()
    })?;
    let tried = answers.len();
    for (call, nth, errno, answer) in answers {
        let seen = format!("{answer:?}");
        let fine = answer == Ok(NAMES.len()) || (call == "read" && answer == Ok(NAMES.len() + 1));
        ensure!(fine, expected: "5 of 6 tasks when {call} number {nth} fails with errno {errno}, because its task has ended", observed: "{seen}", look: "`tasks_of`: a task whose files are gone is no error");
    }
    ensure!(tried > 0, expected: "`tasks_of` opens files in /proc/PID/task", observed: "no file was opened", look: "`tasks_of`");
    check.note(format!("{tried} moments at which a task may end"));
    Ok(())
}
