//! Part 3: links of every capacity.

use std::sync::atomic::{AtomicU32, Ordering};

use harness::{Check, Outcome, Shared, Stop, ensure};
use messages::{Capacity, LinkReceiver, LinkSender, MAX_CAPACITY, MAX_MESSAGE};

use super::{
    FOREVER, Pair, Told, asleep, falls_asleep, is_error, let_sigpipe_kill, letters, show, show_done, told,
    wait,
};

/// Capacities on their way to a worker: -1 unbounded.
fn capacity(code: i64) -> Capacity {
    match code {
        0 => Capacity::Zero,
        1.. => Capacity::Bounded(code as usize),
        _ => Capacity::Unbounded,
    }
}

fn capacity_in_words(code: i64) -> String {
    format!("{:?}", capacity(code))
}

/// While nobody receives, and after each message that is received: how many calls of `send` have returned?
pub fn senders_wait_as_the_capacity_says(check: &mut Check) -> Outcome {
    const MESSAGES: usize = 25;
    let random = 3 + check.rng().below(12) as i64;
    for code in [0, 1, 2, random, MAX_CAPACITY as i64] {
        let room = code as usize;
        let pair = Pair::packets()?;
        let [returned, allowed, received] = [(); 3].map(|()| Shared::new(AtomicU32::new(0)));
        let seed = check.rng().next_u64();
        let name = capacity_in_words(code);
        let messages = || -> Vec<Vec<u8>> {
            let mut rng = harness::Rng::new(seed);
            (0..MESSAGES).map(|number| letters(&mut rng, [0, 1, MAX_MESSAGE, 40][number % 4])).collect()
        };
        let mut sender = check.spawn(&format!("`LinkSender::send`, {name}"), || -> Told<()> {
            let mut sender = told(LinkSender::new(pair.one(), capacity(code)))?;
            for message in messages() {
                told(sender.send(&message))?;
                returned.fetch_add(1, Ordering::AcqRel);
            }
            Ok(())
        })?;
        let mut receiver =
            check.spawn(&format!("`LinkReceiver::receive`, {name}"), || -> Told<Vec<Vec<u8>>> {
                let mut receiver = told(LinkReceiver::new(pair.other(), capacity(code)))?;
                let mut all = Vec::new();
                while all.len() < MESSAGES {
                    while (allowed.load(Ordering::Acquire) as usize) <= all.len() {
                        std::thread::yield_now();
                    }
                    all.push(told(receiver.receive(wait(FOREVER)))?);
                    received.fetch_add(1, Ordering::AcqRel);
                }
                Ok(all)
            })?;
        pair.leave_to_workers();
        let pid = sender.pid();
        for taken in 0..=MESSAGES {
            allowed.store(taken as u32, Ordering::Release);
            let wanted = (taken + room).min(MESSAGES);
            let now = || returned.load(Ordering::Acquire) as usize;
            check.wait_until(
                &format!("{wanted} calls of `send` have returned ({name}, {taken} messages received)"),
                || {
                    let there = received.load(Ordering::Acquire) as usize == taken && now() == wanted;
                    (there && (wanted == MESSAGES || asleep(pid)))
                        || now() > wanted
                        || sender.ended()
                        || receiver.ended()
                },
            )?;
            ensure!(
                now() <= wanted,
                expected: format!("{name}: at most {wanted} calls of `send` return while {taken} messages have been received"),
                observed: format!("{} have returned", now()),
                look: "`LinkSender::send`: what it waits for before it returns"
            );
        }
        let sent = sender.join()?;
        ensure!(sent.is_ok(), expected: format!("{name}: every `send` succeeds"), observed: show_done(&sent), look: "`LinkSender::send`");
        let got = receiver.join()?;
        let lengths = got.as_ref().map(|got| got.iter().map(Vec::len).collect::<Vec<_>>());
        ensure!(got.as_ref() == Ok(&messages()), expected: format!("{name}: {MESSAGES} messages, of 0, 1, {MAX_MESSAGE} and 40 bytes, in order"), observed: format!("messages of {lengths:?} bytes"), look: "`LinkReceiver::receive`");
    }
    let refused = check.ask("`LinkSender::new` and `LinkReceiver::new`", || -> Vec<Told<()>> {
        let mut answers = Vec::new();
        for code in [0, MAX_CAPACITY + 1] {
            let Ok(pair) = Pair::packets() else { return answers };
            let (one, other) = (pair.one.take().expect("one end"), pair.other.take().expect("the other"));
            answers.push(told(LinkSender::new(one, Capacity::Bounded(code)).map(drop)));
            answers.push(told(LinkReceiver::new(other, Capacity::Bounded(code)).map(drop)));
        }
        answers
    })?;
    ensure!(refused.iter().all(|answer| is_error(answer, "InvalidInput")), expected: format!("the error InvalidInput for Bounded(0) and Bounded({})", MAX_CAPACITY + 1), observed: format!("{refused:?}"), look: "`LinkSender::new` and `LinkReceiver::new`");
    check.note(format!("capacities 0, 1, 2, {random}, {MAX_CAPACITY}"));
    Ok(())
}

