//! Part 6: a link that loses its peer.

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering};

use harness::faults::{self, Plan};
use harness::{Check, Outcome, Shared, Stop, ensure};
use messages::{MAX_MESSAGE, StreamLink};
use nix::sys::socket::{MsgFlags, send};

use super::{
    FOREVER, NEVER, Pair, Told, falls_asleep, in_words, is_error, let_sigpipe_kill, letters,
    one_interruption, show, show_done, timed, timed_out, told, wait,
};

fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u32).to_be_bytes(), message].concat()
}

/// Puts bytes on the stream, in one piece; the kernel has room for them.
fn put(stream: &OwnedFd, bytes: &[u8]) {
    let _ = send(stream.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT);
}

/// A pair whose two ends are in this process.
fn both() -> (OwnedFd, OwnedFd) {
    let (one, other) = UnixStream::pair().expect("a socket pair");
    (one.into(), other.into())
}

/// How the calls are disturbed: transfers cut to these lengths, or, if there are none, one call interrupted (below 100), or
/// both at random with this seed.
fn plan((lengths, seed): (Vec<usize>, u64)) -> Plan {
    match (lengths.is_empty(), seed) {
        (false, _) => Plan::short(lengths),
        (true, 0..100) => one_interruption(seed as usize),
        (true, seed) => Plan::random(seed),
    }
}

fn send_all(stream: OwnedFd, messages: &[Vec<u8>], how: (Vec<usize>, u64)) -> io::Result<()> {
    let mut link = StreamLink::new(stream);
    faults::with(plan(how), || messages.iter().try_for_each(|message| link.send(message))).0
}

/// Three messages, however the bytes are cut and the calls interrupted; and a stream that ends after each byte.
pub fn a_message_comes_whole_or_not_at_all(check: &mut Check) -> Outcome {
    const MOST: usize = 6;
    let mut disturbed: Vec<(Vec<usize>, u64)> = (1..12).map(|cut| (vec![cut], 1)).collect();
    disturbed.extend([(vec![1; 200], 1), (vec![3; 80], 1)]);
    disturbed.extend((0..12).map(|nth| (vec![], nth)));
    disturbed.extend((0..20).map(|_| (vec![], 100 + check.rng().below(1 << 40))));
    type Question = (Vec<Vec<u8>>, Vec<u8>, (Vec<usize>, u64));
    let mut student = check.respondent("`StreamLink`", |(sent, raw, how): Question| {
        let (mine, theirs) = both();
        if raw.is_empty() {
            // Sends, and the bytes on the wire are the answer.
            let answer = send_all(mine, &sent, how);
            let mut wire = Vec::new();
            let _ = UnixStream::from(theirs).read_to_end(&mut wire);
            return (vec![wire], told(answer));
        }
        let mut link = StreamLink::new(mine);
        // Receives what the wire holds until there is an error; it holds less than `MOST`.
        let _ = UnixStream::from(theirs).write_all(&raw);
        let mut got = Vec::new();
        let (end, _) = faults::with(plan(how), || {
            loop {
                match link.receive(wait(FOREVER)) {
                    Ok(message) => got.push(message),
                    Err(error) => return Err(error),
                }
                if got.len() == MOST {
                    return Ok(());
                }
            }
        });
        (got, told(end))
    })?;
    for how in &disturbed {
        let lengths = [check.rng().below(4) as usize, 0, 2 + check.rng().below(40) as usize];
        let messages: Vec<Vec<u8>> = lengths.iter().map(|&length| letters(check.rng(), length)).collect();
        let wire: Vec<u8> = messages.iter().flat_map(|message| framed(message)).collect();
        let (got, answer) = student.ask((messages.clone(), vec![], how.clone()))?;
        ensure!(answer.is_ok() && got[0] == wire, expected: format!("messages of {lengths:?} bytes, each as four bytes of length and its bytes, when `send` is cut short or interrupted"), observed: format!("{}, {}", show_done(&answer), in_words(&got[0])), look: "`StreamLink::send`: what it does when fewer bytes were taken, and after EINTR");
        let (got, end) = student.ask((vec![], wire, how.clone()))?;
        ensure!(
            got == messages && is_error(&end, "BrokenPipe"),
            expected: format!("messages of {lengths:?} bytes and then BrokenPipe, when `recv` is cut short or interrupted"),
            observed: format!("messages of {:?} bytes, then {}", got.iter().map(Vec::len).collect::<Vec<_>>(), show_done(&end)),
            look: match got == messages || got.len() == MOST {
                true => "`StreamLink::receive`: what `recv` returns at the end of the stream",
                false => "`StreamLink::receive`: both the length and the message may come in pieces",
            }
        );
    }
    // The peer dies after each byte of the second message.
    let whole = [framed(b"first"), framed(b"second")].concat();
    let border = framed(b"first").len();
    for cut in border..=whole.len() {
        let (got, end) = student.ask((vec![], whole[..cut].to_vec(), (vec![1; 40], 1)))?;
        let (count, error) = match cut {
            _ if cut == border => (1, "BrokenPipe"),
            _ if cut == whole.len() => (2, "BrokenPipe"),
            _ => (1, "UnexpectedEof"),
        };
        ensure!(
            got.len() == count && is_error(&end, error),
            expected: format!("{count} messages and then {error}, when the stream ends {} bytes into a message of 10", cut - border),
            observed: format!("{} messages, then {}", got.len(), show_done(&end)),
            look: "`StreamLink::receive`: an end between two messages, and one inside"
        );
    }
    let (got, end) = student.ask((
        vec![],
        [framed(b"ok"), (MAX_MESSAGE as u32 + 1).to_be_bytes().to_vec()].concat(),
        (vec![1; 9], 1),
    ))?;
    ensure!(got.len() == 1 && is_error(&end, "InvalidData"), expected: format!("the error InvalidData for a length of {}", MAX_MESSAGE + 1), observed: format!("{} messages, then {}", got.len(), show_done(&end)), look: "`StreamLink::receive`: look at the length before you believe it");
    let (wire, answer) = student.ask((vec![vec![b'x'; MAX_MESSAGE + 1]], vec![], (vec![1], 1)))?;
    ensure!(is_error(&answer, "InvalidInput") && wire[0].is_empty(), expected: format!("the error InvalidInput for a message of {} bytes, and nothing sent", MAX_MESSAGE + 1), observed: format!("{}, {} bytes", show_done(&answer), wire[0].len()), look: "`StreamLink::send`");
    check.note(format!("{} ways to cut and interrupt; an end after each byte", disturbed.len()));
    Ok(())
}

