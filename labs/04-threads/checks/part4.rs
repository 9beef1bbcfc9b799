//! Part 4: work shared among threads.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use harness::{Check, Outcome, Shared, ensure, observe};
use threads::{Job, Pool, parallel_sum};

use super::{Gate, ask, panic_quietly, pid, pthreads, tid, until_alone, until_asleep, wait_for};

/// A result with an errno, or 0 for errors of the library itself.
fn errno_of<T>(result: std::io::Result<T>) -> Result<T, i32> {
    result.map_err(|error| error.raw_os_error().unwrap_or(0))
}

/// The sum is that of all items, however large, for any number of threads.
pub fn the_sum_is_exact(check: &mut Check) -> Outcome {
    for (count, threads) in [(0, 3), (1, 1), (5, 8), (10, 4), (1000, 3), (64, 64)] {
        let items: Vec<u64> = (0..count).map(|_| u64::MAX - check.rng().below(1 << 40)).collect();
        let right: u128 = items.iter().map(|item| u128::from(*item)).sum();
        let sum = check.ask(&format!("`parallel_sum` of {count} items by {threads} threads"), || {
            errno_of(parallel_sum(&items, threads, |item| *item))
        })?;
        ensure!(sum == Ok(right), expected: "{right}, the sum of {count} numbers close to 2^64, by {threads} threads", observed: "{sum:?}", look: "`parallel_sum`: every item once, added up as `u128`");
    }
    let none = check.ask("`parallel_sum` by 0 threads", || {
        parallel_sum(&[1u8], 0, |_| 1).is_err_and(|error| error.kind() == std::io::ErrorKind::InvalidInput)
    })?;
    ensure!(none, expected: "an `InvalidInput` error for 0 threads", observed: "something else", look: "`parallel_sum`");
    check.note("6 combinations of items and threads");
    Ok(())
}

/// min(threads, items) threads take part, at the same time, each with a fair share.
pub fn the_work_is_split(check: &mut Check) -> Outcome {
    for (count, threads) in [(9usize, 4usize), (7, 1), (3, 8), (10, 5), (11, 3)] {
        let wanted = threads.min(count);
        let what = format!("`parallel_sum` of {count} items that wait for each other, {threads} threads");
        let rendezvous = [false, true];
        for together in rendezvous {
            let workers = check.ask(&what, || {
                let workers: Vec<AtomicI32> = (0..count).map(|_| AtomicI32::new(0)).collect();
                let items: Vec<usize> = (0..count).collect();
                let arrived = AtomicUsize::new(0);
                let _ = parallel_sum(&items, threads, |item| {
                    let first = workers.iter().all(|worker| worker.load(SeqCst) != tid());
                    workers[*item].store(tid(), SeqCst);
                    if together && first {
                        arrived.fetch_add(1, SeqCst);
                        wait_for(|| arrived.load(SeqCst) >= wanted);
                    }
                    1
                });
                workers.iter().map(|worker| worker.load(SeqCst)).collect::<Vec<_>>()
            })?;
            let distinct = workers.iter().collect::<HashSet<_>>().len();
            ensure!(distinct == wanted, expected: "{wanted} threads for {count} items and {threads} threads", observed: "{distinct} threads called `f`", look: "`parallel_sum`: min(threads, items) shares, none of them empty (chunks of ⌈items / threads⌉ can leave a thread without work)");
            let most = workers.iter().map(|one| workers.iter().filter(|other| *other == one).count()).max();
            let (most, fair) = (most.unwrap_or(0), count.div_ceil(threads));
            ensure!(most <= fair, expected: "no thread has more than {fair} of {count} items ({threads} threads)", observed: "one had {most}", look: "how `parallel_sum` deals the items");
        }
    }
    check.note("5 combinations of items and threads");
    Ok(())
}

