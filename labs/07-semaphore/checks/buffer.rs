//! Part 3: the bounded buffer. Needs the semaphore of part 1.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use harness::{Check, JoinHandle, Model, Outcome, Respondent, Shared, Stop, Stress, ensure};
use semaphore::BoundedBuffer;

use crate::programs::{bounded, within};
use crate::sleepers::Sleeper;

/// One process puts and takes, against a queue.
pub fn first_in_first_out(check: &mut Check) -> Outcome {
    in_order::<1>(check)?;
    in_order::<3>(check)?;
    in_order::<8>(check)
}

fn in_order<const N: usize>(check: &mut Check) -> Outcome {
    let buffer = check.shared("`BoundedBuffer::new`", BoundedBuffer::<N>::new)?;
    let mut student = check.respondent("`BoundedBuffer`", |(call, item): (u8, u64)| match call {
        0 => {
            buffer.put(item);
            Some(item)
        }
        1 => Some(buffer.get()),
        2 => buffer.put_until(item, Instant::now()).ok().map(|()| item),
        _ => buffer.get_until(Instant::now()).ok(),
    })?;
    let mut queue = VecDeque::new();
    for _ in 0..100 {
        let item = check.rng().next_u64();
        let call = match check.rng().below(4) {
            0 if queue.len() == N => 2,
            1 if queue.is_empty() => 3,
            call => call as u8,
        };
        let (name, wanted) = match call {
            0 => ("`put`", Some(item)),
            2 => ("`put_until` with a deadline that is over", (queue.len() < N).then_some(item)),
            1 => ("`get`", queue.front().copied()),
            _ => ("`get_until` with a deadline that is over", queue.front().copied()),
        };
        let got = student.ask((call, item))?;
        let filled = queue.len();
        if call.is_multiple_of(2) {
            queue.extend(wanted);
        } else {
            queue.pop_front();
        }
        let in_words = |result: Option<u64>| match result {
            None => "TimedOut".to_string(),
            Some(_) if call.is_multiple_of(2) => "Ok".to_string(),
            Some(item) => format!("{item:#x}"),
        };
        ensure!(
            got == wanted,
            expected: format!("{name} with {filled} of {N} slots filled: {}", in_words(wanted)),
            observed: in_words(got),
            look: "{name} of `BoundedBuffer`",
        );
    }
    Ok(())
}

/// A full buffer makes producers sleep and an empty one consumers, until there is one slot or one item.
pub fn full_and_empty_make_wait(check: &mut Check) -> Outcome {
    const N: usize = 3;
    let buffer = check.shared("`BoundedBuffer::new`", BoundedBuffer::<N>::new)?;
    let passed = Shared::new([AtomicU32::new(0), AtomicU32::new(0)]);
    let consumer = check.spawn("`BoundedBuffer::get`", || {
        let item = buffer.get();
        passed[0].store(1, Ordering::SeqCst);
        item
    })?;
    let sleeper =
        Sleeper { function: "`BoundedBuffer::get`", because: "all slots are empty", passed: &passed[0] };
    sleeper.falls_asleep(check, consumer.pid())?;
    let mut other: Respondent<u64, u64> =
        check.respondent("`BoundedBuffer::put` and `get` by another process", |item| match item {
            0 => buffer.get(),
            item => {
                buffer.put(item);
                item
            }
        })?;
    other.ask(1)?;
    sleeper.goes_on(check, consumer.pid(), "a `put`")?;
    let first = consumer.join()?;
    (2..2 + N as u64).try_for_each(|item| other.ask(item).map(drop))?;
    let producer = check.spawn("`BoundedBuffer::put`", || {
        buffer.put(5);
        passed[1].store(1, Ordering::SeqCst);
    })?;
    let sleeper =
        Sleeper { function: "`BoundedBuffer::put`", because: "all slots are filled", passed: &passed[1] };
    sleeper.falls_asleep(check, producer.pid())?;
    let second = other.ask(0)?;
    sleeper.goes_on(check, producer.pid(), "a `get`")?;
    producer.join()?;
    let rest = (0..N).map(|_| other.ask(0)).collect::<Result<Vec<u64>, Stop>>()?;
    let all = [vec![first, second], rest].concat();
    ensure!(
        all == [1, 2, 3, 4, 5],
        expected: "the items 1, 2, 3, 4, 5 come out in this order",
        observed: "{all:?}",
        look: "`BoundedBuffer::put` and `get`: at which index the next item goes in, and comes out",
    );
    Ok(())
}

/// The smallest buffer: each one waits for the other one all the time.
pub fn one_slot_is_enough(check: &mut Check) -> Outcome {
    check.explore("a producer and a consumer with one slot", bounded(3, 10_000), |model: &Model| {
        let buffer = model.share(BoundedBuffer::<1>::new());
        let producer = model.spawn("producer", move || (1..=2).for_each(|item| buffer.put(item)));
        for wanted in 1..=2 {
            let item = buffer.get();
            assert_eq!(item, wanted, "1 and 2 were put in this order; what came out");
        }
        producer.join();
    })
}

