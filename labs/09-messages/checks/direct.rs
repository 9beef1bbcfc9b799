//! Part 1: direct messages.

use std::os::unix::net::UnixDatagram;
use std::path::Path;

use harness::{Check, Outcome, Respondent, Stop, ensure};
use messages::{Endpoint, MAX_MESSAGE};

use super::{NEVER, Place, Told, in_words, is_error, letters, show, show_done, timed, told, wait};

/// (what to do, with which process, the message, how long to wait)
type Question = (u8, i32, Vec<u8>, i64);
/// (sender and message, milliseconds)
type Answer = (Told<(i32, Vec<u8>)>, u64);

const OPEN: u8 = 0;
const SEND: u8 = 1;
const RECEIVE: u8 = 2;
const ANY: u8 = 3;

/// A process with an endpoint of its own, which does what it is told.
pub struct Process(Respondent<Question, Answer>);

impl Process {
    pub fn start(check: &Check, place: &Place) -> Result<Process, Stop> {
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

    pub fn pid(&self) -> i32 {
        self.0.pid()
    }

    pub fn send(&mut self, to: i32, message: &[u8], code: i64) -> Result<(Told<()>, u64), Stop> {
        let (answer, took) = self.0.ask((SEND, to, message.to_vec(), code))?;
        Ok((answer.map(drop), took))
    }

    pub fn receive(&mut self, from: i32, code: i64) -> Result<(Told<Vec<u8>>, u64), Stop> {
        let (answer, took) = self.0.ask((RECEIVE, from, vec![], code))?;
        Ok((answer.map(|(_, message)| message), took))
    }

    pub fn receive_any(&mut self, code: i64) -> Result<Answer, Stop> {
        self.0.ask((ANY, 0, vec![], code))
    }

    /// Sends what must be accepted at once.
    pub fn post(&mut self, to: i32, message: &[u8]) -> Outcome {
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
pub fn raw(directory: &Path, name: i32) -> Result<UnixDatagram, Stop> {
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