/// More than the kernel's buffer takes is sent without waiting, and arrives.
pub fn unbounded_senders_never_wait(check: &mut Check) -> Outcome {
    const MESSAGES: usize = 500;
    let pair = Pair::packets()?;
    let stage = Shared::new(AtomicU32::new(0));
    let seed = check.rng().next_u64();
    let messages = || -> Vec<Vec<u8>> {
        let mut rng = harness::Rng::new(seed);
        (0..MESSAGES).map(|_| letters(&mut rng, 2000)).collect()
    };
    let mut sender = check.spawn("`LinkSender::send`, Unbounded", || -> Told<()> {
        let mut sender = told(LinkSender::new(pair.one(), Capacity::Unbounded))?;
        for (number, message) in messages().iter().enumerate() {
            told(sender.send(message))?;
            stage.store(number as u32 + 1, Ordering::Release);
        }
        told(sender.flush())
    })?;
    let other = pair.other();
    check.wait_until(
        &format!("{MESSAGES} calls of `send` have returned (Unbounded, 1 MB, nobody receives)"),
        || stage.load(Ordering::Acquire) as usize == MESSAGES || sender.ended(),
    )?;
    falls_asleep(check, "`flush` sleeps while the kernel's buffer is full", &mut sender, || true)?;
    let early = sender.ended();
    let (got, end) = check.ask("`LinkReceiver::receive`, Unbounded", move || {
        let mut all = Vec::new();
        let end = LinkReceiver::new(other, Capacity::Unbounded).and_then(|mut receiver| {
            loop {
                all.push(receiver.receive(wait(FOREVER))?);
            }
        });
        (all, told::<()>(end))
    })?;
    let sent = sender.join()?;
    ensure!(sent.is_ok() && !early, expected: "`send` succeeds at once, and `flush` waits until the kernel has everything", observed: format!("{}{}", show_done(&sent), if early { ", while nobody received" } else { "" }), look: "`LinkSender::send` and `flush`");
    ensure!(got == messages(), expected: format!("{MESSAGES} messages in the order of sending"), observed: format!("{} messages, then {}", got.len(), show_done(&end)), look: "`LinkSender`: what becomes of the messages that the kernel does not take");
    ensure!(is_error(&end, "BrokenPipe"), expected: "BrokenPipe after the last message of a sender that has gone", observed: show_done(&end), look: "`LinkReceiver::receive`");
    // Dropped without a flush.
    let pair = Pair::packets()?;
    let mut dropper = check.spawn("dropping a `LinkSender`, Unbounded", || -> Told<()> {
        let mut sender = told(LinkSender::new(pair.one(), Capacity::Unbounded))?;
        messages().iter().try_for_each(|message| told(sender.send(message)))
    })?;
    let other = pair.other();
    // Nobody receives before everything is sent: otherwise the kernel might have room for it all.
    falls_asleep(
        check,
        "dropping the sender sleeps while the kernel's buffer is full",
        &mut dropper,
        || true,
    )?;
    let got = check.ask("`LinkReceiver::receive`, Unbounded", move || {
        let Ok(mut receiver) = LinkReceiver::new(other, Capacity::Unbounded) else { return 0 };
        std::iter::from_fn(|| receiver.receive(wait(FOREVER)).ok()).count()
    })?;
    dropper.join()?.map_err(|error| Stop::failed("every `send` succeeds", error, "`LinkSender::send`"))?;
    ensure!(got == MESSAGES, expected: format!("{MESSAGES} messages, also when the sender is dropped without `flush`"), observed: format!("{got}"), look: "`impl Drop for LinkSender`");
    Ok(())
}

