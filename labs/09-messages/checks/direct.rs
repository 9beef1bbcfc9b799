//! Part 1: direct messages.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use harness::faults::{self, Action, Plan};
use harness::{Check, Outcome, Respondent, Shared, Stop, ensure, observe};
use messages::{Endpoint, MAX_MESSAGE};

use super::{
    FOREVER, NEVER, Place, Told, asleep, in_words, is_error, let_sigpipe_kill, letters, one_interruption,
    show, show_done, timed, timed_out, told, wait,
};

/// (what to do, with which process, the message, how long to wait)
type Question = (u8, i32, Vec<u8>, i64);
/// (sender and message, milliseconds)
type Answer = (Told<(i32, Vec<u8>)>, u64);

const OPEN: u8 = 0;
const SEND: u8 = 1;
const RECEIVE: u8 = 2;
const ANY: u8 = 3;

/// What a receiver was told at each call, and the message that came at last.
type Waited = (Vec<(Told<()>, u64)>, Vec<u8>);

/// A process with an endpoint of its own, which does what it is told.
struct Process(Respondent<Question, Answer>);

impl Process {
    fn start(check: &Check, place: &Place) -> Result<Process, Stop> {
        let directory = place.path().to_owned();
        let mut endpoint: Option<Endpoint> = None;
        let respondent =
            check.respondent("`Endpoint`", move |(what, pid, message, code): Question| -> Answer {
                if what == OPEN {
                    let opened = told(Endpoint::open(&directory));
                    return (opened.map(|opened| (endpoint.replace(opened).is_some().into(), vec![])), 0);
                }
                let endpoint = endpoint.as_mut().expect("opened before");
                timed(|| match what {
                    SEND => endpoint.send(pid, &message, wait(code)).map(|()| (0, vec![])),
                    RECEIVE => endpoint.receive(pid, wait(code)).map(|message| (pid, message)),
                    _ => endpoint.receive_any(wait(code)),
                })
            })?;
        let mut process = Process(respondent);
        let (opened, _) = process.0.ask((OPEN, 0, vec![], NEVER))?;
        ensure!(
            opened.is_ok(),
            expected: "`Endpoint::open` in an empty directory",
            observed: show_done(&opened),
            look: "`Endpoint::open`"
        );
        Ok(process)
    }

    fn pid(&self) -> i32 {
        self.0.pid()
    }

    fn send(&mut self, to: i32, message: &[u8], code: i64) -> Result<(Told<()>, u64), Stop> {
        let (answer, took) = self.0.ask((SEND, to, message.to_vec(), code))?;
        Ok((answer.map(drop), took))
    }

    fn receive(&mut self, from: i32, code: i64) -> Result<(Told<Vec<u8>>, u64), Stop> {
        let (answer, took) = self.0.ask((RECEIVE, from, vec![], code))?;
        Ok((answer.map(|(_, message)| message), took))
    }

    fn receive_any(&mut self, code: i64) -> Result<Answer, Stop> {
        self.0.ask((ANY, 0, vec![], code))
    }

    /// Sends what must be accepted at once.
    fn post(&mut self, to: i32, message: &[u8]) -> Outcome {
        let (answer, _) = self.send(to, message, NEVER)?;
        ensure!(
            answer.is_ok(),
            expected: format!("`send` of {} to a process with room in its buffer succeeds at once", in_words(message)),
            observed: show_done(&answer),
            look: "`Endpoint::send`"
        );
        Ok(())
    }
}

/// A socket of the check's own in the directory, under the name of some process.
fn raw(directory: &Path, name: i32) -> Result<UnixDatagram, Stop> {
    UnixDatagram::bind(directory.join(name.to_string()))
        .map_err(|error| Stop::inconclusive(format!("a datagram socket: {error}")))
}

/// How many messages fit for sure.
fn room() -> usize {
    let limit = std::fs::read_to_string("/proc/sys/net/unix/max_dgram_qlen").unwrap_or_default();
    limit.trim().parse().unwrap_or(10).clamp(1, 8)
}

