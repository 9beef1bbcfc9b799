//! Part 2: mailboxes and sets of them.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use harness::{Check, Outcome, Respondent, Shared, Stop, Student, ensure};
use messages::{MAX_MESSAGE, Mailbox, Message};

use super::{
    FOREVER, NEVER, Place, Told, falls_asleep, in_words, is_error, letters, show, show_done, timed,
    timed_out, told, wait,
};

/// (what to do, the message, how long to wait)
pub type Question = (u8, Vec<u8>, i64);
/// (sender and message, milliseconds)
pub type Answer = (Told<(i32, Vec<u8>)>, u64);

pub const OPEN: u8 = 0;
const SEND: u8 = 1;
const RECEIVE: u8 = 2;
const LEAVE: u8 = 3;

/// A process that uses one mailbox, and does what it is told.
pub struct User(pub Respondent<Question, Answer>);

impl User {
    pub fn start(check: &Check, path: PathBuf) -> Result<User, Stop> {
        let mut mailbox: Option<Mailbox> = None;
        let respondent = check.respondent("`Mailbox`", move |(what, message, code): Question| -> Answer {
            timed(|| match (what, &mailbox) {
                (OPEN, _) => {
                    mailbox = Some(Mailbox::open(&path)?);
                    Ok((0, vec![]))
                }
                (SEND, Some(mailbox)) => mailbox.send(&message, wait(code)).map(|()| (0, vec![])),
                (RECEIVE, Some(mailbox)) => mailbox.receive(wait(code)).map(|got| (got.sender, got.bytes)),
                _ => {
                    mailbox = None;
                    Ok((0, vec![]))
                }
            })
        })?;
        Ok(User(respondent))
    }

    /// A process that has the mailbox open.
    pub fn of(check: &Check, path: PathBuf) -> Result<User, Stop> {
        let mut user = User::start(check, path)?;
        let (opened, _) = user.0.ask((OPEN, vec![], NEVER))?;
        ensure!(opened.is_ok(), expected: "`Mailbox::open` succeeds", observed: show_done(&opened), look: "`Mailbox::open`");
        Ok(user)
    }

    pub fn send(&mut self, message: &[u8], code: i64) -> Result<(Told<()>, u64), Stop> {
        let (answer, took) = self.0.ask((SEND, message.to_vec(), code))?;
        Ok((answer.map(drop), took))
    }

    pub fn post(&mut self, message: &[u8]) -> Outcome {
        let (answer, _) = self.send(message, NEVER)?;
        ensure!(answer.is_ok(), expected: format!("`send` of {} to a mailbox with room succeeds at once", in_words(message)), observed: show_done(&answer), look: "`Mailbox::send`");
        Ok(())
    }

    pub fn receive(&mut self, code: i64) -> Result<Answer, Stop> {
        self.0.ask((RECEIVE, vec![], code))
    }

    /// Receives this message of this process.
    pub fn expect(&mut self, sender: i32, message: &[u8], look: &str) -> Outcome {
        let (got, _) = self.receive(NEVER)?;
        ensure!(
            got.as_ref().is_ok_and(|(pid, bytes)| *pid == sender && bytes == message),
            expected: format!("{} from process {sender}", in_words(message)),
            observed: match &got {
                Ok((pid, bytes)) => format!("{} from process {pid}", in_words(bytes)),
                Err(error) => format!("the error {error}"),
            },
            look: look
        );
        Ok(())
    }

    pub fn leave(&mut self) -> Outcome {
        self.0.ask((LEAVE, vec![], NEVER)).map(drop)
    }
}

/// A numbered message of one of the senders, recognisable to the last byte.
fn numbered(sender: u8, number: u32, length: usize) -> Vec<u8> {
    let mut message = vec![sender];
    message.extend(number.to_be_bytes());
    message.resize(5 + length, b'A' + sender);
    message
}

/// The sender and the number of a whole message.
fn read_number(message: &[u8]) -> Option<(u8, u32)> {
    let (&sender, rest) = message.split_first()?;
    let (number, filler) = rest.split_first_chunk()?;
    filler.iter().all(|&byte| byte == b'A' + sender).then_some((sender, u32::from_be_bytes(*number)))
}

type Received = Told<Vec<(i32, Vec<u8>)>>;

