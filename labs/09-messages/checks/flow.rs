//! Part 4: flow control. The check is the other side of the link, or the link itself, and counts.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};

use harness::{Check, Outcome, Respondent, Shared, Stop, ensure};
use messages::{Consumer, EMPTY_MESSAGE, ITEM, MAX_EMPTIES, MAX_MESSAGE, Producer};

use super::{
    FOREVER, NEVER, Pair, Told, asleep, falls_asleep, in_words, is_error, let_sigpipe_kill, letters, packet,
    packets, post, show, show_done, timed, timed_out, told, wait,
};

pub const EMPTY: [u8; 1] = [EMPTY_MESSAGE];

fn item(content: &[u8]) -> Vec<u8> {
    [&[ITEM], content].concat()
}

fn give(link: &OwnedFd, packet: &[u8]) -> Outcome {
    post(link, packet).map_err(|errno| {
        Stop::failed("a link that is open", format!("the other side has closed it ({errno})"), "the link")
    })
}

type Sent = (Told<()>, u64);
/// Sends an item, as long as told.
type Sender = Respondent<(Vec<u8>, i64), Sent>;

/// A process with a producer, told what to send and how long to wait; the check is the consumer.
fn producer(check: &Check) -> Result<(Sender, OwnedFd), Stop> {
    let pair = Pair::packets()?;
    let ends = [pair.one.take(), pair.other.take()];
    let [Some(one), Some(other)] = ends else { return Err(Stop::inconclusive("no socket pair")) };
    let (mut link, theirs) = (Some(one), std::os::fd::AsRawFd::as_raw_fd(&other));
    let mut producer: Option<Producer> = None;
    let respondent = check.respondent("`Producer::send`", move |(item, code): (Vec<u8>, i64)| {
        if let Some(link) = link.take() {
            let_sigpipe_kill();
            // SAFETY: this process's copy of the check's end, used by nobody here.
            unsafe { libc::close(theirs) };
            producer = Some(Producer::new(link));
        }
        let producer = producer.as_mut().expect("just made");
        timed(|| producer.send(&item, wait(code)))
    })?;
    Ok((respondent, other))
}

/// As many items as empties, and each only after its empty.
pub fn an_item_needs_an_empty(check: &mut Check) -> Outcome {
    const ITEMS: u32 = 40;
    let pair = Pair::packets()?;
    let sent = Shared::new(AtomicU32::new(0));
    let mut producer = check.spawn("`Producer::send`", || -> Told<()> {
        let mut producer = Producer::new(pair.one());
        for number in 0..ITEMS {
            let length = [0, 1, MAX_MESSAGE - 4][number as usize % 3];
            told(producer.send(&[&number.to_be_bytes(), &vec![b'.'; length][..]].concat(), wait(FOREVER)))?;
            sent.fetch_add(1, Ordering::AcqRel);
        }
        Ok(())
    })?;
    let link = pair.other();
    let pid = producer.pid();
    let (mut given, mut got) = (0, Vec::new());
    loop {
        check.wait_until(
            &format!("{given} items are sent after {given} empties, and the producer sleeps"),
            || {
                let now = sent.load(Ordering::Acquire);
                now > given || producer.ended() || (now == given && asleep(pid))
            },
        )?;
        got.extend(packets(&link));
        ensure!(
            got.len() == given as usize,
            expected: format!("{given} items after {given} empties"),
            observed: format!("{} items on the link", got.len()),
            look: "`Producer::send`: an item costs an empty"
        );
        if given == ITEMS || producer.ended() {
            break;
        }
        let some = (1 + check.rng().below(5) as u32).min(ITEMS - given);
        for _ in 0..some {
            give(&link, &EMPTY)?;
        }
        given += some;
    }
    let answer = producer.join()?;
    ensure!(answer.is_ok() && given == ITEMS, expected: format!("every `send` succeeds, {ITEMS} in all"), observed: format!("{} after {given}", show_done(&answer)), look: "`Producer::send`");
    for (number, packet) in got.iter().enumerate() {
        let length = [0, 1, MAX_MESSAGE - 4][number % 3];
        let wanted = item(&[&(number as u32).to_be_bytes(), &vec![b'.'; length][..]].concat());
        ensure!(*packet == wanted, expected: format!("the packet: {}", in_words(&wanted)), observed: in_words(packet), look: "`Producer::send`: ITEM, then the item, in one packet");
    }
    check.note(format!("{ITEMS} items, 1 to 5 empties at a time"));
    Ok(())
}

