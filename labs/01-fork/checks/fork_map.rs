//! Part 2: a map over worker processes: order, sharing of the work, deaths, large results, cleaning up.

use std::thread;
use std::time::Duration;

use super::*;

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

/// How many bytes are the same at the beginning.
fn same(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
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
                None if right.starts_with(bytes) => {
                    format!("the first {} of its {} bytes, as if they were all", bytes.len(), right.len())
                }
                None => {
                    format!("{} bytes, of which only the first {} are right", bytes.len(), same(bytes, right))
                }
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
pub fn results_are_in_order(check: &mut Check) -> Outcome {
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
pub fn order_is_not_that_of_completion(check: &mut Check) -> Outcome {
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
                        // The first worker goes on when the second has ended and the caller has made of it what it will.
                        spin_until(|| second.load(SeqCst) != 0);
                        spin_until(|| has_ended(second.load(SeqCst)));
                        until_noticed(caller, second.load(SeqCst));
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

/// Waits until the caller has reaped a child that has ended, or clearly does not want to: it sleeps on (whom the end wakes does
/// not sleep any more when the child is seen to have ended, but for the blink of an eye), or it is busy with other things.
fn until_noticed(caller: i32, child: i32) {
    let processor_time = || observe::cpu_time_of(caller).unwrap_or_default();
    let before = processor_time();
    let mut asleep = 0;
    while observe::state_of(child).is_some()
        && asleep < 20
        && processor_time() - before < Duration::from_millis(200)
    {
        asleep = if observe::state_of(caller) == Some('S') { asleep + 1 } else { 0 };
        thread::sleep(Duration::from_millis(1));
    }
}

/// Whether this worker need not wait for the others any more: all `processes` are in `f`, or no further one will be started,
/// for the caller sleeps while each of its children is in `f`. Then `stuck` is what it waits for.
fn all_started(caller: i32, started: &AtomicUsize, processes: usize, stuck: &AtomicU32) -> bool {
    let inside = started.load(SeqCst);
    if inside >= processes || stuck.load(SeqCst) != 0 {
        return true;
    }
    match Wait::of(caller) {
        // Asked again at the end: as long as somebody is missing, nobody has left `f` and been reaped.
        Some(wait) if observe::descendants_of(caller).len() <= inside && started.load(SeqCst) == inside => {
            stuck.store(wait as u32, SeqCst);
            true
        }
        _ => false,
    }
}

/// `min(workers, items)` processes work at the same time, none of them the caller, each with its fair share.
pub fn workers_run_at_the_same_time(check: &mut Check) -> Outcome {
    for (count, workers) in [(3usize, 3usize), (2, 5), (7, 3), (8, 4)] {
        let processes = workers.min(count);
        let pids: Vec<Shared<AtomicI32>> = (0..count).map(|_| Shared::new(AtomicI32::new(0))).collect();
        let started = Shared::new(AtomicUsize::new(0));
        let seen = Shared::new(AtomicI32::new(0));
        let stuck = Shared::new(AtomicU32::new(0));
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
                            spin_until(|| all_started(caller, &started, processes, &stuck));
                        }
                        Vec::new()
                    })
                });
                caller
            },
        )?;
        ensure!(seen.load(SeqCst) == 0, expected: "`f` runs in children only", observed: "it ran in the caller, process {caller}", look: "which side of the `fork` in `fork_map` calls `f`");
        if let Some(wait) = Wait::noted(stuck.load(SeqCst)) {
            return Err(Stop::failed(
                format!("all {processes} children are at work before the caller waits for any of them"),
                format!("each child so far was in `f`, and {wait}"),
                "`fork_map`: start all children in one loop, read and wait in a second one",
            ));
        }
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
pub fn a_crash_costs_its_own_items(check: &mut Check) -> Outcome {
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
pub fn large_results_arrive(check: &mut Check) -> Outcome {
    let lengths: Vec<usize> = (0..5).map(|_| 200_000 + check.rng().below(400_000) as usize).collect();
    // One result for each worker first: what is lost then is lost inside a result.
    for workers in [5, 2, 1] {
        let answer = ask(
            check,
            "`fork_map`",
            &format!("`fork_map` of 5 results of 200,000 bytes and more, {workers} worker(s)"),
            |home| {
                let results =
                    mapped(home.call(|| fork_map(&lengths, workers, |length| vec![*length as u8; *length])))?;
                let right = |length: usize| vec![length as u8; length];
                let wrong = results
                    .iter()
                    .zip(&lengths)
                    .position(|(result, length)| result.as_ref() != Some(&right(*length)));
                let wrong = wrong.map(|item| {
                    let bytes = results[item].as_deref();
                    (item, bytes.map(|bytes| (bytes.len(), same(bytes, &right(lengths[item])))))
                });
                Ok::<_, String>((results.len(), wrong))
            },
        )?;
        let seen = match answer {
            Ok((5, None)) => continue,
            Ok((5, Some((item, None)))) => {
                format!("`Err(WorkerDied)` for item {item} ({} bytes), though no worker died", lengths[item])
            }
            Ok((5, Some((item, Some((length, same)))))) => {
                format!(
                    "{length} bytes for item {item} ({} bytes), of which only the first {same} are right",
                    lengths[item]
                )
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
pub fn transfers_may_be_short_or_interrupted(check: &mut Check) -> Outcome {
    let seed = check.rng().next_u64();
    type Disturbance = (&'static str, fn(u64) -> Plan);
    let plans: [Disturbance; 4] = [
        ("when every read and write moves one byte", |_| Plan::one_byte()),
        ("when every call is interrupted once (EINTR)", |_| Plan::interrupted_every(1)),
        ("when every third call is interrupted (EINTR)", |_| Plan::interrupted_every(3)),
        ("when transfers are short and interrupted at random", Plan::random),
    ];
    for (how, plan) in plans {
        // One result for each worker first: what is lost then is lost inside a result.
        for workers in [5, 2] {
            let items: Vec<u64> = (0..5).map(|_| check.rng().next_u64()).collect();
            let answer = ask(check, "`fork_map`", &format!("`fork_map` {how}"), |home| {
                faults::with(plan(seed), || {
                    mapped(home.call(|| fork_map(&items, workers, |item| bytes_of(*item, 400))))
                })
                .0
            })?;
            let expected: Vec<Vec<u8>> = items.iter().map(|item| bytes_of(*item, 400)).collect();
            all_as_expected(
                &answer,
                &expected,
                how,
                "`fork_map`: one `read` or `write` may move fewer bytes than asked, or none (`EINTR`): go on until all are through",
            )?;
        }
    }
    check.note("single bytes, `EINTR` on every call, both at random");
    Ok(())
}

/// No child, no descriptor remains.
pub fn map_leaves_nothing_behind(check: &mut Check) -> Outcome {
    check.options(Options { may_leave_processes: true, may_keep_descriptors: true, ..Options::default() });
    let (opened, left, failures) =
        ask(check, "`fork_map`", "`fork_map` of 6 items with 3 workers", |home| {
            let before = descriptors();
            let answer = home.call(|| fork_map(&[1, 2, 3, 4, 5, 6], 3, |item| vec![*item; 10]));
            let left = children();
            let opened = descriptors() as i64 - before as i64;
            reap_all();
            (opened, left, Vec::from_iter(text(answer).err()))
        })?;
    went_well(&failures, "`fork_map`")?;
    ensure!(left == 0, expected: "every child has been waited for when `fork_map` returns", observed: "{left} of 3 children were not", look: "`waitpid` in `fork_map`");
    ensure!(opened <= 0, expected: "as many open descriptors as before `fork_map`", observed: "{opened} more", look: "both ends of every pipe in `fork_map`");
    others_are_left_alone(check, "`fork_map`", "2 results", |home| {
        match mapped(home.call(|| fork_map(&[1, 2], 2, |item| vec![*item]))) {
            Ok(results) => format!("{} results", results.iter().filter(|result| result.is_some()).count()),
            Err(error) => format!("the error {error}"),
        }
    })
}

/// If a later child cannot be started, the earlier ones are ended and reaped.
pub fn a_failed_fork_undoes_the_map(check: &mut Check) -> Outcome {
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
        reap_all();
        (
            answer.map(|_| ()).map_err(|error| errno_and_text(&error)),
            faults::count(&calls, "fork"),
            opened,
            left,
        )
    })?;
    its_error(&answer, forks, "the error of `fork`", "the result of `fork` in `fork_map`")?;
    ensure!(left == 0, expected: "the children started before have been waited for", observed: "{left} were not", look: "`fork_map`: the way out when a later `fork` fails");
    ensure!(opened <= 0, expected: "as many open descriptors as before", observed: "{opened} more", look: "`fork_map`: the way out when a later `fork` fails");
    Ok(())
}

/// No items give no results; no workers are an error.
pub fn no_items_and_no_workers(check: &mut Check) -> Outcome {
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
