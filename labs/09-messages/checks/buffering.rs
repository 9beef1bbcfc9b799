//! Part 3: the slot, and links of every capacity.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::time::Duration;

use harness::step::{Limit, Reached, Stepper, Watch, mark};
use harness::{Check, Outcome, Respondent, Shared, Stop, Stress, ensure};
use messages::{Capacity, LinkReceiver, LinkSender, MAX_CAPACITY, MAX_MESSAGE, SLOT_BYTES, Slot};

use super::{
    FOREVER, NEVER, Pair, Told, asleep, in_words, is_error, let_sigpipe_kill, letters, show, show_done,
    timed, timed_out, told, wait,
};

// The slot ---------------------------------------------------------------------------------------------------

/// (the message to put, or none to take; how long to wait)
type Use = (Option<Vec<u8>>, i64);
type Used = (Told<Vec<u8>>, u64);

fn use_slot(slot: &Slot, (message, code): Use) -> Used {
    timed(|| match message {
        Some(message) => slot.put(&message, wait(code)).map(|()| vec![]),
        None => slot.take(wait(code)),
    })
}

/// Puts a message into the slot, which is empty.
fn fill(user: &mut Respondent<Use, Used>, message: &[u8]) -> Outcome {
    let (answer, _) = user.ask((Some(message.to_vec()), NEVER))?;
    ensure!(answer.is_ok(), expected: "`put` into an empty slot succeeds", observed: show_done(&answer), look: "`Slot::put`");
    Ok(())
}

/// Two processes put and take in turn: one message at a time, any length, every kind of waiting.
pub fn a_slot_holds_one_message(check: &mut Check) -> Outcome {
    let slot = check.shared("`Slot::new`", Slot::new)?;
    let mut users = [
        check.respondent("`Slot`", |question| use_slot(&slot, question))?,
        check.respondent("`Slot`", |question| use_slot(&slot, question))?,
    ];
    let mut there: Option<Vec<u8>> = None;
    for round in 0..80 {
        let user = &mut users[check.rng().below(2) as usize];
        let code = if round % 20 == 19 { 15 } else { NEVER };
        let over = |used: &Used| match code {
            NEVER => is_error(&used.0, "WouldBlock"),
            _ => timed_out(used, code),
        };
        let name = if code == NEVER { "WouldBlock" } else { "TimedOut after 15 ms" };
        if check.rng().chance(50) {
            let length = [0, SLOT_BYTES, 1 + check.rng().below(SLOT_BYTES as u64) as usize][round % 3];
            let message = letters(check.rng(), length);
            let used = user.ask((Some(message.clone()), code))?;
            if there.is_some() {
                ensure!(over(&used), expected: format!("`put` into a full slot is {name}"), observed: format!("{} after {} ms", show_done(&used.0), used.1), look: "`Slot::put`");
            } else {
                ensure!(used.0.is_ok(), expected: "`put` into an empty slot succeeds", observed: show_done(&used.0), look: "`Slot::put`");
                there = Some(message);
            }
        } else {
            let used = user.ask((None, code))?;
            match there.take() {
                None => {
                    ensure!(over(&used), expected: format!("`take` from an empty slot is {name}"), observed: format!("{} after {} ms", show(&used.0), used.1), look: "`Slot::take`")
                }
                Some(message) => {
                    ensure!(used.0.as_ref() == Ok(&message), expected: in_words(&message), observed: show(&used.0), look: "`Slot::take`")
                }
            }
        }
    }
    let (answer, _) = users[0].ask((Some(vec![b'x'; SLOT_BYTES + 1]), NEVER))?;
    ensure!(is_error(&answer, "InvalidInput"), expected: format!("the error InvalidInput for {} bytes", SLOT_BYTES + 1), observed: show_done(&answer), look: "`Slot::put`");
    Ok(())
}

/// Those who wait sleep, and wake when the other side has done its part; it may be another process.
pub fn users_of_a_slot_sleep_and_wake(check: &mut Check) -> Outcome {
    let slot = check.shared("`Slot::new`", Slot::new)?;
    let mut other = check.respondent("`Slot`", |question| use_slot(&slot, question))?;
    for takes in [true, false, true] {
        let what = if takes { "`Slot::take` of an empty slot" } else { "`Slot::put` into a full slot" };
        // The full slot holds the first message, and the sleeper puts the second.
        if !takes {
            fill(&mut other, b"first")?;
        }
        let stage = Shared::new(AtomicU32::new(0));
        let mut sleeper = check.spawn(what, || {
            stage.store(1, Ordering::Release);
            use_slot(&slot, (if takes { None } else { Some(b"second".to_vec()) }, FOREVER)).0
        })?;
        let pid = sleeper.pid();
        check.wait_until(&format!("{what} sleeps"), || {
            sleeper.ended() || (stage.load(Ordering::Acquire) == 1 && asleep(pid))
        })?;
        ensure!(!sleeper.ended(), expected: format!("{what} with Forever waits"), observed: "it returned", look: what);
        let (answer, _) = other.ask((if takes { Some(b"first".to_vec()) } else { None }, NEVER))?;
        ensure!(answer.is_ok(), expected: "the other process does its part while one sleeps", observed: show_done(&answer), look: "`Slot`");
        let answer = sleeper.join()?;
        let wanted: &[u8] = if takes { b"first" } else { b"" };
        ensure!(answer.as_deref() == Ok(wanted), expected: format!("{what} wakes and succeeds"), observed: show(&answer), look: what);
        if !takes {
            let (answer, _) = other.ask((None, NEVER))?;
            ensure!(answer.as_deref() == Ok(b"second"), expected: "the message that waited", observed: show(&answer), look: "`Slot::put`");
        }
    }
    Ok(())
}