/// N empties at the start, one more for each item that was taken, none before.
pub fn a_consumer_allows_n_items(check: &mut Check) -> Outcome {
    let random = 3 + check.rng().below(12) as usize;
    for count in [1, 2, random, MAX_EMPTIES] {
        let pair = Pair::packets()?;
        let [allowed, done] = [(); 2].map(|()| Shared::new(AtomicU32::new(0)));
        let mut consumer = check.spawn(&format!("`Consumer`, N = {count}"), || -> Told<Vec<Vec<u8>>> {
            let mut consumer = told(Consumer::new(pair.one(), count))?;
            let mut all = Vec::new();
            done.store(1, Ordering::Release);
            while all.len() < 5 {
                if (allowed.load(Ordering::Acquire) as usize) > all.len() {
                    all.push(told(consumer.receive(wait(FOREVER)))?);
                    done.fetch_add(1, Ordering::AcqRel);
                }
                std::thread::yield_now();
            }
            Ok(all)
        })?;
        let link = pair.other();
        let pid = consumer.pid();
        check.wait_until("`Consumer::new` returns", || {
            done.load(Ordering::Acquire) == 1 || consumer.ended()
        })?;
        let mut empties = packets(&link);
        let judge = |empties: &[Vec<u8>], wanted: usize, when: &str| -> Outcome {
            ensure!(
                empties.len() == wanted && empties.iter().all(|packet| packet[..] == EMPTY),
                expected: format!("{wanted} empties from the consumer, and nothing else ({when})"),
                observed: format!("{} packets: {:?}", empties.len(), empties.iter().take(20).map(|packet| packet.escape_ascii().to_string()).collect::<Vec<_>>()),
                look: "`Consumer`: when it sends an empty"
            );
            Ok(())
        };
        judge(&empties, count, &format!("N = {count}, `Consumer::new` has returned"))?;
        let items: Vec<Vec<u8>> =
            [0, 1, MAX_MESSAGE, 9, 30].map(|length| letters(check.rng(), length)).into();
        for (number, content) in items.iter().enumerate() {
            let when = |what: &str| format!("N = {count}, {number} items received, {what}");
            // Every other time the item is there before anybody asks for it.
            if number % 2 == 0 {
                give(&link, &item(content))?;
                empties.extend(packets(&link));
                judge(&empties, count + number, &when("the next one there, but not asked for"))?;
            }
            allowed.store(number as u32 + 1, Ordering::Release);
            if number % 2 == 1 {
                check.wait_until(&format!("`receive` sleeps ({})", when("none on its way")), || {
                    asleep(pid) || consumer.ended()
                })?;
                empties.extend(packets(&link));
                judge(&empties, count + number, &when("the next one waited for but not there"))?;
                give(&link, &item(content))?;
            }
            check.wait_until("`receive` returns", || {
                done.load(Ordering::Acquire) as usize == number + 2 || consumer.ended()
            })?;
            empties.extend(packets(&link));
            judge(&empties, count + number + 1, &format!("N = {count}, {} items received", number + 1))?;
        }
        let got = consumer.join()?;
        ensure!(got.as_ref() == Ok(&items), expected: "the items as they were sent, of 0, 1, 4,000, 9 and 30 bytes", observed: format!("items of {:?} bytes", got.as_ref().map(|got| got.iter().map(Vec::len).collect::<Vec<_>>())), look: "`Consumer::receive`");
    }
    for count in [0, MAX_EMPTIES + 1] {
        let pair = Pair::packets()?;
        let answer = check.ask("`Consumer::new`", || told(Consumer::new(pair.one(), count).map(drop)))?;
        let sent = packets(&pair.other()).len();
        ensure!(is_error(&answer, "InvalidInput") && sent == 0, expected: format!("the error InvalidInput for N = {count}, and nothing sent"), observed: format!("{}, {sent} packets", show_done(&answer)), look: "`Consumer::new`");
    }
    check.note(format!("N = 1, 2, {random}, {MAX_EMPTIES}"));
    Ok(())
}