/// A panic or a thread that cannot be made is told, and no thread works on after the return.
pub fn a_failing_sum_cleans_up(check: &mut Check) -> Outcome {
    static RETURNED: AtomicBool = AtomicBool::new(false);
    static LATE: AtomicU32 = AtomicU32::new(0);
    let fatal = check.rng().below(8) as usize;
    let items: Vec<usize> = (0..8).collect();
    let panicked = check.ask("`parallel_sum` of a function that panics", || {
        let caught = catch_unwind(AssertUnwindSafe(|| {
            parallel_sum(&items, 4, |item| {
                if *item == fatal {
                    panic_quietly("on purpose, by the check");
                }
                // The others are still at work when the panic comes.
                thread::sleep(Duration::from_millis(2));
                LATE.fetch_add(u32::from(RETURNED.load(SeqCst)), SeqCst);
                1
            })
        }));
        RETURNED.store(true, SeqCst);
        until_alone();
        (caught.is_err(), LATE.load(SeqCst))
    })?;
    ensure!(panicked.0, expected: "the panic of item {fatal} goes on to the caller", observed: "`parallel_sum` returned", look: "`parallel_sum`: what `join` of a thread that panicked returns");
    let late = panicked.1;
    ensure!(late == 0, expected: "all threads have ended when the panic reaches the caller", observed: "`f` was still running for {late} items", look: "`parallel_sum`: join all threads before the panic goes on");
    let made = check.ask("`parallel_sum` by 4 threads", || {
        let before = pthreads::calls();
        let _ = parallel_sum(&items, 4, |_| 1);
        before.since().created
    })?;
    for nth in 0..made {
        let (sum, late) = check.ask(&format!("`parallel_sum` when thread {nth} cannot be made"), || {
            pthreads::fail_create(nth, libc::EAGAIN);
            let sum = parallel_sum(&items, 4, |_| {
                thread::sleep(Duration::from_millis(1));
                LATE.fetch_add(u32::from(RETURNED.load(SeqCst)), SeqCst);
                1
            });
            RETURNED.store(true, SeqCst);
            until_alone();
            (errno_of(sum), LATE.load(SeqCst))
        })?;
        let eagain = libc::EAGAIN;
        ensure!(sum == Err(eagain), expected: "the error with errno {eagain} (EAGAIN) when thread {nth} of {made} cannot be made", observed: "{sum:?}", look: "`parallel_sum`: what creating a thread returns (`std::thread::Builder`)");
        ensure!(late == 0, expected: "the threads made before have ended when the error is returned", observed: "`f` was still running for {late} items", look: "`parallel_sum` on an error");
    }
    check.note(format!("a panic, and {made} threads that could not be made"));
    Ok(())
}

/// Waits for each job; the message of a panic, if that is what came.
fn wait_all<R>(jobs: Vec<Job<R>>) -> Vec<Result<R, String>> {
    jobs.into_iter().map(|job| job.wait().map_err(|panic| panic.0)).collect()
}

/// Every job runs once, gives back its own result, and starts in turn.
pub fn each_job_runs_once(check: &mut Check) -> Outcome {
    static ORDER: AtomicU32 = AtomicU32::new(0);
    for workers in [1, 3] {
        let salt = check.rng().below(1000) as u32;
        let (results, ran, order) = check.ask(&format!("100 jobs in a `Pool` of {workers}"), || {
            let Ok(pool) = Pool::new(workers) else { return Default::default() };
            let jobs: Vec<_> = (0..100)
                .map(|number| pool.submit(move || (number + salt, ORDER.fetch_add(1, SeqCst))))
                .collect();
            let (results, order): (Vec<_>, Vec<_>) =
                wait_all(jobs).into_iter().map(|result| result.unwrap_or((u32::MAX, u32::MAX))).unzip();
            pool.shutdown();
            (results, ORDER.load(SeqCst), order)
        })?;
        let right: Vec<u32> = (0..100).map(|number| number + salt).collect();
        let wrong = (0..100).find(|&place| results.get(place) != right.get(place));
        ensure!(ran == 100, expected: "100 jobs run once each ({workers} workers)", observed: "{ran} runs", look: "`Pool::submit`, and how a worker takes a job from the queue");
        ensure!(wrong.is_none(), expected: "`wait` returns each job's own result ({workers} workers)", observed: "that of job {wrong:?} is not its own", look: "`Job::wait`: each job has a place of its own for its result");
        if workers == 1 {
            let sorted = order.is_sorted();
            ensure!(sorted, expected: "one worker runs the jobs in the order of submission", observed: format!("jobs 0 to 9 were started in the places {:?} of 0 to 99", &order[..10]), look: "the queue of `Pool`: first in, first out");
        }
    }
    let none = check.ask("`Pool::new(0)`", || {
        Pool::new(0).is_err_and(|error| error.kind() == std::io::ErrorKind::InvalidInput)
    })?;
    ensure!(none, expected: "an `InvalidInput` error from `Pool::new(0)`", observed: "something else", look: "`Pool::new`");
    check.note("100 jobs for 1 and for 3 workers");
    Ok(())
}

/// Runs as many jobs as there are workers, which all wait for each other.
fn rendezvous(pool: &Pool, workers: usize) -> usize {
    let arrived: &'static AtomicUsize = Box::leak(Box::new(AtomicUsize::new(0)));
    let job = move || {
        arrived.fetch_add(1, SeqCst);
        wait_for(|| arrived.load(SeqCst) >= workers);
    };
    let jobs = (0..workers).map(|_| pool.submit(job)).collect();
    wait_all(jobs).iter().filter(|result| result.is_ok()).count()
}

