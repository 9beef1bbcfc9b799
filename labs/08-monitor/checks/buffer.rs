//! Part 3: the bounded buffer. It may use the monitor of part 2.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use harness::{Check, Exploration, JoinHandle, Model, Outcome, Shared, Stop, Stress, ensure, note};
use monitor::BoundedBuffer;

use crate::actors::Actors;

/// Puts an item, and says so in the timeline.
fn put<const N: usize>(buffer: &BoundedBuffer<N>, item: u64) {
    note(&format!("puts item {item}"));
    buffer.put_item(item);
}

/// Takes an item, and says so in the timeline.
fn get<const N: usize>(buffer: &BoundedBuffer<N>) -> u64 {
    let item = buffer.get_item();
    note(&format!("has got item {item}"));
    item
}

/// One producer and one consumer, and more items than slots.
pub fn items_arrive_in_order(check: &mut Check) -> Outcome {
    fn pass<const N: usize>(model: &Model, items: u64) {
        let buffer = model.share(BoundedBuffer::<N>::new());
        let producer = model.spawn("producer", move || (1..=items).for_each(|item| put(buffer, item)));
        for wanted in 1..=items {
            let item = get(buffer);
            assert_eq!(item, wanted, "items come out in the order in which they were put");
        }
        producer.join();
    }
    let exploration = Exploration { executions: 50_000, ..Exploration::default() };
    check.explore("two items through one slot", exploration, |model: &Model| pass::<1>(model, 2))?;
    let exploration = Exploration { bound: 2, ..exploration };
    check.explore("three items through two slots", exploration, |model: &Model| pass::<2>(model, 3))
}

/// Two consumers of one item each.
pub fn several_consumers_are_served(check: &mut Check) -> Outcome {
    fn pass<const N: usize>(model: &Model) {
        let buffer = model.share(BoundedBuffer::<N>::new());
        let consumers = ["consumer A", "consumer B"].map(|name| model.spawn(name, || get(buffer)));
        put(buffer, 1);
        put(buffer, 2);
        let [a, b] = consumers.map(JoinHandle::join);
        assert!([a, b] == [1, 2] || [a, b] == [2, 1], "items 1 and 2 were put, {a} and {b} were taken");
    }
    let exploration = Exploration { bound: 2, executions: 50_000, ..Exploration::default() };
    check.explore("two consumers, and two items through one slot", exploration, pass::<1>)?;
    check.explore("two consumers, and two items through two slots", exploration, pass::<2>)
}

/// Two producers of one item each.
pub fn several_producers_are_served(check: &mut Check) -> Outcome {
    let exploration = Exploration { bound: 2, executions: 50_000, ..Exploration::default() };
    check.explore("two producers, and three items through one slot", exploration, |model: &Model| {
        let buffer = model.share(BoundedBuffer::<1>::new());
        put(buffer, 3);
        let producers = [(1, "producer A"), (2, "producer B")]
            .map(|(item, name)| model.spawn(name, move || put(buffer, item)));
        let [first, a, b] = [(); 3].map(|()| get(buffer));
        producers.into_iter().for_each(JoinHandle::join);
        assert_eq!(first, 3, "items come out in the order in which they were put");
        assert!([a, b] == [1, 2] || [a, b] == [2, 1], "items 1 and 2 were put, {a} and {b} were taken");
    })
}

/// `N` items and no more; none and no fewer.
pub fn full_and_empty_buffers_make_wait(check: &mut Check) -> Outcome {
    const N: usize = 3;
    let buffer = check.shared("BoundedBuffer", BoundedBuffer::<N>::new)?;
    let mut actors = Actors::new(check);
    let consumer = actors.comes("`get_item` on an empty buffer", |flags| {
        if buffer.get_item() == 7 {
            flags.through();
        }
    })?;
    ensure!(
        !actors.is_through(consumer),
        expected: "`get_item` on an empty buffer waits",
        observed: "it returned",
        look: "`BoundedBuffer::get_item`",
    );
    check.ask("`put_item` while a consumer waits", || buffer.put_item(7))?;
    actors.settle("`put_item` while a consumer waits")?;
    ensure!(
        actors.is_through(consumer),
        expected: "a consumer that waits gets the item 7 that is put",
        observed: "it sleeps on, or got something else",
        look: "`BoundedBuffer::put_item`: whom does it signal?",
    );
    for number in 0..=N {
        let producer = actors.comes("`put_item`", |flags| {
            buffer.put_item(number as u64);
            flags.through();
        })?;
        ensure!(
            actors.is_through(producer) == (number < N),
            expected: "a buffer of {N} takes {N} items, and then `put_item` waits",
            observed: format!("with {number} items inside, `put_item` {}", if number < N { "waited" } else { "returned" }),
            look: "`BoundedBuffer::put_item`: when is the buffer full?",
        );
    }
    let items = check
        .ask("`get_item` on a full buffer", || (0..=N).map(|_| buffer.get_item()).collect::<Vec<u64>>())?;
    ensure!(
        items == [0, 1, 2, 3],
        expected: "the items come out in the order in which they were put: [0, 1, 2, 3]",
        observed: "{items:?}",
        look: "`BoundedBuffer::get_item`",
    );
    actors.all_leave()
}

/// Two producers and two consumers, as processes.
pub fn processes_pass_every_item_once(check: &mut Check) -> Outcome {
    const ITEMS: usize = 1500;
    let buffer = check.shared("BoundedBuffer", BoundedBuffer::<3>::new)?;
    let taken = Shared::slice(2 * ITEMS, |_| AtomicU32::new(0));
    let stress = Stress { workers: 4, budget: Duration::from_secs(1), what: "`put_item` and `get_item`" };
    let violation = check.stress(stress, |worker| {
        let mut last = [None; 2];
        for number in 0..ITEMS {
            if worker.index() < 2 {
                buffer.put_item((worker.index() * ITEMS + number) as u64);
            } else {
                let item = buffer.get_item() as usize;
                let Some(count) = taken.get(item) else {
                    worker.violation(&format!("a consumer got {item}, which nobody had put"));
                    break;
                };
                count.fetch_add(1, Ordering::Relaxed);
                let (producer, number) = (item / ITEMS, item % ITEMS);
                if last[producer].is_some_and(|last| last >= number) {
                    worker.violation(
                        "a consumer got two items of one producer in the wrong order, or one of them twice",
                    );
                    break;
                }
                last[producer] = Some(number);
            }
            worker.progress();
        }
    })?;
    let expected = format!(
        "two producers put {ITEMS} items each; each item is taken once, and those of one producer in order"
    );
    if let Some(violation) = violation {
        return Err(Stop::failed(expected, violation, "`BoundedBuffer`: `next_in`, `next_out` and `count`"));
    }
    let wrong = taken.iter().filter(|count| count.load(Ordering::Relaxed) != 1).count();
    ensure!(
        wrong == 0,
        expected: expected,
        observed: "{wrong} items were not taken, or more than once",
        look: "`BoundedBuffer`",
    );
    check.note(format!("{} items of two producers, two consumers", 2 * ITEMS));
    Ok(())
}