/// One process is stopped after each change it makes to the slot, another one tries to take or to put.
pub fn nobody_sees_half_a_message(check: &mut Check) -> Outcome {
    const PUT: u64 = 1;
    let mut points = 0;
    for putting in [true, false] {
        let slot = check.shared("`Slot::new`", Slot::new)?;
        let messages = [letters(check.rng(), SLOT_BYTES), letters(check.rng(), 7)];
        let [first, second] = &messages;
        let mut other = check.respondent("`Slot`", |question| use_slot(&slot, question))?;
        if !putting {
            fill(&mut other, first)?;
        }
        let name = if putting { "`Slot::put`" } else { "`Slot::take`" };
        let taken = Shared::new([const { AtomicU8::new(0) }; SLOT_BYTES + 1]);
        let mut stopped = Stepper::start(check, name, Watch::of(&slot), || {
            if putting {
                let _ = slot.put(first, wait(FOREVER));
            } else if let Ok(message) = slot.take(wait(FOREVER)) {
                taken[SLOT_BYTES].store(message.len() as u8, Ordering::Relaxed);
                message
                    .iter()
                    .zip(taken.iter())
                    .for_each(|(&byte, place)| place.store(byte, Ordering::Relaxed));
            }
            mark(PUT, 0);
        })?;
        let mut got = None;
        let limit = Limit { until_change: true, ..Limit::steps(3000) };
        for _ in 0..200 {
            if !matches!(stopped.step(limit, |_| {})?, Reached::Limit) {
                break;
            }
            points += 1;
            let ask = if putting { None } else { Some(second.clone()) };
            let (answer, _) = other.ask((ask, NEVER))?;
            match answer {
                Ok(message) if putting => {
                    ensure!(
                        &message == first,
                        expected: format!("`take`, while another process is in the middle of `put`, is WouldBlock, or the whole message, {}", in_words(first)),
                        observed: in_words(&message),
                        look: "`Slot::put`: the order of copying and of saying that the slot is full"
                    );
                    got = Some(message);
                    break;
                }
                Ok(_) => {
                    got = Some(second.clone());
                    break;
                }
                Err(error) => ensure!(
                    is_error(&Err::<(), _>(error.clone()), "WouldBlock"),
                    expected: "success or WouldBlock, while another process is in the middle of its call",
                    observed: format!("the error {error}"),
                    look: "`Slot`"
                ),
            }
        }
        // Whatever was seen, the call that was stopped comes to its end.
        ensure!(stopped.run(0.5)?.is_some(), expected: format!("{name} returns"), observed: "it was still running after 0.5 s", look: name);
        drop(stopped);
        if putting {
            let (rest, _) = other.ask((None, NEVER))?;
            let once = if got.is_some() { is_error(&rest, "WouldBlock") } else { rest.as_ref() == Ok(first) };
            ensure!(once, expected: "the message is taken once, whole", observed: format!("{} was taken, and then {}", got.map_or("nothing".into(), |got| in_words(&got)), show(&rest)), look: "`Slot::take`: who may take");
        } else {
            let length = usize::from(taken[SLOT_BYTES].load(Ordering::Relaxed)).min(SLOT_BYTES);
            let message: Vec<u8> = taken[..length].iter().map(|byte| byte.load(Ordering::Relaxed)).collect();
            ensure!(
                &message == first,
                expected: format!("`take` returns the message that was there, {}, also when another process puts the next one meanwhile", in_words(first)),
                observed: in_words(&message),
                look: "`Slot::take`: the order of copying and of saying that the slot is empty"
            );
            if got.is_none() {
                fill(&mut other, second)?;
            }
            let (rest, _) = other.ask((None, NEVER))?;
            ensure!(rest.as_ref() == Ok(second), expected: format!("the next message, {}", in_words(second)), observed: show(&rest), look: "`Slot::put`");
        }
    }
    check.note(format!("stopped after each of {points} changes of the slot"));
    Ok(())
}

