//! Part 2: mailboxes and sets of them.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use harness::faults::{self, Action, Plan};
use harness::{Check, Outcome, Respondent, Shared, Stop, Student, ensure};
use messages::{MAX_MESSAGE, Mailbox, MailboxSet, Message};

use super::{
    FOREVER, NEVER, Place, Told, asleep, in_words, is_error, letters, show, show_done, timed, timed_out,
    told, wait,
};

/// (what to do, the message, how long to wait)
type Question = (u8, Vec<u8>, i64);
/// (sender and message, milliseconds)
type Answer = (Told<(i32, Vec<u8>)>, u64);

const OPEN: u8 = 0;
const SEND: u8 = 1;
const RECEIVE: u8 = 2;
const LEAVE: u8 = 3;

/// A process that uses one mailbox, and does what it is told.
struct User(Respondent<Question, Answer>);

impl User {
    fn start(check: &Check, path: PathBuf) -> Result<User, Stop> {
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
    fn of(check: &Check, path: PathBuf) -> Result<User, Stop> {
        let mut user = User::start(check, path)?;
        let (opened, _) = user.0.ask((OPEN, vec![], NEVER))?;
        ensure!(opened.is_ok(), expected: "`Mailbox::open` succeeds", observed: show_done(&opened), look: "`Mailbox::open`");
        Ok(user)
    }

    fn send(&mut self, message: &[u8], code: i64) -> Result<(Told<()>, u64), Stop> {
        let (answer, took) = self.0.ask((SEND, message.to_vec(), code))?;
        Ok((answer.map(drop), took))
    }

    fn post(&mut self, message: &[u8]) -> Outcome {
        let (answer, _) = self.send(message, NEVER)?;
        ensure!(answer.is_ok(), expected: format!("`send` of {} to a mailbox with room succeeds at once", in_words(message)), observed: show_done(&answer), look: "`Mailbox::send`");
        Ok(())
    }

    fn receive(&mut self, code: i64) -> Result<Answer, Stop> {
        self.0.ask((RECEIVE, vec![], code))
    }

    /// Receives this message of this process.
    fn expect(&mut self, sender: i32, message: &[u8], look: &str) -> Outcome {
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

    fn leave(&mut self) -> Outcome {
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
        user.expect(me, &message, "`Mailbox::send` and `receive` of one message")?;
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
        check.wait_until(&format!("{what} sleeps"), || {
            waiter.ended() || (stage.load(Ordering::Acquire) == 1 && asleep(pid))
        })?;
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

/// The name lives as long as there are users, and not longer, however they leave.
pub fn the_last_user_removes_the_mailbox(check: &mut Check) -> Outcome {
    let place = Place::new(check)?;
    let path = place.path().join("box");
    let look = "`impl Drop for Mailbox`: how a user finds out that it is the last one";
    let named = |wanted: bool, when: &str| -> Outcome {
        let there = path.symlink_metadata().is_ok();
        let words = |there| if there { "the name is there" } else { "the name is gone" };
        ensure!(there == wanted, expected: format!("{}: {when}", words(wanted)), observed: words(there), look: look);
        Ok(())
    };
    let (mut a, mut b) = (User::of(check, path.clone())?, User::of(check, path.clone())?);
    named(true, "two users have opened it")?;
    a.post(b"from a")?;
    a.leave()?;
    named(true, "one of two users has left")?;
    let mut c = User::of(check, path.clone())?;
    b.post(b"from b")?;
    b.leave()?;
    named(true, "the first two users have left, a third has come")?;
    c.expect(a.0.pid(), b"from a", "`Mailbox::open` of a name that is in use")?;
    c.expect(b.0.pid(), b"from b", "`Mailbox::open` of a name that is in use")?;
    c.leave()?;
    named(false, "the last user has left")?;
    // Killed users do not count.
    let (killed, mut left) = (User::of(check, path.clone())?, User::of(check, path.clone())?);
    drop(killed);
    left.post(b"still")?;
    left.expect(left.0.pid(), b"still", "a mailbox one of whose users was killed")?;
    left.leave()?;
    named(false, "one user was killed, the other one has left")?;
    // The very last one is killed, with a message left in the box.
    let mut last = User::of(check, path.clone())?;
    last.post(b"nobody's")?;
    drop(last);
    let mut next = User::of(check, path.clone())?;
    let (got, _) = next.receive(NEVER)?;
    ensure!(is_error(&got, "WouldBlock"), expected: "an empty mailbox, after its only user was killed", observed: show(&got.map(|(_, bytes)| bytes)), look: "where the messages live");
    next.leave()?;
    named(false, "the next user has left")?;
    // Somebody else's file.
    let file = place.path().join("file");
    fs::write(&file, "text").map_err(|error| Stop::inconclusive(error.to_string()))?;
    let (opened, _) = User::start(check, file.clone())?.0.ask((OPEN, vec![], NEVER))?;
    let text = fs::read_to_string(&file).unwrap_or_default();
    ensure!(is_error(&opened, "InvalidInput") && text == "text", expected: "the error InvalidInput for a regular file, which stays as it is", observed: format!("{}, and the file holds {text:?}", show_done(&opened)), look: "`Mailbox::open`: ask fstat what was opened");
    Ok(())
}

/// The last user leaves just before each system call of one who opens: whoever comes next meets the opener all the same.
pub fn one_name_is_one_mailbox(check: &mut Check) -> Outcome {
    const STAYS: u32 = 0;
    const LEAVES: u32 = 1;
    const HAS_LEFT: u32 = 2;
    for at in 0..12 {
        let place = Place::new(check)?;
        let path = place.path().join("box");
        let (stage, ready) = (Shared::new(AtomicU32::new(STAYS)), Shared::new(AtomicU32::new(0)));
        let mut last = check.spawn("the last user of a mailbox", || -> Told<()> {
            let mailbox = told(Mailbox::open(&path))?;
            ready.store(1, Ordering::Release);
            // No system call here: whoever sleeps from now on sleeps in `drop`.
            while stage.load(Ordering::Acquire) == STAYS {
                std::hint::spin_loop();
            }
            drop(mailbox);
            stage.store(HAS_LEFT, Ordering::Release);
            Ok(())
        })?;
        check.wait_until("the mailbox is open", || ready.load(Ordering::Acquire) == 1 || last.ended())?;
        let pid = last.pid();
        let opener =
            check.spawn("`Mailbox::open`, while the last user leaves", || -> Told<(String, Told<()>)> {
                let stage = &*stage as *const AtomicU32 as usize;
                let mut calls = 0;
                let met = Shared::new(AtomicU32::new(0));
                let seen = &*met as *const AtomicU32 as usize;
                let plan = Plan::new(move |_| {
                    if calls == at {
                        // SAFETY: the shared words outlive the plan, which ends before this worker does.
                        let (stage, seen) =
                            unsafe { (&*(stage as *const AtomicU32), &*(seen as *const AtomicU32)) };
                        seen.store(1, Ordering::Relaxed);
                        stage.store(LEAVES, Ordering::Release);
                        // One who leaves may have to wait for us.
                        while stage.load(Ordering::Acquire) != HAS_LEFT && !asleep(pid) {
                            std::thread::yield_now();
                        }
                    }
                    calls += 1;
                    Action::Proceed
                });
                let (mailbox, log) = faults::with(plan, || Mailbox::open(&path));
                if met.load(Ordering::Relaxed) == 0 {
                    return Ok(("done".to_owned(), Ok(())));
                }
                let before = log.get(at).map_or("the next call", |call| call.name).to_owned();
                let mailbox = told(mailbox)?;
                let sent = told(mailbox.send(b"to whoever comes", wait(NEVER)));
                // A third one, who comes later, and stays in this process as long as the second.
                let got = told(Mailbox::open(&path)).and_then(|third| told(third.receive(wait(NEVER))));
                Ok((before, sent.and(got.map(drop))))
            })?;
        let (before, met) = opener.join()?.map_err(|error| {
            Stop::failed(
                format!("`Mailbox::open` succeeds, also when the last user leaves before its system call number {}", at + 1),
                format!("the error {error}"),
                "`Mailbox::open`: the name may vanish while it works",
            )
        })?;
        if before == "done" {
            // `open` makes no more calls than that.
            check.note(format!("the last user left before each of the {at} system calls of `open`"));
            return Ok(());
        }
        check.wait_until("the last user has left", || last.ended())?;
        ensure!(
            met.is_ok(),
            expected: format!("two processes that open the same name share one mailbox, also when the user before them left just before the {before} of the first one"),
            observed: format!("what the first sends does not reach the second: {}", show_done(&met)),
            look: "`Mailbox::open`: is the name still that of what was opened, once you are counted in?"
        );
    }
    check.note("the last user left before each of the first 12 system calls of `open`");
    Ok(())
}

/// A sender and a receiver are killed at random moments; the others lose at most the message of the killed one.
pub fn killed_users_harm_nobody(check: &mut Check) -> Outcome {
    const MESSAGES: u32 = 120;
    const ROUNDS: usize = 3;
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
                Ok(())
            })
        };
        let (mut endless, mut steady) = (sender(0, u32::MAX)?, sender(1, MESSAGES)?);
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
    check.note(format!("{ROUNDS} times a sender and a receiver killed after a random number of messages"));
    Ok(())
}

/// Mailboxes with messages are served in turn; a set that is empty sleeps until any of them has one.
pub fn a_set_is_served_in_turn(check: &mut Check) -> Outcome {
    const BOXES: usize = 3;
    let place = Place::new(check)?;
    let paths: Vec<PathBuf> = (0..BOXES).map(|number| place.path().join(format!("box{number}"))).collect();
    let mut users = Vec::new();
    for path in &paths {
        users.push(User::of(check, path.clone())?);
    }
    let opened = paths.clone();
    let mut set: Option<MailboxSet> = None;
    let mut student = check.respondent("`MailboxSet::receive`", move |code: i64| {
        timed(|| {
            if set.is_none() {
                set = Some(MailboxSet::new(
                    opened.iter().map(|path| Mailbox::open(path)).collect::<Result<_, _>>()?,
                ));
            }
            let set = set.as_mut().expect("just made");
            set.receive(wait(code)).map(|(place, message)| (place, message.bytes))
        })
    })?;
    let got = student.ask(NEVER)?;
    ensure!(is_error(&got.0, "WouldBlock"), expected: "`receive` with Never from empty mailboxes is WouldBlock", observed: show_done(&got.0), look: "`MailboxSet::receive`");
    let got = student.ask(30)?;
    ensure!(timed_out(&got, 30), expected: "`receive` with For(30 ms) from empty mailboxes is TimedOut after that time", observed: format!("{} after {} ms", show_done(&got.0), got.1), look: "`MailboxSet::receive`");
    for _ in 0..12 {
        let mut waiting: Vec<usize> = (0..BOXES).map(|_| check.rng().below(5) as usize).collect();
        let filled = waiting.clone();
        for (place, &count) in filled.iter().enumerate() {
            for number in 0..count {
                users[place].post(format!("{number} in box {place}").as_bytes())?;
            }
        }
        let mut order: Vec<usize> = Vec::new();
        while waiting.iter().any(|&count| count > 0) {
            let (got, _) = student.ask(NEVER)?;
            let Ok((place, message)) = got else {
                return Err(Stop::failed(
                    format!("a message: {waiting:?} wait in the boxes"),
                    show_done(&got),
                    "`MailboxSet::receive`",
                ));
            };
            let known = place < BOXES && waiting[place] > 0;
            let wanted = match known {
                true => format!("{} in box {place}", filled[place] - waiting[place]),
                false => "of a mailbox that is not empty".to_owned(),
            };
            ensure!(known && message == wanted.as_bytes(), expected: format!("the message \"{wanted}\""), observed: format!("{} from box {place}", in_words(&message)), look: "`MailboxSet::receive`: the place it returns");
            // Since this box was last served, every other one that had a message all the time had its turn.
            if let Some(last) = order.iter().rposition(|&served| served == place) {
                let between = &order[last + 1..];
                let starved = (0..BOXES)
                    .find(|&other| other != place && waiting[other] > 0 && !between.contains(&other));
                ensure!(
                    starved.is_none(),
                    expected: format!("boxes with messages are served in turn (filled with {filled:?})"),
                    observed: format!("box {place} again, after {order:?}, while box {} waits", starved.unwrap_or(0)),
                    look: "`MailboxSet::receive`: where it begins to look"
                );
            }
            order.push(place);
            waiting[place] -= 1;
        }
    }
    check.note("12 random fillings of 3 mailboxes");
    for place in [2, 0, 1] {
        let (opened, stage) = (paths.clone(), Shared::new(AtomicU32::new(0)));
        let mut waiter = check.spawn("`MailboxSet::receive`", || -> Told<(usize, Vec<u8>)> {
            let boxes = told(opened.iter().map(|path| Mailbox::open(path)).collect::<Result<_, _>>())?;
            let mut set = MailboxSet::new(boxes);
            stage.store(1, Ordering::Release);
            told(set.receive(wait(FOREVER))).map(|(place, message)| (place, message.bytes))
        })?;
        let pid = waiter.pid();
        check.wait_until("`MailboxSet::receive` with Forever sleeps", || {
            waiter.ended() || (stage.load(Ordering::Acquire) == 1 && asleep(pid))
        })?;
        users[place].post(b"wake up")?;
        let answer = waiter.join()?;
        ensure!(answer.as_ref().is_ok_and(|got| *got == (place, b"wake up".to_vec())), expected: format!("\"wake up\" from box {place}"), observed: format!("{answer:?}"), look: "`MailboxSet::receive`: what it sleeps on");
    }
    let answer = check.ask("`MailboxSet::receive` of an empty set", || {
        told(MailboxSet::new(vec![]).receive(wait(FOREVER)).map(drop))
    })?;
    ensure!(is_error(&answer, "InvalidInput"), expected: "the error InvalidInput for a set of no mailboxes", observed: show_done(&answer), look: "`MailboxSet::receive`");
    Ok(())
}
