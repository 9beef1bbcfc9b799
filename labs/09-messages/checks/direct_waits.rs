//! Part 1: direct messages that keep somebody waiting, and what ends it.

use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicU32, Ordering};

use harness::faults::{self, Plan};
use harness::{Check, Outcome, Shared, Stop, ensure, observe};
use messages::Endpoint;

use super::direct::{Process, raw};
use super::nagging::Nagging;
use super::{
    FOREVER, NEVER, Place, Told, falls_asleep, in_words, is_error, let_sigpipe_kill, one_interruption, show,
    show_done, timed, timed_out, told, wait,
};

/// What a receiver was told at each call, and the message that came at last.
type Waited = (Vec<(Told<()>, u64)>, Vec<u8>);
/// `Never` does not wait, `For` waits its time and no longer, `Forever` sleeps until a message comes.
pub fn receivers_wait_as_told(check: &mut Check) -> Outcome {
    let place = Place::new(check)?;
    let mut other = Process::start(check, &place)?;
    let silent = other.pid();
    let stage = Shared::new(AtomicU32::new(0));
    let directory = place.path().to_owned();
    let nagging = Nagging::new();
    let mut waiter = check.spawn("`receive` and `receive_any`", || -> Told<Waited> {
        let mut endpoint = told(Endpoint::open(&directory))?;
        let mut answers = Vec::new();
        for code in [NEVER, 30] {
            answers.push(timed(|| endpoint.receive_any(wait(code)).map(drop)));
            answers.push(timed(|| endpoint.receive(silent, wait(code)).map(drop)));
        }
        // From here on both the check and this process send messages that are not what the call waits for.
        stage.store(1, Ordering::Release);
        let own = directory.join(std::process::id().to_string());
        let talker = told(UnixDatagram::unbound())?;
        told(talker.set_nonblocking(true))?;
        let nag = move || _ = talker.send_to(b"not for you", &own);
        let nagged = || endpoint.receive(silent, wait(Nagging::TIME)).map(drop);
        answers.push(timed(|| faults::with(nagging.plan(nag), nagged).0));
        stage.store(2, Ordering::Release);
        let message = told(endpoint.receive(silent, wait(FOREVER)))?;
        Ok((answers, message))
    })?;
    let pid = waiter.pid();
    let talker = raw(place.path(), 1)?;
    let _ = talker.set_nonblocking(true);
    let name = place.path().join(pid.to_string());
    check.wait_until(
        "`receive(…, For(200 ms))` is over, while another process sends all the time",
        || {
            if stage.load(Ordering::Acquire) == 1 && nagging.goes_on() {
                let _ = talker.send_to(b"not for you", &name);
            }
            stage.load(Ordering::Acquire) == 2 || waiter.ended()
        },
    )?;
    falls_asleep(check, "`receive(…, Forever)` sleeps", &mut waiter, || {
        stage.load(Ordering::Acquire) == 2
    })?;
    if !waiter.ended() {
        other.post(pid, b"at last")?;
    }
    let (answers, message) = waiter.join()?.map_err(|error| {
        Stop::failed(
            "an endpoint that waits for a message",
            format!("the error {error}"),
            "`Endpoint::receive`",
        )
    })?;
    for (place, answer) in answers.iter().take(4).enumerate() {
        let call = ["receive_any", "receive"][place % 2];
        if place < 2 {
            ensure!(
                is_error(&answer.0, "WouldBlock"),
                expected: format!("`{call}` with Never and no message is WouldBlock"),
                observed: show_done(&answer.0),
                look: format!("`Endpoint::{call}`")
            );
        } else {
            ensure!(
                timed_out(answer, 30),
                expected: format!("`{call}` with For(30 ms) and no message is TimedOut after that time"),
                observed: format!("{} after {} ms", show_done(&answer.0), answer.1),
                look: format!("`Endpoint::{call}`: the time that is left, and the error when it is over")
            );
        }
    }
    nagging.judge("Endpoint::receive", &answers[4])?;
    ensure!(message == b"at last", expected: "the message \"at last\"", observed: in_words(&message), look: "`Endpoint::receive`");
    Ok(())
}