/// A process that receives until somebody sends "end".
/// Counts the messages of each of two senders.
fn receiver(check: &Check, path: PathBuf, count: &Shared<[AtomicU32; 2]>) -> Result<Student<Received>, Stop> {
    check.spawn("`Mailbox::receive` until \"end\"", || {
        let mailbox = told(Mailbox::open(&path))?;
        let mut all = Vec::new();
        loop {
            let Message { sender, bytes } = told(mailbox.receive(wait(FOREVER)))?;
            if bytes == b"end" {
                return Ok(all);
            }
            if let Some(count) = bytes.first().and_then(|&sender| count.get(usize::from(sender))) {
                count.fetch_add(1, Ordering::AcqRel);
            }
            all.push((sender, bytes));
        }
    })
}

/// Each sender's numbers in what a receiver got, if all of it is whole and in order.
fn in_order(received: &[(i32, Vec<u8>)], senders: &[i32]) -> Result<Vec<Vec<u32>>, Stop> {
    let mut numbers: Vec<Vec<u32>> = vec![Vec::new(); senders.len()];
    for (pid, message) in received {
        let whole = read_number(message).filter(|(sender, _)| usize::from(*sender) < senders.len());
        let Some((sender, number)) = whole else {
            return Err(Stop::failed(
                "messages as they were sent: a sender, a number, and one letter over and over",
                in_words(message),
                "`Mailbox::send` and `receive`: a message and its header are one write and one read",
            ));
        };
        let sender = usize::from(sender);
        ensure!(*pid == senders[sender], expected: format!("`Message::sender` is {}", senders[sender]), observed: format!("{pid}"), look: "`Message::sender`");
        ensure!(
            numbers[sender].last().is_none_or(|&last| last < number),
            expected: "a receiver gets the messages of one sender in the order of sending, each once",
            observed: format!("number {number} after {:?}", numbers[sender].last()),
            look: "`Mailbox::receive`"
        );
        numbers[sender].push(number);
    }
    Ok(numbers)
}

/// Two senders, two receivers, none related: each message goes to one receiver, whole.
pub fn unrelated_processes_share_a_mailbox(check: &mut Check) -> Outcome {
    const MESSAGES: u32 = 100;
    let place = Place::new(check)?;
    let path = place.path().join("box");
    let mut user = User::of(check, path.clone())?;
    let me = user.0.pid();
    for length in [0, 1, 0, 0, MAX_MESSAGE] {
        let message = letters(check.rng(), length);
        user.post(&message)?;
        user.expect(me, &message, "`Mailbox::send` and `receive` of one message: the sender's number and the message travel in one write")?;
    }
    let (answer, _) = user.send(&vec![b'x'; MAX_MESSAGE + 1], NEVER)?;
    ensure!(is_error(&answer, "InvalidInput"), expected: format!("the error InvalidInput for {} bytes", MAX_MESSAGE + 1), observed: show_done(&answer), look: "`Mailbox::send`");
    let count = Shared::new([const { AtomicU32::new(0) }; 2]);
    let receivers = [receiver(check, path.clone(), &count)?, receiver(check, path.clone(), &count)?];
    let mut senders = Vec::new();
    for sender in 0..2u8 {
        let (path, seed) = (path.clone(), check.rng().next_u64());
        senders.push(check.spawn("`Mailbox::send`", move || -> Told<()> {
            let mailbox = told(Mailbox::open(&path))?;
            let mut rng = harness::Rng::new(seed);
            for number in 0..MESSAGES {
                let length = rng.below(MAX_MESSAGE as u64 - 5) as usize;
                told(mailbox.send(&numbered(sender, number, length), wait(FOREVER)))?;
            }
            Ok(())
        })?);
    }
    let pids: Vec<i32> = senders.iter().map(Student::pid).collect();
    for sender in senders {
        let answer = sender.join()?;
        ensure!(answer.is_ok(), expected: "every `send` succeeds", observed: show_done(&answer), look: "`Mailbox::send`");
    }
    for _ in &receivers {
        let (answer, _) = user.send(b"end", FOREVER)?;
        ensure!(answer.is_ok(), expected: "`send` succeeds", observed: show_done(&answer), look: "`Mailbox::send`");
    }
    let mut numbers: Vec<Vec<u32>> = vec![Vec::new(); 2];
    for receiver in receivers {
        let received = receiver.join()?.map_err(|error| {
            Stop::failed("messages until \"end\"", format!("the error {error}"), "`Mailbox::receive`")
        })?;
        for (all, some) in numbers.iter_mut().zip(in_order(&received, &pids)?) {
            all.extend(some);
        }
    }
    for mut all in numbers {
        all.sort_unstable();
        ensure!(
            all.iter().copied().eq(0..MESSAGES),
            expected: format!("each of {MESSAGES} messages goes to one of the two receivers, once"),
            observed: format!("{} were received", all.len()),
            look: "`Mailbox::send` and `receive`"
        );
    }
    check.note(format!("{} messages, 2 senders, 2 receivers", 2 * MESSAGES));
    Ok(())
}