/// A message that comes in pieces, with a timeout between them.
pub fn a_timeout_keeps_half_a_message(check: &mut Check) -> Outcome {
    let (mine, theirs) = Pair::stream().map(|pair| (pair.one.take(), pair.other.take()))?;
    let (Some(mine), Some(theirs)) = (mine, theirs) else { return Err(Stop::inconclusive("no socket pair")) };
    let mut mine = Some(mine);
    let mut link = None;
    let mut student = check.respondent("`StreamLink::receive`", move |code: i64| {
        let link = link.get_or_insert_with(|| StreamLink::new(mine.take().expect("taken once")));
        timed(|| link.receive(wait(code)))
    })?;
    for round in 0..12usize {
        let length = 3 + check.rng().below(30) as usize;
        let message = letters(check.rng(), length);
        let wire = framed(&message);
        let cuts = [1 + round % 5, 5 + check.rng().below(message.len() as u64 - 1) as usize];
        let mut sent = 0;
        for cut in cuts.into_iter().filter(|&cut| cut < wire.len()) {
            if cut > sent {
                put(&theirs, &wire[sent..cut]);
                sent = cut;
            }
            let code = if round % 3 == 0 { 10 } else { NEVER };
            let got = student.ask(code)?;
            let over = if code == NEVER { is_error(&got.0, "WouldBlock") } else { timed_out(&got, code) };
            ensure!(over, expected: format!("`receive` is {} with {cut} of {} bytes there", if code == NEVER { "WouldBlock" } else { "TimedOut after 10 ms" }, wire.len()), observed: format!("{} after {} ms", show(&got.0), got.1), look: "`StreamLink::receive`");
        }
        put(&theirs, &wire[sent..]);
        let (got, _) = student.ask(FOREVER)?;
        ensure!(
            got.as_ref() == Ok(&message),
            expected: format!("{}, which came in pieces, with calls that gave up in between", in_words(&message)),
            observed: show(&got),
            look: "`StreamLink::receive`: where the bytes are that an earlier call has read"
        );
    }
    check.note("12 messages in two or three pieces");
    Ok(())
}