/// Messages of every size arrive whole and in order; longer ones are refused by sender and receiver.
pub fn messages_keep_their_boundaries(check: &mut Check) -> Outcome {
    let place = Place::new(check)?;
    let (mut from, mut to) = (Process::start(check, &place)?, Process::start(check, &place)?);
    let mut lengths = vec![0, 1, 0, 2, 100, MAX_MESSAGE - 1, MAX_MESSAGE];
    lengths.extend((0..25).map(|_| check.rng().below(MAX_MESSAGE as u64 + 1) as usize));
    for batch in lengths.chunks(room()) {
        let sent: Vec<Vec<u8>> = batch.iter().map(|&length| letters(check.rng(), length)).collect();
        for message in &sent {
            from.post(to.pid(), message)?;
        }
        for message in &sent {
            let (got, _) = to.receive(from.pid(), NEVER)?;
            ensure!(
                got.as_ref() == Ok(message),
                expected: format!("{} (one of a batch of {batch:?} bytes)", in_words(message)),
                observed: show(&got),
                look: "`Endpoint::receive`: one message for one call, at its own length"
            );
        }
    }
    check.note(format!("{} messages of 0 to {MAX_MESSAGE} bytes", lengths.len()));
    let (answer, _) = from.send(to.pid(), &vec![b'x'; MAX_MESSAGE + 1], NEVER)?;
    ensure!(
        is_error(&answer, "InvalidInput"),
        expected: format!("the error InvalidInput for a message of {} bytes", MAX_MESSAGE + 1),
        observed: show_done(&answer),
        look: "`Endpoint::send`: look at the length first"
    );
    let stranger = raw(place.path(), 1)?;
    let to_path = place.path().join(to.pid().to_string());
    for message in [vec![b'x'; MAX_MESSAGE + 1000], b"after it".to_vec()] {
        stranger
            .send_to(&message, &to_path)
            .map_err(|error| Stop::inconclusive(format!("cannot send to the endpoint's name: {error}")))?;
    }
    let (got, _) = to.receive_any(NEVER)?;
    ensure!(
        is_error(&got, "InvalidData"),
        expected: format!("the error InvalidData for a message of {} bytes, which somebody else has sent", MAX_MESSAGE + 1000),
        observed: show(&got.map(|(_, message)| message)),
        look: "the receive: a datagram longer than the buffer is cut off, and only a flag says so (MSG_TRUNC in recvmsg(2))"
    );
    let (got, _) = to.receive_any(NEVER)?;
    ensure!(
        got.as_ref().is_ok_and(|(_, message)| message == b"after it"),
        expected: "the next message, \"after it\": the long one is dropped as a whole",
        observed: show(&got.map(|(_, message)| message)),
        look: "the receive, after a message that was too long"
    );
    Ok(())
}

/// A random order of receives, from one process or from any, against a simple model of what is waiting.
pub fn receiving_from_one_keeps_the_others(check: &mut Check) -> Outcome {
    let place = Place::new(check)?;
    let mut to = Process::start(check, &place)?;
    let mut senders = Vec::new();
    for _ in 0..3 {
        senders.push(Process::start(check, &place)?);
    }
    for round in 0..25 {
        let mut waiting: Vec<(i32, Vec<u8>)> = Vec::new();
        for number in 0..room() {
            let sender = &mut senders[check.rng().below(3) as usize];
            let message = format!("{round}.{number} of {}", sender.pid()).into_bytes();
            sender.post(to.pid(), &message)?;
            waiting.push((sender.pid(), message));
        }
        while !waiting.is_empty() {
            let shown: Vec<String> =
                waiting.iter().map(|(_, message)| message.escape_ascii().to_string()).collect();
            if check.rng().chance(30) {
                let (got, _) = to.receive_any(NEVER)?;
                let first = waiting.remove(0);
                ensure!(
                    got.as_ref() == Ok(&first),
                    expected: format!("`receive_any` returns process {} and the oldest of {shown:?}", first.0),
                    observed: match &got {
                        Ok((pid, message)) => format!("process {pid} and {}", in_words(message)),
                        Err(error) => format!("the error {error}"),
                    },
                    look: "`Endpoint::receive_any` and the messages that `receive` has kept"
                );
            } else {
                let from = senders[check.rng().below(3) as usize].pid();
                let (got, _) = to.receive(from, NEVER)?;
                match waiting.iter().position(|(sender, _)| *sender == from) {
                    Some(place) => {
                        let (_, message) = waiting.remove(place);
                        ensure!(
                            got.as_ref() == Ok(&message),
                            expected: format!("`receive({from})` returns the oldest of that process among {shown:?}"),
                            observed: show(&got),
                            look: "`Endpoint::receive`: what it keeps, and in which order"
                        );
                    }
                    None => ensure!(
                        is_error(&got, "WouldBlock"),
                        expected: format!("`receive({from}, Never)` is WouldBlock: only {shown:?} are waiting"),
                        observed: show(&got),
                        look: "`Endpoint::receive`: whose message it returns"
                    ),
                }
            }
        }
    }
    check.note("25 rounds of random receives from one process or from any");
    Ok(())
}

/// A process that uses another one's name is known all the same.
pub fn the_sender_is_the_kernels_word(check: &mut Check) -> Outcome {
    let place = Place::new(check)?;
    let (mut to, mut honest) = (Process::start(check, &place)?, Process::start(check, &place)?);
    let me = std::process::id().cast_signed();
    // Bound to the name of process 1, and bound to no name at all.
    let nameless = UnixDatagram::unbound().map_err(|error| Stop::inconclusive(error.to_string()))?;
    for (socket, how) in
        [(raw(place.path(), 1)?, "under the name of process 1"), (nameless, "without a name")]
    {
        for any in [true, false] {
            socket
                .send_to(b"who am I?", place.path().join(to.pid().to_string()))
                .map_err(|error| Stop::inconclusive(format!("cannot send: {error}")))?;
            let got = if any {
                to.receive_any(NEVER)?.0
            } else {
                to.receive(me, NEVER)?.0.map(|message| (me, message))
            };
            ensure!(
                got.as_ref().is_ok_and(|(pid, message)| *pid == me && message == b"who am I?"),
                expected: format!("a message that process {me} has sent {how} comes from process {me}"),
                observed: match &got {
                    Ok((pid, _)) => format!("it was received as one of process {pid}"),
                    Err(error) => format!("`{}` was the error {error}", if any { "receive_any" } else { "receive" }),
                },
                look: "where the receive gets the sender's number from: the credentials that the kernel adds, not the name"
            );
        }
    }
    honest.post(to.pid(), b"honest")?;
    let (got, _) = to.receive_any(NEVER)?;
    ensure!(
        got.as_ref().is_ok_and(|(pid, _)| *pid == honest.pid()),
        expected: format!("a message of process {}", honest.pid()),
        observed: format!("{got:?}"),
        look: "`Endpoint::receive_any`"
    );
    Ok(())
}