/// An empty mailbox and a full one, with every kind of `Wait`.
pub fn a_mailbox_waits_as_told(check: &mut Check) -> Outcome {
    let place = Place::new(check)?;
    let path = place.path().join("box");
    let mut user = User::of(check, path.clone())?;
    let me = user.0.pid();
    let (got, _) = user.receive(NEVER)?;
    ensure!(is_error(&got, "WouldBlock"), expected: "`receive` with Never from an empty mailbox is WouldBlock", observed: show_done(&got), look: "`Mailbox::receive`");
    let got = user.receive(30)?;
    ensure!(timed_out(&got, 30), expected: "`receive` with For(30 ms) from an empty mailbox is TimedOut after that time", observed: format!("{} after {} ms", show_done(&got.0), got.1), look: "`Mailbox::receive`");
    let mut count = 0u32;
    let full = loop {
        match user.send(&numbered(0, count, 1000), NEVER)?.0 {
            Ok(()) if count < 70_000 => count += 1,
            full => break full,
        }
    };
    ensure!(
        is_error(&full, "WouldBlock") && count > 0,
        expected: "a mailbox holds some messages, at most what a pipe holds, and then `send` with Never is WouldBlock",
        observed: format!("{} after {count} messages", show_done(&full)),
        look: "`Mailbox::send`"
    );
    let late = user.send(b"late", 30)?;
    ensure!(timed_out(&late, 30), expected: "`send` with For(30 ms) to a full mailbox is TimedOut after that time", observed: format!("{} after {} ms", show_done(&late.0), late.1), look: "`Mailbox::send`");
    // One who waits to send, then one who waits to receive.
    for sends in [true, false] {
        let (path, stage) = (path.clone(), Shared::new(AtomicU32::new(0)));
        let what = if sends { "`send` to a full mailbox" } else { "`receive` from an empty mailbox" };
        let mut waiter = check.spawn(what, || -> Told<Vec<u8>> {
            let mailbox = told(Mailbox::open(&path))?;
            stage.store(1, Ordering::Release);
            match sends {
                true => told(mailbox.send(b"waited", wait(FOREVER)).map(|()| vec![])),
                false => told(mailbox.receive(wait(FOREVER)).map(|message| message.bytes)),
            }
        })?;
        let pid = waiter.pid();
        falls_asleep(check, &format!("{what} sleeps"), &mut waiter, || stage.load(Ordering::Acquire) == 1)?;
        ensure!(!waiter.ended(), expected: format!("{what} with Forever waits"), observed: "it returned", look: what);
        if sends {
            for number in 0..count {
                user.expect(
                    me,
                    &numbered(0, number, 1000),
                    "what is in the mailbox after `send` has failed",
                )?;
            }
        } else {
            user.post(b"here")?;
        }
        let answer = waiter.join()?;
        let wanted: &[u8] = if sends { b"" } else { b"here" };
        ensure!(answer.as_deref() == Ok(wanted), expected: format!("{what} goes on when it can"), observed: show(&answer), look: what);
        if sends {
            user.expect(pid, b"waited", "the message that waited for room")?;
        }
    }
    check.note(format!("the mailbox held {count} messages of 1,005 bytes"));
    Ok(())
}

/// A receiver is killed after it has taken one of several messages: the next receiver gets the others.
fn the_others_stay_in_the_mailbox(check: &Check) -> Outcome {
    const MOST: u32 = 6;
    let place = Place::new(check)?;
    let path = place.path().join("box");
    let (mut killed, mut user) = (User::of(check, path.clone())?, User::of(check, path)?);
    let (me, victim) = (user.0.pid(), killed.0.pid());
    let message = |number: u32| format!("message {number}").into_bytes();
    user.post(&message(0))?;
    let mut waiting = 1;
    while waiting < MOST && user.send(&message(waiting), NEVER)?.0.is_ok() {
        waiting += 1;
    }
    killed.expect(
        me,
        &message(0),
        "`Mailbox::send` and `receive`: a message and its header are one write and one read, whatever else is in the mailbox",
    )?;
    // It waits for the next question, and its call of `receive` is over: what it holds now dies with it.
    drop(killed);
    for number in 1..waiting {
        let (got, _) = user.receive(NEVER)?;
        ensure!(
            got.as_ref().is_ok_and(|(sender, bytes)| *sender == me && *bytes == message(number)),
            expected: format!("{waiting} messages were in the mailbox, process {victim} has received the first and was killed: the next receiver gets the other {}", waiting - 1),
            observed: format!("{} came, then {}", number - 1, show(&got.map(|(_, bytes)| bytes))),
            look: "`Mailbox::receive`: it takes one message out of the mailbox; what it reads ahead, into memory of its own, is lost with the process"
        );
    }
    let (got, _) = user.receive(NEVER)?;
    ensure!(is_error(&got, "WouldBlock"), expected: "an empty mailbox after the last message", observed: show(&got.map(|(_, bytes)| bytes)), look: "`Mailbox::receive`: each message is taken once, also by one who is killed afterwards");
    Ok(())
}