/// The peer is gone before, and while, this side sends or receives; SIGPIPE would end the process.
pub fn a_lost_peer_is_no_signal(check: &mut Check) -> Outcome {
    let answers = check.ask("`StreamLink` whose peer has gone", || {
        let_sigpipe_kill();
        let (mine, theirs) = both();
        let mut link = StreamLink::new(mine);
        put(&theirs, &framed(b"last words"));
        let sent = told(link.send(b"unread"));
        // What was sent to it is unread: the kernel says ECONNRESET here, and not the end of the stream.
        drop(theirs);
        let received = told(link.receive(wait(FOREVER)));
        let ends: Vec<Told<Vec<u8>>> = (0..2).map(|_| told(link.receive(wait(FOREVER)))).collect();
        let sends: Vec<Told<Vec<u8>>> =
            (0..2).map(|_| told(link.send(b"to nobody").map(|()| vec![]))).collect();
        (sent, received, ends, sends)
    })?;
    let (sent, received, ends, sends) = answers;
    ensure!(sent.is_ok() && received.as_deref() == Ok(b"last words"), expected: "what the peer has sent is received after its end: \"last words\"", observed: show(&received), look: "`StreamLink::receive`");
    for (answers, name) in [(ends, "receive"), (sends, "send")] {
        for answer in answers {
            ensure!(is_error(&answer, "BrokenPipe"), expected: format!("`{name}` is BrokenPipe when the peer has gone and has left a message unread"), observed: show(&answer), look: format!("`StreamLink::{name}`: EPIPE and ECONNRESET are the same news"));
        }
    }
    for sends in [true, false] {
        let what = if sends { "`StreamLink::send`, waiting for room," } else { "`StreamLink::receive`" };
        let pair = Pair::stream()?;
        let stage = Shared::new(AtomicU32::new(0));
        let mut waiter = check.spawn(what, || -> Told<Vec<u8>> {
            let_sigpipe_kill();
            let mut link = StreamLink::new(pair.one());
            stage.store(1, Ordering::Release);
            if !sends {
                return told(link.receive(wait(FOREVER)));
            }
            (0..10_000).try_for_each(|_| told(link.send(&[b'x'; MAX_MESSAGE]))).map(|()| vec![])
        })?;
        let peer = check.spawn("a peer that does nothing", || -> () {
            let _stream = pair.other();
            loop {
                std::thread::park();
            }
        })?;
        pair.leave_to_workers();
        falls_asleep(check, &format!("{what} sleeps"), &mut waiter, || stage.load(Ordering::Acquire) == 1)?;
        ensure!(!waiter.ended(), expected: format!("{what} with Forever waits while the peer lives"), observed: "it returned", look: what);
        peer.kill();
        let answer = waiter.join()?;
        ensure!(is_error(&answer, "BrokenPipe"), expected: format!("{what} is BrokenPipe when the peer is killed meanwhile"), observed: show(&answer), look: what);
    }
    Ok(())
}

/// One of two processes is killed after a random number of messages; the other one gets whole messages, then an error.
pub fn killed_at_any_moment(check: &mut Check) -> Outcome {
    const ROUNDS: usize = 12;
    for round in 0..ROUNDS {
        let kill_sender = round % 2 == 0;
        let pair = Pair::stream()?;
        let count = Shared::new(AtomicU32::new(0));
        let message = |number: u32| {
            let mut message = number.to_be_bytes().to_vec();
            message.resize(4 + (number as usize * 211) % (MAX_MESSAGE - 4), number as u8);
            message
        };
        let mut sender = check.spawn("`StreamLink::send`", || -> Told<()> {
            let_sigpipe_kill();
            let mut link = StreamLink::new(pair.one());
            (0..).try_for_each(|number| told(link.send(&message(number))))
        })?;
        let mut receiver = check.spawn("`StreamLink::receive`", || -> (Option<u32>, Told<Vec<u8>>) {
            let_sigpipe_kill();
            let mut link = StreamLink::new(pair.other());
            for number in 0.. {
                match told(link.receive(wait(FOREVER))) {
                    Ok(got) if got == message(number) => drop(count.fetch_add(1, Ordering::AcqRel)),
                    Ok(got) => return (Some(number), Ok(got)),
                    Err(error) => return (None, Err(error)),
                }
            }
            (None, Ok(vec![]))
        })?;
        pair.leave_to_workers();
        let moment = check.rng().below(200) as u32;
        check.wait_until(&format!("{moment} messages have come"), || {
            count.load(Ordering::Acquire) >= moment || sender.ended() || receiver.ended()
        })?;
        if sender.ended() || receiver.ended() {
            let (_, end) = receiver.join()?;
            let answer = sender.join()?;
            let came = count.load(Ordering::Acquire);
            return Err(Stop::failed(
                "messages come, as they were sent, as long as nobody is killed",
                format!(
                    "after {came} messages `receive` returned {}, and `send` {}",
                    show(&end),
                    show_done(&answer)
                ),
                "`StreamLink::receive` and `send`",
            ));
        }
        if kill_sender {
            sender.kill();
            let (wrong, end) = receiver.join()?;
            ensure!(wrong.is_none(), expected: format!("message {} as it was sent, or an error, for the sender was killed", wrong.unwrap_or(0)), observed: show(&end), look: "`StreamLink::receive`: what `recv` returns when the peer is gone");
            ensure!(
                is_error(&end, "BrokenPipe") || is_error(&end, "UnexpectedEof"),
                expected: "BrokenPipe, or UnexpectedEof in the middle of a message, when the sender is killed",
                observed: show(&end),
                look: "`StreamLink::receive`"
            );
        } else {
            receiver.kill();
            let answer = sender.join()?;
            ensure!(is_error(&answer, "BrokenPipe"), expected: "`send` is BrokenPipe when the receiver is killed", observed: show_done(&answer), look: "`StreamLink::send`");
        }
    }
    check.note(format!("{ROUNDS} links, one side killed after a random number of messages"));
    Ok(())
}
