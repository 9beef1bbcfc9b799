//! Part 2: several mailboxes at once.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use harness::{Check, Outcome, Shared, Stop, ensure};
use messages::{Mailbox, MailboxSet};

use super::mailboxes::User;
use super::{
    FOREVER, NEVER, Place, Told, falls_asleep, in_words, is_error, show_done, timed, timed_out, told, wait,
};

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
        falls_asleep(check, "`MailboxSet::receive` with Forever sleeps", &mut waiter, || {
            stage.load(Ordering::Acquire) == 1
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
