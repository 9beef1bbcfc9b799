//! Part 3: processes that are killed while they use the buffer. Needs the semaphore of part 1.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use harness::step::{Limit, Reached, Stepper, Watch, mark};
use harness::{Check, Outcome, Rng, Shared, Stop, Student, ensure};
use semaphore::{BoundedBuffer, TimedOut};

use crate::sleepers::{Sleeper, asleep_for_ever};

/// A process is killed in its sleep, and after each change of the buffer by `put`.
pub fn a_death_at_any_step_is_told(check: &mut Check) -> Outcome {
    asleep_in_put(check)?;
    let places = places(check)?;
    let last = places.len() - 1;
    let mut told = 0;
    for (index, &place) in places.iter().enumerate() {
        let buffer = with_one_item(check)?;
        let mut victim = producer(check, &buffer)?;
        victim.step(Limit::steps(place), |_| {})?;
        drop(victim);
        let result = survive(check, &buffer, place, places[last])?;
        let whole = index == 0 || index == last;
        told += u32::from(result.iter().any(Option::is_none));
        let wanted: [&[u64]; 4] = [&[0], &[7], &[8, 9], &[9]];
        for (call, got) in result.iter().enumerate() {
            let (name, ok) = match got {
                None => ("TimedOut", !whole || call == 3),
                Some(item) => ("an item", wanted[call].contains(item)),
            };
            ensure!(
                ok,
                expected: "after a producer that puts 8 was killed, another process puts 9, and takes the 7 that was there before, then the rest",
                observed: format!("killed after {place} of {} instructions of `put`; then `put_until` and three times `get_until` gave {result:?} (None is TimedOut; call {} is wrong, {name})", places[last], call + 1),
                look: "`BoundedBuffer::put`: in which order are slot, index and semaphores changed?",
            );
        }
    }
    check.note(format!("killed at {} places in `put`; {told} times the others were told so", places.len()));
    Ok(())
}

/// Killed while it waits for a slot: nobody notices.
fn asleep_in_put(check: &Check) -> Outcome {
    let buffer = check.shared("`BoundedBuffer::new`", BoundedBuffer::<2>::new)?;
    let passed = Shared::new(AtomicU32::new(0));
    check.ask("`BoundedBuffer::put`", || {
        buffer.put(1);
        buffer.put(2);
    })?;
    let victim = check.spawn("`BoundedBuffer::put` on a full buffer", || {
        buffer.put(3);
        passed.store(1, Ordering::SeqCst);
    })?;
    let sleeper =
        Sleeper { function: "`BoundedBuffer::put`", because: "all slots are filled", passed: &passed };
    sleeper.falls_asleep(check, victim.pid())?;
    victim.kill();
    let items = check.ask("`put_until` and `get_until` after a producer was killed in its sleep", || {
        let far = || Instant::now() + Duration::from_secs(60);
        let mut items = vec![buffer.get_until(far()).ok(), buffer.get_until(far()).ok()];
        for item in [4, 5] {
            items.push(buffer.put_until(item, far()).ok().and_then(|()| buffer.get_until(far()).ok()));
        }
        items
    })?;
    ensure!(
        items == [Some(1), Some(2), Some(4), Some(5)],
        expected: "when a producer is killed while it sleeps, the others notice nothing: 1, 2, 4, 5 go through",
        observed: "{items:?} (None is TimedOut)",
        look: "`BoundedBuffer::put`: what does it hold while it waits for a slot?",
    );
    Ok(())
}

fn with_one_item(check: &Check) -> Result<Shared<BoundedBuffer<4>>, Stop> {
    check.shared("`BoundedBuffer::new` and `put`", || {
        let buffer = BoundedBuffer::<4>::new();
        buffer.put(7);
        buffer
    })
}

/// A worker that stands before a `put`.
fn producer<'c>(check: &'c Check, buffer: &Shared<BoundedBuffer<4>>) -> Result<Stepper<'c>, Stop> {
    let mut worker = Stepper::start(check, "`BoundedBuffer::put`", Watch::of(buffer), || {
        mark(1, 0);
        buffer.put(8);
        mark(2, 0);
    })?;
    worker.run(2.0)?;
    Ok(worker)
}

/// After how many instructions of `put` a process is killed: before the first one, and after all that others can see.
fn places(check: &Check) -> Result<Vec<usize>, Stop> {
    let buffer = with_one_item(check)?;
    let mut worker = producer(check, &buffer)?;
    let (mut done, mut places) = (0, vec![0]);
    let reached = worker.step(Limit::steps(100_000), |step| {
        done += 1;
        if step.changed {
            places.push(done);
        }
    })?;
    places.push(done);
    match reached {
        Reached::Mark(_) if places.len() <= 40 => Ok(places),
        Reached::Mark(_) | Reached::Spinning | Reached::Limit => Err(Stop::inconclusive(format!(
            "`put` takes {done} instructions or more, with {} places where it could be killed: too many",
            places.len()
        ))),
    }
}