/// A sender and a receiver are killed at random moments; the others lose at most the message of the killed one.
pub fn killed_users_harm_nobody(check: &mut Check) -> Outcome {
    const MESSAGES: u32 = 120;
    const ROUNDS: usize = 3;
    // More than the random moments ask for, and not without end: what is received must not grow while a busy machine keeps us from
    // killing the sender.
    const MANY: u32 = 10_000;
    the_others_stay_in_the_mailbox(check)?;
    for _ in 0..ROUNDS {
        let place = Place::new(check)?;
        let path = place.path().join("box");
        let mut user = User::of(check, path.clone())?;
        let [by_doomed, by_survivor] = [(); 2].map(|()| Shared::new([const { AtomicU32::new(0) }; 2]));
        let (doomed, survivor) =
            (receiver(check, path.clone(), &by_doomed)?, receiver(check, path.clone(), &by_survivor)?);
        let sender = |number: u8, messages: u32| {
            let path = path.clone();
            check.spawn("`Mailbox::send`", move || -> Told<()> {
                let mailbox = told(Mailbox::open(&path))?;
                for at in 0..messages {
                    let length = (at as usize * 37) % 900;
                    told(mailbox.send(&numbered(number, at, length), wait(FOREVER)))?;
                }
                match messages {
                    // This one is to be killed: it does not leave before.
                    MANY => loop {
                        std::thread::park();
                    },
                    _ => Ok(()),
                }
            })
        };
        let (mut endless, mut steady) = (sender(0, MANY)?, sender(1, MESSAGES)?);
        let pids = [endless.pid(), steady.pid()];
        let moments = [check.rng().below(200) as u32, check.rng().below(200) as u32];
        let all =
            || by_doomed.iter().chain(by_survivor.iter()).map(|count| count.load(Ordering::Acquire)).sum();
        let reached = |moment: u32| -> bool { moment <= all() };
        let sender_first = moments[0] < moments[1];
        let (first, second) = (moments[0].min(moments[1]), moments[0].max(moments[1]));
        check.wait_until("messages flow", || reached(first) || endless.ended() || steady.ended())?;
        let mut victims = (Some(endless), Some(doomed));
        if sender_first {
            drop(victims.0.take());
        } else {
            drop(victims.1.take());
        }
        // A single sender or receiver is left of those two; the second one goes while the rest still works, or after.
        check.wait_until("messages flow after a user was killed", || reached(second) || steady.ended())?;
        drop(victims);
        let answer = steady.join()?;
        ensure!(answer.is_ok(), expected: "every `send` of a process that lives on succeeds", observed: show_done(&answer), look: "`Mailbox::send`");
        let (answer, _) = user.send(b"end", FOREVER)?;
        ensure!(answer.is_ok(), expected: "`send` succeeds", observed: show_done(&answer), look: "`Mailbox::send`");
        let received = survivor.join()?.map_err(|error| {
            Stop::failed(
                "the messages of those who live on",
                format!("the error {error}"),
                "`Mailbox::receive`",
            )
        })?;
        let numbers = in_order(&received, &pids)?;
        let taken = numbers[1].len() as u32 + by_doomed[1].load(Ordering::Acquire);
        ensure!(
            (MESSAGES - 1..=MESSAGES).contains(&taken),
            expected: format!("all {MESSAGES} messages of the sender that lives on are received, but for one that the killed receiver may have had in its hands"),
            observed: format!("{taken} were received"),
            look: "`Mailbox::receive`: what is lost with a receiver that dies"
        );
        let (got, _) = user.receive(NEVER)?;
        ensure!(is_error(&got, "WouldBlock"), expected: "an empty mailbox after \"end\"", observed: show_done(&got), look: "`Mailbox::receive`");
        user.leave()?;
        ensure!(!path.exists(), expected: "no name left after the last living user has left", observed: "the name is there", look: "`impl Drop for Mailbox`");
    }
    check.note(format!("a receiver killed with messages waiting; {ROUNDS} times a sender and a receiver killed after a random number of messages"));
    Ok(())
}
