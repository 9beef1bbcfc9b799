//! Part 3: the slot.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::time::Duration;

use harness::step::{Limit, Reached, Stepper, Watch, mark};
use harness::{Check, Exploration, Model, Outcome, Respondent, Shared, Stop, Stress, Student, ensure};
use messages::{SLOT_BYTES, Slot, Wait};

use super::{
    FOREVER, NEVER, Told, falls_asleep, in_words, is_error, letters, show, show_done, timed, timed_out, wait,
};

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
        falls_asleep(check, &format!("{what} sleeps"), &mut sleeper, || stage.load(Ordering::Acquire) == 1)?;
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

/// In every interleaving, and as the memory model allows the reads: what is taken is what was put, and data and length are touched
/// by one at a time.
fn hand_over_in_every_order(check: &mut Check) -> Outcome {
    check.explore(
        "one thread puts a message, another one takes it",
        Exploration::default(),
        |model: &Model| {
            let slot = model.share(Slot::new());
            let puts = model.spawn("put", move || slot.put(b"ab", Wait::Forever).is_ok());
            let takes = model.spawn("take", move || slot.take(Wait::Forever).ok());
            assert!(puts.join(), "`put` into an empty slot failed");
            assert_eq!(takes.join().as_deref(), Some(&b"ab"[..]), "what `take` returned");
        },
    )
}

/// One process is stopped after each change it makes to the slot, another one tries to take or to put.
pub fn nobody_sees_half_a_message(check: &mut Check) -> Outcome {
    hand_over_in_every_order(check)?;
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

/// Two processes sleep in `take`: for each of two messages one of them returns, and whoever else was woken sleeps again.
fn one_message_is_for_one(check: &Check) -> Outcome {
    let slot = check.shared("`Slot::new`", Slot::new)?;
    let ready = Shared::new(AtomicU32::new(0));
    let mut takers = Vec::new();
    for number in 1..=2 {
        let mut taker = check.spawn("`Slot::take` of an empty slot", || {
            ready.fetch_add(1, Ordering::Release);
            use_slot(&slot, (None, FOREVER)).0
        })?;
        let is_ready = || ready.load(Ordering::Acquire) == number;
        falls_asleep(check, "`Slot::take` of an empty slot sleeps", &mut taker, is_ready)?;
        takers.push(taker);
    }
    let mut user = check.respondent("`Slot::put`", |question| use_slot(&slot, question))?;
    for message in [b"first".as_slice(), b"second"] {
        fill(&mut user, message)?;
        let mut first = None;
        check.wait_until("one of those who sleep in `take` gets the message", || {
            first = takers.iter_mut().position(Student::ended);
            first.is_some()
        })?;
        let Some(first) = first else { continue };
        let answer = takers.swap_remove(first).join()?;
        ensure!(answer.as_deref() == Ok(message), expected: in_words(message), observed: show(&answer), look: "`Slot::take`");
        for other in &mut takers {
            // It was woken before `put` returned, if at all.
            falls_asleep(
                check,
                "who was woken for a message that another one took sleeps again",
                other,
                || true,
            )?;
            if other.ended() {
                let is_left = user.ask((None, NEVER))?.0.is_ok();
                return Err(Stop::failed(
                    "one message is put, and one of the two that sleep in `take` returns",
                    "both returned",
                    match is_left {
                        true => "`Slot::take`: a slot whose message was taken is empty",
                        false => {
                            "`Slot::take`: who was woken may not be the only one, and looks at the status again (`while`, not `if`)"
                        }
                    },
                ));
            }
        }
    }
    Ok(())
}

/// Two processes put and two take at full speed; nothing is lost, doubled or mixed.
pub fn each_message_is_taken_once(check: &mut Check) -> Outcome {
    const MOST: usize = 1 << 16;
    one_message_is_for_one(check)?;
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
        // Neighbours run on different processors: two that put, or take, at the same moment.
        let (puts, me) = (worker.index() < 2, worker.index() % 2);
        let mut number = 0;
        while worker.running() {
            worker.progress();
            if puts {
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