/// All workers work at the same time, and sleep when there is nothing to do.
pub fn workers_work_at_the_same_time(check: &mut Check) -> Outcome {
    let workers = 3 + check.rng().below(3) as usize;
    let (ready, go) = (Shared::new(AtomicU32::new(0)), Shared::new(Gate::closed()));
    let what = format!("{workers} jobs that wait for each other, in a `Pool` of {workers}");
    let process = check.spawn(&what, || {
        let Ok(pool) = Pool::new(workers) else { return 0 };
        ready.store(1, SeqCst);
        go.wait();
        let met = rendezvous(&pool, workers);
        pool.shutdown();
        met
    })?;
    let pid = process.pid();
    check.wait_until("the pool is there", || {
        ready.load(SeqCst) == 1 || observe::state_of(pid).is_none_or(|state| state == 'Z')
    })?;
    if observe::state_of(pid).is_none_or(|state| state == 'Z') {
        return process.join().map(drop);
    }
    let tids: Vec<i32> = observe::threads_of(pid).into_iter().filter(|&tid| tid != pid).collect();
    let count = tids.len();
    ensure!(count == workers, expected: "a pool of {workers} has {workers} threads", observed: "{count}", look: "`Pool::new`");
    until_asleep(
        check,
        pid,
        &tids,
        || false,
        "a worker without a job",
        "how a worker waits for a job: a condition variable or a channel",
    )?;
    go.open();
    let met = process.join()?;
    ensure!(met == workers, expected: "{workers} jobs that wait for each other all finish in a pool of {workers}", observed: "{met} did", look: "`Pool`: a job must run without the lock on the queue");
    Ok(())
}

/// A job that panics is told by its `wait`, and its worker goes on.
pub fn a_panic_costs_one_job(check: &mut Check) -> Outcome {
    let word = format!("{:x}", check.rng().next_u64());
    let (results, met) = ask(
        check,
        "`wait` for 5 jobs that panic, in a `Pool` of 2,",
        "the process goes on",
        "how a worker runs a job: `catch_unwind`",
        || {
            let Ok(pool) = Pool::new(2) else { return Default::default() };
            let jobs = (0..5)
                .map(|number| {
                    let word = word.clone();
                    pool.submit(move || if number < 5 { panic_quietly(&word) } else { 0u8 })
                })
                .collect();
            let results: Vec<_> = wait_all(jobs);
            // Both workers are needed for this.
            let met = rendezvous(&pool, 2);
            pool.shutdown();
            (results, met)
        },
    )?;
    let right = vec![Err(word.clone()); 5];
    ensure!(results == right, expected: "`Err(JobPanicked({word:?}))` from `wait`, 5 times", observed: "{results:?}", look: "what a worker keeps of a job that panicked");
    ensure!(met == 2, expected: "both workers go on after the panics", observed: "{met} of 2 jobs finished", look: "how a worker runs a job: `catch_unwind`");
    Ok(())
}

/// No job in the queue is lost, and no worker stays.
pub fn shutdown_finishes_the_queue(check: &mut Check) -> Outcome {
    static GO: Gate = Gate::closed();
    static RAN: AtomicU32 = AtomicU32::new(0);
    static RETURNED: AtomicBool = AtomicBool::new(false);
    for (workers, by_drop) in [(1, false), (2, true), (1, true), (3, false)] {
        let how = if by_drop { "`drop` of a `Pool`" } else { "`Pool::shutdown`" };
        let what = format!("{how}, {workers} workers busy and 20 jobs in the queue");
        let (ran, results) = check.ask(&what, || {
            let Ok(pool) = Pool::new(workers) else { return Default::default() };
            for _ in 0..workers {
                pool.submit(|| GO.wait());
            }
            let jobs: Vec<_> = (0..20u32)
                .map(|number| {
                    pool.submit(move || {
                        RAN.fetch_add(1, SeqCst);
                        number
                    })
                })
                .collect();
            let opener = thread::spawn(|| {
                // Once the main thread waits in `shutdown`, or has come back from it.
                wait_for(|| RETURNED.load(SeqCst) || observe::thread_state_of(pid(), pid()) == Some('S'));
                GO.open();
            });
            if by_drop {
                drop(pool)
            } else {
                pool.shutdown()
            }
            let ran = RAN.load(SeqCst);
            RETURNED.store(true, SeqCst);
            drop(opener.join());
            let lost = ran < 20;
            if !lost {
                until_alone();
            }
            (ran, if lost { Vec::new() } else { wait_all(jobs) })
        })?;
        ensure!(ran == 20, expected: "when {how} returns, all 20 jobs of the queue have run ({workers} workers)", observed: "{ran} have", look: "`Pool`: a worker ends when the queue is closed *and* empty, and the workers are joined");
        let right: Vec<Result<u32, String>> = (0..20).map(Ok).collect();
        ensure!(results == right, expected: "their results can be had afterwards", observed: "{results:?}", look: "`Job::wait`: the result outlives the pool");
    }
    check.note("4 pools, shut down and dropped");
    Ok(())
}

/// When a worker cannot be made, the error is told and the other workers end.
pub fn a_failing_pool_cleans_up(check: &mut Check) -> Outcome {
    for nth in 0..3 {
        let what = format!("the threads left by `Pool::new(3)`, whose thread {nth} could not be made,");
        let made = check.ask(&what, || {
            pthreads::fail_create(nth, libc::EAGAIN);
            let made = errno_of(Pool::new(3).map(std::mem::forget));
            if made.is_err() {
                until_alone();
            }
            made
        })?;
        let eagain = libc::EAGAIN;
        ensure!(made == Err(eagain), expected: "the error with errno {eagain} (EAGAIN) from `Pool::new(3)` when thread {nth} cannot be made", observed: "{made:?}", look: "`Pool::new`: the error of `pthread_create`, and the threads made before it");
    }
    check.note("each of 3 threads could not be made");
    Ok(())
}