/// A full buffer: `Never` and `For` say so, `Forever` sleeps; nothing is lost or sent twice.
pub fn senders_wait_while_the_buffer_is_full(check: &mut Check) -> Outcome {
    let place = Place::new(check)?;
    let me = std::process::id().cast_signed();
    let receiver = raw(place.path(), me)?;
    let _ = receiver.set_nonblocking(true);
    let stage = Shared::new(AtomicU32::new(0));
    let directory = place.path().to_owned();
    type Sent = (u32, Told<()>, (Told<()>, u64), Told<()>);
    let mut sender =
        check.spawn("`Endpoint::send` to a process that does not receive", || -> Told<Sent> {
            let endpoint = told(Endpoint::open(&directory))?;
            let mut count = 0u32;
            let full = loop {
                match told(endpoint.send(me, &count.to_be_bytes(), wait(NEVER))) {
                    Ok(()) if count < 100_000 => count += 1,
                    full => break full,
                }
            };
            let late = timed(|| endpoint.send(me, b"too late", wait(30)));
            stage.store(1, Ordering::Release);
            Ok((count, full, late, told(endpoint.send(me, &count.to_be_bytes(), wait(FOREVER)))))
        })?;
    falls_asleep(
        check,
        "`send(…, Forever)` sleeps while the receiver's buffer is full",
        &mut sender,
        || stage.load(Ordering::Acquire) == 1,
    )?;
    let early = sender.ended();
    let mut received: Vec<Vec<u8>> = Vec::new();
    let mut drain = || {
        let mut buffer = [0; 100];
        while let Ok(length) = receiver.recv(&mut buffer) {
            received.push(buffer[..length].to_vec());
        }
    };
    drain();
    check.wait_until("the sender goes on once there is room", || sender.ended())?;
    drain();
    let (count, full, late, last) = sender.join()?.map_err(|error| {
        Stop::failed("an endpoint that sends", format!("the error {error}"), "`Endpoint::open`")
    })?;
    ensure!(is_error(&full, "WouldBlock"), expected: format!("`send` with Never to a full buffer ({count} messages) is WouldBlock"), observed: show_done(&full), look: "`Endpoint::send`");
    ensure!(
        timed_out(&late, 30),
        expected: "`send` with For(30 ms) to a full buffer is TimedOut after that time",
        observed: format!("{} after {} ms", show_done(&late.0), late.1),
        look: "`Endpoint::send`: the time that is left, and the error when it is over"
    );
    ensure!(!early && last.is_ok(), expected: "`send` with Forever waits for room, and then sends", observed: format!("{}{}", show_done(&last), if early { " while the buffer was full" } else { "" }), look: "`Endpoint::send`");
    let wanted: Vec<Vec<u8>> = (0..=count).map(|number| number.to_be_bytes().to_vec()).collect();
    ensure!(
        received == wanted,
        expected: format!("the {} messages whose `send` succeeded, in order, and no other", count + 1),
        observed: format!("{} messages, the last {}", received.len(), in_words(received.last().unwrap_or(&vec![]))),
        look: "`Endpoint::send`: a call that fails has sent nothing, and the content is the message and nothing else"
    );
    Ok(())
}

/// Every call interrupted, or some at random: nothing is lost, nothing comes twice.
pub fn interruptions_lose_no_message(check: &mut Check) -> Outcome {
    let place = Place::new(check)?;
    let plans: Vec<u64> = (0..48).collect();
    let seed = check.rng().next_u64() >> 8;
    let directory = place.path().to_owned();
    let answer = check.ask("`Endpoint` under interruptions", move || -> Told<()> {
        let me = std::process::id().cast_signed();
        for number in plans {
            let plan = match number {
                0..30 => one_interruption(number as usize),
                30..33 => Plan::interrupted_every(number as usize - 29),
                _ => Plan::random(seed + number),
            };
            let (answer, _) = faults::with(plan, || -> Told<()> {
                let mut endpoint = told(Endpoint::open(&directory))?;
                for code in [NEVER, FOREVER, 5000] {
                    told(endpoint.send(me, b"one", wait(code)))?;
                    told(endpoint.send(me, b"two", wait(code)))?;
                    let any = told(endpoint.receive_any(wait(code)))?;
                    let from = told(endpoint.receive(me, wait(code)))?;
                    let none = told(endpoint.receive(me, wait(code.clamp(0, 5))));
                    let over = if code > 0 { "TimedOut" } else { "WouldBlock" };
                    if any != (me, b"one".to_vec()) || from != b"two" || !is_error(&none, over) {
                        return Err(format!(
                            "{any:?}, {from:?} and {none:?} for \"one\", \"two\" and {over}"
                        ));
                    }
                }
                Ok(())
            });
            answer?;
        }
        Ok(())
    })?;
    ensure!(
        answer.is_ok(),
        expected: "calls that are interrupted (EINTR) are made again, and every message is received once",
        observed: answer.clone().err().unwrap_or_default(),
        look: "the loops in `Endpoint::send` and `receive`"
    );
    check.note("each of the first 30 calls interrupted, every call, every second, every third, and 15 random patterns");
    Ok(())
}