/// `Never` does not wait, `For` waits its time and no longer, `Forever` sleeps until a message comes.
pub fn receivers_wait_as_told(check: &mut Check) -> Outcome {
    let place = Place::new(check)?;
    let mut other = Process::start(check, &place)?;
    let silent = other.pid();
    let stage = Shared::new(AtomicU32::new(0));
    let directory = place.path().to_owned();
    let mut waiter = check.spawn("`receive` and `receive_any`", || -> Told<Waited> {
        let mut endpoint = told(Endpoint::open(&directory))?;
        let mut answers = Vec::new();
        for code in [NEVER, 30] {
            answers.push(timed(|| endpoint.receive_any(wait(code)).map(drop)));
            answers.push(timed(|| endpoint.receive(silent, wait(code)).map(drop)));
        }
        // From here on the check sends messages of its own all the time.
        stage.store(1, Ordering::Release);
        // So does this process, whenever the call is about to sleep: however busy the machine, no message is late.
        let own = directory.join(std::process::id().to_string());
        let talker = told(UnixDatagram::unbound())?;
        told(talker.set_nonblocking(true))?;
        let talks = Plan::new(move |call| {
            let _ = call.is("poll") && call.interruptible && talker.send_to(b"not for you", &own).is_ok();
            Action::Proceed
        });
        answers.push(timed(|| faults::with(talks, || endpoint.receive(silent, wait(60)).map(drop)).0));
        stage.store(2, Ordering::Release);
        let message = told(endpoint.receive(silent, wait(FOREVER)))?;
        Ok((answers, message))
    })?;
    let pid = waiter.pid();
    let talker = raw(place.path(), 1)?;
    let _ = talker.set_nonblocking(true);
    let name = place.path().join(pid.to_string());
    check.wait_until(
        "`receive(…, For(60 ms))` is over, while another process sends all the time",
        || {
            if stage.load(Ordering::Acquire) == 1 {
                let _ = talker.send_to(b"not for you", &name);
            }
            stage.load(Ordering::Acquire) == 2 || waiter.ended()
        },
    )?;
    check.wait_until("`receive(…, Forever)` sleeps", || {
        waiter.ended() || (stage.load(Ordering::Acquire) == 2 && asleep(pid))
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
    for (place, answer) in answers.iter().enumerate() {
        let call = ["receive_any", "receive", "receive_any", "receive", "receive"][place];
        if place < 2 {
            ensure!(
                is_error(&answer.0, "WouldBlock"),
                expected: format!("`{call}` with Never and no message is WouldBlock"),
                observed: show_done(&answer.0),
                look: format!("`Endpoint::{call}`")
            );
        } else {
            let code = if place < 4 { 30 } else { 60 };
            ensure!(
                timed_out(answer, code),
                expected: format!("`{call}` with For({code} ms) and no message is TimedOut after that time"),
                observed: format!("{} after {} ms", show_done(&answer.0), answer.1),
                look: format!("`Endpoint::{call}`: the time that is left, and the error when it is over")
            );
        }
    }
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
    let pid = sender.pid();
    check.wait_until("`send(…, Forever)` sleeps while the receiver's buffer is full", || {
        sender.ended() || (stage.load(Ordering::Acquire) == 1 && asleep(pid))
    })?;
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
    let plans: Vec<u64> = (0..45).collect();
    let seed = check.rng().next_u64() >> 8;
    let directory = place.path().to_owned();
    let answer = check.ask("`Endpoint` under interruptions", move || -> Told<()> {
        let me = std::process::id().cast_signed();
        for number in plans {
            let plan = match number {
                0..30 => one_interruption(number as usize),
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
    check.note("each of the first 30 calls interrupted, and 15 random patterns");
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
        let what = if sends { "`send`, waiting for room," } else { "`receive`, waiting for a message," };
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
        let me = waiter.pid();
        check.wait_until(&format!("{what} sleeps"), || {
            waiter.ended() || (stage.load(Ordering::Acquire) == 1 && asleep(me))
        })?;
        drop(victim);
        let answer = waiter.join()?.and_then(|answer| answer);
        ensure!(
            is_error(&answer, "BrokenPipe"),
            expected: format!("{what} is BrokenPipe when the other process is killed"),
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