/// Timeouts before, between and after empties: each empty is worth one item, no more and no less.
pub fn a_timeout_keeps_the_count(check: &mut Check) -> Outcome {
    let (mut student, link) = producer(check)?;
    let mut script: Vec<(usize, usize)> = vec![(0, 2), (1, 1), (2, 0), (0, 1), (3, 2)];
    script.extend((0..6).map(|_| (check.rng().below(4) as usize, 1 + check.rng().below(2) as usize)));
    let mut number = 0u32;
    for (empties, failures) in script {
        for failure in 0..failures {
            let code = if failure % 2 == 0 { 15 } else { NEVER };
            let answer = student.ask((b"must not be sent".to_vec(), code))?;
            let over =
                if code == NEVER { is_error(&answer.0, "WouldBlock") } else { timed_out(&answer, code) };
            ensure!(over, expected: format!("`send` without an empty is {}", if code == NEVER { "WouldBlock" } else { "TimedOut after 15 ms" }), observed: format!("{} after {} ms", show_done(&answer.0), answer.1), look: "`Producer::send`: how many empties it believes to have after a call that failed");
        }
        for _ in 0..empties {
            give(&link, &EMPTY)?;
        }
        for _ in 0..empties {
            let answer = student.ask((number.to_be_bytes().to_vec(), NEVER))?;
            ensure!(answer.0.is_ok(), expected: "`send` with an empty that came after a timeout succeeds at once", observed: show_done(&answer.0), look: "`Producer::send`: what a call that fails does to the count");
            let got = packets(&link);
            ensure!(got == [item(&number.to_be_bytes())], expected: format!("one packet: item {number}"), observed: format!("{} packets", got.len()), look: "`Producer::send`: a call that fails sends nothing");
            number += 1;
        }
    }
    // The consumer's side of it: a receive that gives up returns no empty.
    let pair = Pair::packets()?;
    let answer = check.ask("`Consumer::receive`", || {
        let mut consumer = told(Consumer::new(pair.one(), 3))?;
        Ok((0..2).map(|_| timed(|| consumer.receive(wait(15)).map(drop))).collect::<Vec<_>>())
    })?;
    let answers: Vec<Sent> =
        answer.map_err(|error: String| Stop::failed("a consumer", error, "`Consumer::new`"))?;
    ensure!(answers.iter().all(|answer| timed_out(answer, 15)), expected: "`receive` with For(15 ms) and no item is TimedOut after that time", observed: format!("{answers:?}"), look: "`Consumer::receive`");
    let empties = packets(&pair.other()).len();
    ensure!(empties == 3, expected: "3 empties (N = 3) after two calls of `receive` that timed out", observed: format!("{empties}"), look: "`Consumer::receive`: when it sends an empty");
    // A packet that is neither.
    give(&link, b"?")?;
    let (answer, _) = student.ask((b"x".to_vec(), NEVER))?;
    ensure!(is_error(&answer, "InvalidData"), expected: "the error InvalidData for a packet \"?\" instead of an empty", observed: show_done(&answer), look: "`Producer::send`: what it takes for an empty");
    Ok(())
}

