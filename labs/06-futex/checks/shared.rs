//! Part 3: a value and its mutex in memory that processes map by themselves. Needs part 2.

use std::fs::{self, File};
use std::os::fd::{AsFd, FromRawFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use futex::{SharedGuard, SharedValue};
use harness::{Check, Outcome, Shared, Stop, Stress, ensure};

use crate::sleepers::{asleep_where, falls_asleep_somewhere};

/// An empty file in memory, with a name that shows in `/proc/PID/maps`.
fn memory_file() -> Result<File, Stop> {
    // SAFETY: a literal with a zero at its end.
    let fd = unsafe { libc::memfd_create(c"shared-value".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(Stop::inconclusive(format!("no memory file: {}", std::io::Error::last_os_error())));
    }
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { File::from_raw_fd(fd) })
}

fn attach<const N: usize>(file: &File) -> SharedValue<[u64; N]> {
    SharedValue::attach(file.as_fd())
        .unwrap_or_else(|errno| panic!("`SharedValue::attach` returned Err({errno})"))
}

/// Moves this process's next mapping to another address than in its siblings.
fn somewhere_else(pages: usize) {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping that nobody uses.
    unsafe { libc::mmap(std::ptr::null_mut(), pages * 4096, libc::PROT_NONE, flags, -1, 0) };
}

/// Two processes, two mappings at different addresses, one mutex.
pub fn two_mappings_are_one_lock(check: &mut Check) -> Outcome {
    let file = memory_file()?;
    let mut value: Option<&'static SharedValue<[u64; 1]>> = None;
    let mut guard: Option<SharedGuard<'static, [u64; 1]>> = None;
    let mut holder = check.respondent("`SharedValue::lock` and the guard's drop", |number: u64| {
        // Never unmapped: the process ends with the check.
        let value = value.get_or_insert_with(|| {
            somewhere_else(3);
            Box::leak(Box::new(attach(&file)))
        });
        match number {
            0 => guard = None,
            number => guard.insert(value.lock())[0] = number,
        }
    })?;
    let number = 1 + check.rng().below(1 << 40);
    holder.ask(number)?;
    let passed = Shared::new(AtomicU32::new(0));
    let waiter = check.spawn("`SharedValue::lock`", || {
        let value = attach::<1>(&file);
        let guard = value.lock();
        passed.store(1, Ordering::SeqCst);
        guard[0]
    })?;
    falls_asleep_somewhere(
        check,
        waiter.pid(),
        &passed,
        "`SharedValue::lock`",
        "`SharedValue::attach`: `MAP_SHARED`, and what is there stays as it is; then `SharedValue::lock`",
    )?;
    holder.ask(0)?;
    let pid = waiter.pid();
    // Whoever is woken is ready to run before the call that woke it has returned.
    check.wait_until("the waiter gets in", || {
        passed.load(Ordering::SeqCst) == 1 || asleep_where(pid).is_some()
    })?;
    ensure!(
        passed.load(Ordering::SeqCst) == 1,
        expected: "a waiter gets in when the holder, another process with another mapping, drops its guard",
        observed: "the guard was dropped, and the waiter still sleeps",
        look: "`FutexMutex`: with `FUTEX_PRIVATE_FLAG` the kernel looks for sleepers by address, in the caller's own process",
    );
    let seen = waiter.join()?;
    ensure!(
        seen == number,
        expected: "the next holder reads what the one before wrote: {number}",
        observed: "it read {seen}",
        look: "`SharedValue::attach`: `MAP_SHARED`",
    );
    Ok(())
}

/// Grows what is too short, keeps what is there, and goes away when dropped.
pub fn attach_keeps_what_is_there(check: &mut Check) -> Outcome {
    let file = memory_file()?;
    let mappings = || {
        let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
        maps.lines().filter(|line| line.contains("shared-value")).count() as u32
    };
    let put = |value: [u64; 3]| {
        let shared = attach::<3>(&file);
        let before = *shared.lock();
        *shared.lock() = value;
        drop(shared);
        (before.to_vec(), mappings())
    };
    let mut student = check
        .respondent("`SharedValue::attach`", move |value: Vec<u64>| put([value[0], value[1], value[2]]))?;
    let mut last = vec![0; 3];
    for round in 0..4 {
        let next: Vec<u64> = (0..3).map(|_| check.rng().next_u64()).collect();
        if round == 2 {
            file.set_len(3 * 4096)
                .map_err(|error| Stop::inconclusive(format!("the file cannot grow: {error}")))?;
        }
        let (before, mappings) = student.ask(next.clone())?;
        ensure!(
            before == last,
            expected: "attaching to a file finds the value that was put there before: {last:?}",
            observed: "the value was {before:?}",
            look: "`SharedValue::attach`: the mapping must be `MAP_SHARED`, and a file that is long enough must not be touched",
        );
        ensure!(
            mappings == 0,
            expected: "dropping a `SharedValue` removes its mapping",
            observed: "the file was still mapped {mappings} times",
            look: "`Drop` of `SharedValue`: `munmap` with the length of `mmap`",
        );
        last = next;
    }
    let length = file.metadata().map(|data| data.len()).unwrap_or(0);
    ensure!(
        length == 3 * 4096,
        expected: "a file that is longer than needed keeps its length of 12288 bytes",
        observed: "it is {length} bytes long",
        look: "`SharedValue::attach`: `ftruncate` also makes shorter",
    );
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    let refused = check.ask("`SharedValue::attach` on a descriptor for reading only", || {
        let Ok(read_only) = File::open(path) else { return None };
        Some(SharedValue::<[u64; 3]>::attach(read_only.as_fd()).is_err())
    })?;
    ensure!(
        refused != Some(false),
        expected: "`SharedValue::attach` on a descriptor that is open for reading only returns an error",
        observed: "it returned Ok",
        look: "`SharedValue::attach`: `mmap` reports it, if it is asked for writing",
    );
    Ok(())
}

/// Two processes on two processors: no count is lost.
pub fn processes_count_together(check: &mut Check) -> Outcome {
    let file = memory_file()?;
    let turns = Shared::slice(2, |_| AtomicU64::new(0));
    let stress = Stress { workers: 2, budget: Duration::from_millis(80), what: "`SharedValue::lock`" };
    let violation = check.stress(stress, |worker| {
        somewhere_else(1 + worker.index());
        let value = attach::<2>(&file);
        while worker.running() {
            for _ in 0..20 {
                let mut guard = value.lock();
                let [first, second] = *guard;
                if first != second {
                    worker.violation("a process found the two numbers different: another one was in the middle of changing them");
                    break;
                }
                guard[0] = first + 1;
                guard[1] = second + 1;
                drop(guard);
                turns[worker.index()].fetch_add(1, Ordering::Relaxed);
            }
            worker.progress();
        }
    })?;
    let expected = "two processes that add 1 to two numbers under the lock keep them equal";
    if let Some(violation) = violation {
        return Err(Stop::failed(expected, violation, "`SharedValue::lock` and the guard's `Drop`"));
    }
    let wanted: u64 = turns.iter().map(|turns| turns.load(Ordering::Relaxed)).sum();
    let numbers = check.ask("`SharedValue::lock`", || attach::<2>(&file).lock().to_vec())?;
    ensure!(
        numbers == [wanted, wanted],
        expected: "{wanted} turns of two processes add {wanted} to each of the two numbers",
        observed: format!("the numbers are {} and {}", numbers[0], numbers[1]),
        look: "`SharedValue::attach`: `MAP_SHARED`; `SharedValue::lock` and the guard's `Drop`",
    );
    check.note(format!("{wanted} turns of two processes"));
    Ok(())
}

/// A panic under the lock gives it back.
pub fn the_guard_gives_back_after_a_panic(check: &mut Check) -> Outcome {
    let file = memory_file()?;
    check.ask("a panic while a `SharedGuard` lives", || {
        let value = attach::<1>(&file);
        // `resume_unwind` panics without a message: the panic is ours, not the submission's.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            let mut guard = value.lock();
            guard[0] = 5;
            resume_unwind(Box::new(()));
        }));
    })?;
    let passed = Shared::new(AtomicU32::new(0));
    let mut next = check.spawn("`SharedValue::lock`", || {
        let value = attach::<1>(&file);
        let guard = value.lock();
        passed.store(1, Ordering::SeqCst);
        guard[0]
    })?;
    let pid = next.pid();
    check.wait_until("the next one gets in", || next.ended() || asleep_where(pid).is_some())?;
    ensure!(
        passed.load(Ordering::SeqCst) == 1,
        expected: "a `SharedGuard` that is dropped by a panic gives the mutex back",
        observed: "the next process that wanted it went to sleep, and nobody is there to wake it",
        look: "`Drop` of `SharedGuard`",
    );
    next.join()?;
    Ok(())
}