/// Many on each side: no slot is used by two, nobody waits for ever.
pub fn many_share_the_buffer(check: &mut Check) -> Outcome {
    check.explore("two producers and a consumer with two slots", bounded(2, 6_000), |model: &Model| {
        let buffer = model.share(BoundedBuffer::<2>::new());
        let put = |item| move || buffer.put(item);
        let producers = [model.spawn("producer A", put(1)), model.spawn("producer B", put(2))];
        let mut items = [buffer.get(), buffer.get()];
        producers.into_iter().for_each(JoinHandle::join);
        items.sort_unstable();
        assert_eq!(items, [1, 2], "1 and 2 were put; what came out");
    })?;
    check.explore("a producer and two consumers with two slots", bounded(2, 6_000), |model: &Model| {
        let buffer = model.share(BoundedBuffer::<2>::new());
        let consumers = ["consumer A", "consumer B"].map(|name| model.spawn(name, move || buffer.get()));
        buffer.put(1);
        buffer.put(2);
        let mut items = consumers.map(JoinHandle::join);
        items.sort_unstable();
        assert_eq!(items, [1, 2], "1 and 2 were put; what came out");
    })
}

/// Somebody who gives up while another one is in the middle of it leaves the buffer as it was.
pub fn giving_up_takes_no_slot_along(check: &mut Check) -> Outcome {
    check.explore("`put_until` gives up beside a `put`", within(5_000), |model: &Model| {
        let buffer = model.share(BoundedBuffer::<2>::new());
        let producer = model.spawn("producer", move || buffer.put(1));
        let soon = Instant::now() + Duration::from_micros(2);
        let put = buffer.put_until(2, soon).is_ok();
        producer.join();
        let items = 1 + u32::from(put);
        let taken = (0..3).filter(|_| buffer.get_until(Instant::now()).is_ok()).count() as u32;
        assert_eq!(taken, items, "{items} items were put; so many came out");
        let free = (0..3).filter(|_| buffer.put_until(3, Instant::now()).is_ok()).count();
        assert_eq!(free, 2, "the buffer is empty and has two slots; so many items can be put");
    })?;
    check.explore("`get_until` gives up beside a `get`", within(5_000), |model: &Model| {
        let buffer = model.share(BoundedBuffer::<2>::new());
        buffer.put(1);
        buffer.put(2);
        let consumer = model.spawn("consumer", move || buffer.get());
        let soon = Instant::now() + Duration::from_micros(2);
        let got = buffer.get_until(soon).is_ok();
        consumer.join();
        let left = 1 - u32::from(got);
        let taken = (0..3).filter(|_| buffer.get_until(Instant::now()).is_ok()).count() as u32;
        assert_eq!(taken, left, "{left} items must be left; so many came out");
        let free = (0..3).filter(|_| buffer.put_until(3, Instant::now()).is_ok()).count();
        assert_eq!(free, 2, "the buffer is empty and has two slots; so many items can be put");
    })
}

/// Three producers, three consumers, 100,000 items.
pub fn each_item_exactly_once(check: &mut Check) -> Outcome {
    const ITEMS: u64 = 100_000;
    const SIDE: u64 = 3;
    let buffer = check.shared("`BoundedBuffer::new`", BoundedBuffer::<64>::new)?;
    let seen = Shared::slice(ITEMS as usize, |_| AtomicU8::new(0));
    // The items of a producer, and as many for a consumer: the numbers from its own on, in steps of 3.
    let share = |index: u64| (index..ITEMS).step_by(SIDE as usize);
    let stress =
        Stress { workers: 6, budget: Duration::from_secs(1), what: "`BoundedBuffer::put` and `get`" };
    let violation = check.stress(stress, |worker| {
        let index = worker.index() as u64 / 2;
        if worker.index().is_multiple_of(2) {
            for item in share(index) {
                buffer.put(item);
                if item.is_multiple_of(64) {
                    worker.progress();
                }
            }
            return;
        }
        let mut last = [None; SIDE as usize];
        for _ in share(index) {
            let item = buffer.get();
            let Some(times) = seen.get(item as usize) else {
                worker.violation(&format!("{item:#x} came out, which nobody has put"));
                return;
            };
            if times.fetch_add(1, Ordering::Relaxed) != 0 {
                worker.violation(&format!("item {item} came out twice"));
                return;
            }
            let last = &mut last[(item % SIDE) as usize];
            if last.is_some_and(|last| last > item) {
                worker.violation(&format!(
                    "one consumer got item {item} after item {} of the same producer, who had put it before",
                    last.unwrap_or(0)
                ));
                return;
            }
            *last = Some(item);
            worker.progress();
        }
    })?;
    let missing = seen.iter().filter(|times| times.load(Ordering::Relaxed) == 0).count();
    let observed = match violation {
        Some(violation) => violation,
        None if missing > 0 => format!("{missing} items never came out"),
        None => {
            check.note("100,000 items from three processes to three others");
            return Ok(());
        }
    };
    Err(Stop::failed(
        "each item that three producers put is taken by one of three consumers, once, and those of one producer in their order",
        observed,
        "`BoundedBuffer::put` and `get`: what protects the ring?",
    ))
}