/// A producer sends what it may and goes, with empties unread: every item is received.
pub fn the_last_items_outlive_the_producer(check: &mut Check) -> Outcome {
    for (count, unread) in [(1, 1), (3, 2), (MAX_EMPTIES, 0), (5, 5)] {
        let pair = Pair::packets()?;
        let [made, gone] = [(); 2].map(|()| Shared::new(AtomicU32::new(0)));
        let mut consumer = check.spawn("`Consumer::receive`", || -> Told<(Vec<Vec<u8>>, Told<()>)> {
            let_sigpipe_kill();
            let mut consumer = told(Consumer::new(pair.one(), count))?;
            made.store(1, Ordering::Release);
            while gone.load(Ordering::Acquire) == 0 {
                std::thread::yield_now();
            }
            let mut all = Vec::new();
            loop {
                match told(consumer.receive(wait(FOREVER))) {
                    Ok(item) => all.push(item),
                    Err(error) => return Ok((all, Err(error))),
                }
            }
        })?;
        let link = pair.other();
        check.wait_until("`Consumer::new` returns", || {
            made.load(Ordering::Acquire) == 1 || consumer.ended()
        })?;
        for _ in 0..count - unread {
            let _ = packet(&link);
        }
        let items: Vec<Vec<u8>> = (0..count).map(|number| vec![b'a' + number as u8; number]).collect();
        for content in &items {
            give(&link, &item(content))?;
        }
        drop(link);
        gone.store(1, Ordering::Release);
        let (got, end) =
            consumer.join()?.map_err(|error| Stop::failed("a consumer", error, "`Consumer::new`"))?;
        ensure!(
            got == items,
            expected: format!("all {count} items of a producer that has gone and left {unread} of {count} empties unread"),
            observed: format!("{} items, then {}", got.len(), show_done(&end)),
            look: "`Consumer::receive`: ECONNRESET comes once, before the items; and nobody takes the empties any more"
        );
        ensure!(is_error(&end, "BrokenPipe"), expected: "BrokenPipe after the last item", observed: show_done(&end), look: "`Consumer::receive`: what `recv` returns at the end");
    }
    check.note("the producer left 0 to 5 empties unread");
    Ok(())
}

/// The consumer is gone: with empties, without, and while the producer waits.
pub fn a_lost_consumer_is_an_error(check: &mut Check) -> Outcome {
    for empties in [0, 2] {
        let (mut student, link) = producer(check)?;
        for _ in 0..empties {
            give(&link, &EMPTY)?;
        }
        // One of the empties is used; the other item finds nobody.
        if empties > 0 {
            let (answer, _) = student.ask((b"first".to_vec(), NEVER))?;
            ensure!(answer.is_ok(), expected: "`send` with an empty succeeds", observed: show_done(&answer), look: "`Producer::send`");
        }
        drop(link);
        for code in [FOREVER, NEVER] {
            let (answer, _) = student.ask((b"to nobody".to_vec(), code))?;
            ensure!(
                is_error(&answer, "BrokenPipe"),
                expected: format!("`send` is BrokenPipe when the consumer has gone ({} empties left)", usize::from(empties > 0)),
                observed: show_done(&answer),
                look: "`Producer::send`: what `recv` and `send` answer then"
            );
        }
    }
    let pair = Pair::packets()?;
    let stage = Shared::new(AtomicU32::new(0));
    let mut waiter = check.spawn("`Producer::send`, waiting for an empty,", || {
        let_sigpipe_kill();
        let mut producer = Producer::new(pair.one());
        stage.store(1, Ordering::Release);
        told(producer.send(b"waits", wait(FOREVER)).map(|()| vec![]))
    })?;
    let victim = check
        .spawn("a consumer that does nothing", || {
            let _link = pair.other();
            loop {
                std::thread::park();
            }
        })
        .map(|student: harness::Student<()>| student)?;
    pair.leave_to_workers();
    falls_asleep(check, "`Producer::send` sleeps", &mut waiter, || stage.load(Ordering::Acquire) == 1)?;
    ensure!(!waiter.ended(), expected: "`send` with Forever waits while the consumer lives", observed: "it returned", look: "`Producer::send`");
    victim.kill();
    let answer = waiter.join()?;
    ensure!(is_error(&answer, "BrokenPipe"), expected: "`send` is BrokenPipe when the consumer is killed while it waits", observed: show(&answer), look: "`Producer::send`: what `recv` returns when nobody is left");
    Ok(())
}