/// One process is stopped before each instruction that the other might notice, and the other does the same thing.
pub fn two_at_once_is_one_after_the_other(check: &mut Check) -> Outcome {
    const ROUND: u64 = 1;
    const MOST: usize = 60;
    let slot = check.shared("`Slot::new`", Slot::new)?;
    let mut other = check.respondent("`Slot`", |question| use_slot(&slot, question))?;
    let mut points = 0;
    for putting in [true, false] {
        let name = if putting { "`Slot::put`" } else { "`Slot::take`" };
        let done = Shared::new(AtomicU32::new(0));
        let mut stopped = Stepper::start(check, name, Watch::of(&slot), || {
            loop {
                mark(ROUND, 0);
                let result = match putting {
                    true => slot.put(b"mine", wait(NEVER)).is_ok(),
                    false => slot.take(wait(NEVER)).is_ok(),
                };
                done.store(1 + u32::from(result), Ordering::Release);
            }
        })?;
        let ended = |what: &str| {
            Stop::failed(format!("{name} returns"), format!("it was still running {what}"), name)
        };
        stopped.run(0.5)?.ok_or_else(|| ended("at the start"))?;
        for visible in 0..MOST {
            // From the beginning again: an empty slot, or a full one.
            while other.ask((None, NEVER))?.0.is_ok() {}
            if !putting {
                fill(&mut other, b"there")?;
            }
            if matches!(stopped.step(Limit::visible(visible), |_| {})?, Reached::Mark(_)) {
                break;
            }
            points += 1;
            let (answer, _) = other.ask((putting.then(|| b"other".to_vec()), NEVER))?;
            stopped.run(0.5)?.ok_or_else(|| ended("0.5 s later"))?;
            let mine = done.load(Ordering::Acquire) == 2;
            ensure!(
                mine != answer.is_ok(),
                expected: format!("of two processes that call {name} at the same time, one succeeds"),
                observed: match mine {
                    true => "both did",
                    false => "neither did",
                },
                look: format!("{name}: between looking at the status and changing it, another process may come")
            );
            if putting {
                let (got, _) = other.ask((None, NEVER))?;
                let wanted: &[u8] = if mine { b"mine" } else { b"other" };
                ensure!(got.as_deref() == Ok(wanted), expected: format!("the message of the one that succeeded, {}", in_words(wanted)), observed: show(&got), look: name);
            }
        }
    }
    check.note(format!("stopped at {points} instructions"));
    Ok(())
}

/// Two processes put and two take at full speed; nothing is lost, doubled or mixed.
pub fn each_message_is_taken_once(check: &mut Check) -> Outcome {
    const MOST: usize = 1 << 16;
    let slot = check.shared("`Slot::new`", Slot::new)?;
    let seen = Shared::slice(2 * MOST, |_| AtomicU8::new(0));
    let put = Shared::new([const { AtomicU32::new(0) }; 2]);
    let message = |sender: usize, number: u32| {
        let mut message = vec![sender as u8; 5 + (number as usize * 13) % (SLOT_BYTES - 4)];
        message[1..5].copy_from_slice(&number.to_be_bytes());
        message
    };
    let what = "`Slot::put` by two processes, `take` by two";
    let stress = Stress { workers: 4, budget: Duration::from_millis(120), what };
    let violation = check.stress(stress, |worker| {
        let me = worker.index() / 2;
        let mut number = 0;
        while worker.running() {
            worker.progress();
            if worker.index() % 2 == 0 {
                if (number as usize) < MOST && slot.put(&message(me, number), wait(20)).is_ok() {
                    number += 1;
                    put[me].store(number, Ordering::Release);
                }
            } else if let Ok(got) = slot.take(wait(20)) {
                let sender = usize::from(got.first().copied().unwrap_or(9));
                let number = got.get(1..5).map_or(u32::MAX, |number| {
                    number.iter().fold(0, |all, &byte| all << 8 | u32::from(byte))
                });
                if sender > 1 || number as usize >= MOST || got != message(sender, number) {
                    worker.violation(&format!("`take` returned what nobody has put: {}", in_words(&got)));
                } else if seen[sender * MOST + number as usize].fetch_add(1, Ordering::AcqRel) > 0 {
                    worker.violation(&format!("message {number} of sender {sender} was taken twice"));
                }
            }
        }
    })?;
    if let Some(violation) = violation {
        return Err(Stop::failed(
            "each message is taken once, as it was put",
            violation,
            "`Slot`: who may copy when",
        ));
    }
    let mut last = check.respondent("`Slot::take`", |question| use_slot(&slot, question))?;
    let mut left = 0;
    while last.ask((None, NEVER))?.0.is_ok() {
        left += 1;
    }
    let counts = put.each_ref().map(|count| count.load(Ordering::Acquire));
    let taken = seen.iter().filter(|seen| seen.load(Ordering::Acquire) > 0).count() as u32 + left;
    let all = counts[0] + counts[1];
    ensure!(taken == all, expected: format!("{all} messages were put and are taken"), observed: format!("{taken} were taken, {left} of them at the end"), look: "`Slot::put` and `take`");
    check.note(format!("{all} messages"));
    Ok(())
}

// Links ------------------------------------------------------------------------------------------------------

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
    let pid = sender.pid();
    check.wait_until("`flush` sleeps while the kernel's buffer is full", || sender.ended() || asleep(pid))?;
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
    let pid = dropper.pid();
    check.wait_until("dropping the sender sleeps while the kernel's buffer is full", || {
        dropper.ended() || asleep(pid)
    })?;
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
        let pid = sender.pid();
        check.wait_until(&format!("the sender waits ({name})"), || {
            sender.ended() || (stage.load(Ordering::Acquire) == 1 && asleep(pid))
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