/// What a process gets that puts 9 and takes three times: what it put (0 for Ok), what it took, or `None` for `TimedOut`.
fn survive(
    check: &Check,
    buffer: &Shared<BoundedBuffer<4>>,
    place: usize,
    last: usize,
) -> Result<Vec<Option<u64>>, Stop> {
    let mut survivor = check.spawn("`put_until` and `get_until` after a producer was killed", || {
        let soon = || Instant::now() + Duration::from_millis(3);
        let put = buffer.put_until(9, soon()).ok().map(|()| 0);
        [put, buffer.get_until(soon()).ok(), buffer.get_until(soon()).ok(), buffer.get_until(soon()).ok()]
            .to_vec()
    })?;
    let pid = survivor.pid();
    let mut ended = false;
    check.wait_until("the survivor is done", || {
        ended = survivor.ended();
        ended || asleep_for_ever(pid)
    })?;
    ensure!(
        ended || survivor.ended(),
        expected: "`put_until` and `get_until` return `TimedOut` at the deadline when a dead process keeps the mutex or a slot",
        observed: "a producer was killed after {place} of {last} instructions of `put`; the next process sleeps, and has no deadline",
        look: "`put_until` and `get_until`: each of the waits needs the deadline",
    );
    survivor.join()
}

/// What the processes of one round share.
struct Round {
    buffer: Shared<BoundedBuffer<4>>,
    /// Set when the victim is dead.
    killed: AtomicU32,
    /// How often a survivor was told `TimedOut` after that.
    told: AtomicU32,
    /// Set when it is enough.
    stop: AtomicU32,
    /// Items that each producer has put.
    put: [AtomicU64; 2],
    /// Items of each producer that came out.
    got: [AtomicU64; 2],
    /// 1: an item out of order, twice, missing or never put. 2: `TimedOut` before the time was over.
    wrong: AtomicU32,
}

/// Makes a call again and again until it works; `None` if it was told after the death, or it is enough.
fn persist<T>(round: &Round, call: impl Fn(Instant) -> Result<T, TimedOut>) -> Option<T> {
    loop {
        let killed = round.killed.load(Ordering::SeqCst) == 1;
        let deadline = Instant::now() + Duration::from_millis(20);
        match call(deadline) {
            Ok(result) => return Some(result),
            Err(TimedOut) if Instant::now() < deadline => {
                round.wrong.store(2, Ordering::SeqCst);
                return None;
            }
            Err(TimedOut) if killed => {
                round.told.fetch_add(1, Ordering::SeqCst);
                return None;
            }
            Err(TimedOut) if round.stop.load(Ordering::SeqCst) == 1 => return None,
            Err(TimedOut) => {}
        }
    }
}

fn produce(round: &Round, producer: u64) {
    while round.stop.load(Ordering::SeqCst) == 0 {
        let place = &round.put[producer as usize];
        let item = producer << 32 | place.load(Ordering::SeqCst);
        if persist(round, |deadline| round.buffer.put_until(item, deadline)).is_none() {
            return;
        }
        place.fetch_add(1, Ordering::SeqCst);
    }
}

fn consume(round: &Round) {
    while let Some(item) = persist(round, |deadline| round.buffer.get_until(deadline)) {
        let Some(place) = round.got.get((item >> 32) as usize) else {
            round.wrong.store(1, Ordering::SeqCst);
            return;
        };
        if place.fetch_add(1, Ordering::SeqCst) != item & 0xffff_ffff {
            round.wrong.store(1, Ordering::SeqCst);
            return;
        }
    }
}

/// Two producers and a consumer; one producer is killed, whatever it is doing.
pub fn random_kills_damage_nothing(check: &mut Check) -> Outcome {
    const KILLS: u32 = 8;
    let mut rng = Rng::new(check.seed());
    let mut told = 0;
    for kill in 1..=KILLS {
        let zero = || AtomicU64::new(0);
        let round = Shared::new(Round {
            buffer: check.shared("`BoundedBuffer::new`", BoundedBuffer::<4>::new)?,
            killed: AtomicU32::new(0),
            told: AtomicU32::new(0),
            stop: AtomicU32::new(0),
            put: [zero(), zero()],
            got: [zero(), zero()],
            wrong: AtomicU32::new(0),
        });
        let what = "`put_until` and `get_until`, one producer of which is killed";
        let victim = check.spawn(what, || produce(&round, 0))?;
        let producer = check.spawn(what, || produce(&round, 1))?;
        let consumer = check.spawn(what, || consume(&round))?;
        let got = |producer: usize| round.got[producer].load(Ordering::SeqCst);
        let wrong = || round.wrong.load(Ordering::SeqCst) != 0;
        check.wait_until("items go through", || got(0) > 5 && got(1) > 5 || wrong())?;
        let pause = Instant::now() + Duration::from_micros(rng.below(400));
        while Instant::now() < pause {
            std::hint::spin_loop();
        }
        victim.kill();
        round.killed.store(1, Ordering::SeqCst);
        let goal = got(1) + 20;
        let is_told = || round.told.load(Ordering::SeqCst) > 0;
        check.wait_until("the others go on or are told", || got(1) >= goal || is_told() || wrong())?;
        round.stop.store(1, Ordering::SeqCst);
        [producer, consumer].into_iter().try_for_each(Student::join)?;
        told += u32::from(got(1) < goal);
        let put = [0, 1].map(|index: usize| round.put[index].load(Ordering::SeqCst));
        let observed = match round.wrong.load(Ordering::SeqCst) {
            0 if got(1) <= put[1] && got(0) <= put[0] + 1 => continue,
            2 => format!("after kill {kill} `TimedOut` came before the time was over"),
            _ => format!(
                "after kill {kill} an item was out of order, twice, missing, or never put ({} of {} items of the survivor, {} of {} of the dead)",
                got(1),
                put[1],
                got(0),
                put[0]
            ),
        };
        return Err(Stop::failed(
            "after a producer was killed the items of the others go through whole and in order, or `TimedOut` comes at the deadline",
            observed,
            "`BoundedBuffer::put_until` and `get_until`",
        ));
    }
    check.note(format!("{KILLS} producers killed; {told} times the others could not go on and were told so"));
    Ok(())
}
