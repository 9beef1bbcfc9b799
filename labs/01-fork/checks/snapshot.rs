//! Part 4: an image of a state that goes on changing.

use super::*;

/// What the writer of a check's snapshot tells through shared memory.
#[derive(Default)]
struct Scene {
    /// 1 once the child has written the first half; 2 if the writer ran in the caller.
    half: AtomicU32,
    /// 1 once `snapshot` has returned in the caller.
    returned: AtomicU32,
    /// What `snapshot` waits for although the writer is not through; 0 as it should be.
    waits_for: AtomicU32,
}

impl Scene {
    /// For the writer: waits until `snapshot` has returned in the caller. False if it sleeps instead.
    fn goes_on(&self, caller: i32) -> bool {
        loop {
            // In this order: the caller was asleep when it had not returned yet.
            let asleep = Wait::of(caller);
            if self.returned.load(SeqCst) == 1 {
                return true;
            }
            if let Some(wait) = asleep {
                self.waits_for.store(wait as u32, SeqCst);
                return false;
            }
            std::thread::yield_now();
        }
    }

    fn must_have_gone_on(&self) -> Outcome {
        match Wait::noted(self.waits_for.load(SeqCst)) {
            None => Ok(()),
            Some(wait) => Err(Stop::failed(
                "`snapshot` returns while the child writes, so that the caller can go on changing its state",
                format!("`write` was at work in the child, and {wait}"),
                "`snapshot`: it must not wait; `finish` and `Drop` do",
            )),
        }
    }
}

/// The caller rewrites the state while it is saved; the image does not show it.
pub fn the_image_is_the_state_at_the_call(check: &mut Check) -> Outcome {
    let length = 40_000 + check.rng().below(100_000) as usize;
    let original = check.rng().bytes(length);
    let image = Shared::slice(length, |_| AtomicU8::new(0));
    let scene = Shared::new(Scene::default());
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
                if scene.goes_on(caller) {
                    wait_at(&reader);
                }
                copy(length / 2..length, bytes);
                Ok(())
            })
        }))?;
        scene.returned.store(1, SeqCst);
        state[..length / 4].fill(0xaa);
        std::hint::black_box(&mut state);
        spin_until(|| scene.half.load(SeqCst) != 0);
        state.fill(0x55);
        std::hint::black_box(&mut state);
        open(&writer);
        text(saving.finish())
    })?;
    scene.must_have_gone_on()?;
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
pub fn a_failed_writer_is_reported(check: &mut Check) -> Outcome {
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
pub fn extra_memory_follows_the_writes(check: &mut Check) -> Outcome {
    let pages = 4096;
    let count = 10 + check.rng().below(100) as usize;
    let mut order: Vec<usize> = (0..pages).collect();
    check.rng().shuffle(&mut order);
    let waiting = Shared::new(AtomicU32::new(0));
    let scene = Shared::new(Scene::default());
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
                if me() != caller && scene.goes_on(caller) {
                    wait_at(&reader);
                }
                Ok(())
            })
        }))?;
        scene.returned.store(1, SeqCst);
        spin_until(|| waiting.load(SeqCst) == 1);
        order[..count].iter().for_each(|&index| region.write(index, 2));
        let after = memory_in_kib();
        open(&writer);
        text(saving.finish())?;
        Ok::<_, String>(before.zip(after))
    })?;
    scene.must_have_gone_on()?;
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
pub fn a_dropped_snapshot_is_reaped(check: &mut Check) -> Outcome {
    let (dropped, finished, failures) =
        ask(check, "`snapshot`", "`snapshot`, dropped and finished", |home| {
            let mut failures =
                Vec::from_iter(text(home.call(|| snapshot(b"state", |_| Ok(()))).map(drop)).err());
            let dropped = children();
            let ended = home.call(|| snapshot(b"state", |_| Ok(()))).and_then(Snapshot::finish);
            failures.extend(text(ended).err());
            let finished = children() - dropped.min(children());
            reap_all();
            (dropped, finished, failures)
        })?;
    went_well(&failures, "`snapshot`")?;
    ensure!(dropped == 0, expected: "the child has been waited for when a `Snapshot` has been dropped", observed: "{dropped} child process that nobody waited for", look: "`Drop` of `Snapshot`");
    ensure!(finished == 0, expected: "the child has been waited for when `finish` returns", observed: "{finished} child process that nobody waited for", look: "`Snapshot::finish`");
    others_are_left_alone(check, "`Snapshot::finish`", "success", |home| {
        match home.call(|| snapshot(b"state", |_| Ok(()))).and_then(Snapshot::finish) {
            Ok(()) => "success".to_owned(),
            Err(error) => format!("the error \"{error}\""),
        }
    })
}