/// Whoever waits on a link learns that the other side was killed; what was sent before is received.
pub fn a_link_ends_with_its_other_end(check: &mut Check) -> Outcome {
    for code in [0, 2, -1] {
        let name = capacity_in_words(code);
        let pair = Pair::packets()?;
        let stage = Shared::new(AtomicU32::new(0));
        let mut sender = check.spawn(&format!("`LinkSender::send`, {name}"), || -> Told<Told<()>> {
            let_sigpipe_kill();
            let mut sender = told(LinkSender::new(pair.one(), capacity(code)))?;
            for _ in 0..code {
                told(sender.send(b"there is room"))?;
            }
            stage.store(1, Ordering::Release);
            if code >= 0 {
                return Ok(told(sender.send(b"waits")));
            }
            // Unbounded: the wait is in `flush`.
            for _ in 0..200 {
                told(sender.send(&[b'x'; 3000]))?;
            }
            Ok(told(sender.flush()))
        })?;
        let receiver = check.spawn(&format!("a `LinkReceiver`, {name}, that does not receive"), || {
            let receiver = told(LinkReceiver::new(pair.other(), capacity(code)));
            // Until it is killed.
            loop {
                std::thread::park();
                if receiver.is_err() {
                    return;
                }
            }
        })?;
        pair.leave_to_workers();
        falls_asleep(check, &format!("the sender waits ({name})"), &mut sender, || {
            stage.load(Ordering::Acquire) == 1
        })?;
        ensure!(!sender.ended(), expected: format!("{name}: the sender waits while the receiver lives"), observed: "it returned", look: "`LinkSender`");
        receiver.kill();
        let answer = sender.join()?.and_then(|answer| answer);
        ensure!(is_error(&answer, "BrokenPipe"), expected: format!("{name}: `send` is BrokenPipe when the receiver is killed meanwhile"), observed: show_done(&answer), look: "`LinkSender`: what it waits for, and what the kernel answers then");
        // The other way round: a sender that leaves, with messages on the way.
        let pair = Pair::packets()?;
        let sent = if code == 0 { 0 } else { 2 };
        let answer =
            check.ask(&format!("`LinkSender::send`, {name}"), || {
                told(LinkSender::new(pair.one(), capacity(code)).and_then(|mut sender| {
                    (0..sent).try_for_each(|number: u8| sender.send(&[b'0' + number]))
                }))
            })?;
        ensure!(answer.is_ok(), expected: format!("{name}: {sent} messages are sent"), observed: show_done(&answer), look: "`LinkSender::send`");
        let other = pair.other();
        let answers =
            check.ask(&format!("`LinkReceiver::receive`, {name}, after the sender has gone"), move || {
                let_sigpipe_kill();
                match LinkReceiver::new(other, capacity(code)) {
                    Ok(mut receiver) => (0..=sent).map(|_| told(receiver.receive(wait(FOREVER)))).collect(),
                    Err(error) => vec![told(Err(error))],
                }
            })?;
        for (number, answer) in answers.iter().enumerate() {
            if number < usize::from(sent) {
                ensure!(answer.as_deref() == Ok(&[b'0' + number as u8]), expected: format!("{name}: message {number} of a sender that has gone"), observed: show(answer), look: "`LinkReceiver::receive`: what it does when the sender takes no answer any more");
            } else {
                ensure!(is_error(answer, "BrokenPipe"), expected: format!("{name}: BrokenPipe after the last message"), observed: show(answer), look: "`LinkReceiver::receive`");
            }
        }
    }
    Ok(())
}