/// What a dead process has sent is received; then it, and sending to it, is an error, also for those who sleep.
pub fn a_dead_correspondent_is_an_error(check: &mut Check) -> Outcome {
    // SAFETY: takes a process number and flags.
    let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, std::process::id(), 0) };
    if pidfd < 0 {
        return Err(Stop::inconclusive("this machine has no pidfd_open(2)"));
    }
    // SAFETY: closes the descriptor that was just opened.
    unsafe { libc::close(pidfd as i32) };
    let place = Place::new(check)?;
    let (mut to, mut dead) = (Process::start(check, &place)?, Process::start(check, &place)?);
    let pid = dead.pid();
    dead.post(to.pid(), b"first")?;
    dead.post(to.pid(), b"last")?;
    drop(dead);
    for (code, wanted) in [(FOREVER, &b"first"[..]), (NEVER, b"last")] {
        let (got, _) = to.receive(pid, code)?;
        ensure!(
            got.as_deref() == Ok(wanted),
            expected: format!("{}, which a process sent before it was killed", in_words(wanted)),
            observed: show(&got),
            look: "`Endpoint::receive`: look at the socket before the process"
        );
    }
    for code in [NEVER, FOREVER] {
        let (got, _) = to.receive(pid, code)?;
        ensure!(
            is_error(&got, "BrokenPipe"),
            expected: "`receive` from a process that was killed, with all its messages received, is BrokenPipe",
            observed: show(&got),
            look: "`Endpoint::receive`: how it learns that the process has ended"
        );
    }
    let (answer, _) = to.send(pid, b"anybody there?", FOREVER)?;
    ensure!(is_error(&answer, "BrokenPipe"), expected: "`send` to a process that was killed, whose name is left, is BrokenPipe", observed: show_done(&answer), look: "`Endpoint::send`: ECONNREFUSED");
    let (answer, _) = to.send(i32::MAX - 7, b"anybody there?", FOREVER)?;
    ensure!(is_error(&answer, "NotFound"), expected: "`send` to a process that never had an endpoint is NotFound", observed: show_done(&answer), look: "`Endpoint::send`: ENOENT");
    for sends in [false, true] {
        let victim = Process::start(check, &place)?;
        let pid = victim.pid();
        let directory = place.path().to_owned();
        let stage = Shared::new(AtomicU32::new(0));
        let what = if sends {
            "`send`, waiting for room in the buffer of a process that is killed then,"
        } else {
            "`receive`, waiting for a message of a process that is killed then,"
        };
        let mut waiter = check.spawn(what, || -> Told<Told<()>> {
            let_sigpipe_kill();
            let mut endpoint = told(Endpoint::open(&directory))?;
            if sends {
                while endpoint.send(pid, b"fill", wait(NEVER)).is_ok() {}
            }
            stage.store(1, Ordering::Release);
            Ok(told(match sends {
                true => endpoint.send(pid, b"no room", wait(FOREVER)),
                false => endpoint.receive(pid, wait(FOREVER)).map(drop),
            }))
        })?;
        falls_asleep(check, &format!("{what} sleeps"), &mut waiter, || stage.load(Ordering::Acquire) == 1)?;
        drop(victim);
        let answer = waiter.join()?.and_then(|answer| answer);
        ensure!(
            is_error(&answer, "BrokenPipe"),
            expected: format!("{what} is BrokenPipe"),
            observed: show_done(&answer),
            look: "what the call waits for: the socket, and the other process"
        );
    }
    // Nobody's descriptors pile up.
    let before = observe::open_fds(to.pid()).map_or(0, |fds| fds.len());
    for _ in 0..20 {
        for from in [pid, std::process::id().cast_signed()] {
            let _nothing = to.receive(from, NEVER)?;
        }
    }
    let after = observe::open_fds(to.pid()).map_or(0, |fds| fds.len());
    ensure!(after <= before, expected: format!("{before} descriptors open after 40 more calls of `receive`"), observed: format!("{after}"), look: "`Endpoint::receive`: close the descriptor of the process");
    Ok(())
}
