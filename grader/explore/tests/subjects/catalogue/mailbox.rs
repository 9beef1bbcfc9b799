use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*, fence};

use explore::{Model, spawn};

use crate::futex::{ALL, wait, wake};
use crate::plain::Plain;
use crate::scenario::Scenario;

pub const ROWS: &[Scenario] = &[
    ("mb-right", |model| mailbox(model, "")),
    ("mb-flag-first", |model| mailbox(model, "flag-first")),
    ("mb-overwrite", |model| mailbox(model, "overwrite")),
    ("mb-two-senders", |model| mailbox(model, "two-senders")),
    ("mb-ack-before-take", |model| mailbox(model, "ack-before-take")),
    ("mb-relaxed-flag", |model| mailbox(model, "relaxed-flag")),
    ("mb-right-sleeping", |model| sleeping(model, "")),
    ("mb-notify-before-set", |model| sleeping(model, "notify-before-set")),
    ("mb-close-no-wake", |model| sleeping(model, "close-no-wake")),
    ("mb-shared-reply", |model| replies(model, "shared-reply")),
    ("mb-right-reply", |model| replies(model, "")),
    ("mb-torn-pair", |model| pair(model, "torn-pair")),
    ("mb-seqlock-right", |model| pair(model, "")),
    ("mb-seqlock-no-recheck", |model| pair(model, "seqlock-no-recheck")),
    ("mb-seqlock-no-fence", |model| pair(model, "seqlock-no-fence")),
];

#[derive(Default)]
struct Mailbox {
    full: AtomicU32,
    message: Plain,
}

fn mailbox(model: &Model, bug: &'static str) {
    let mailbox: &'static Mailbox = model.share(Mailbox::default());
    let send = move |message: u64| {
        if bug != "overwrite" {
            while mailbox.full.load(Acquire) != 0 {}
        }
        if bug == "flag-first" {
            mailbox.full.store(1, Release);
            mailbox.message.set(message);
        } else {
            mailbox.message.set(message);
            mailbox.full.store(1, if bug == "relaxed-flag" { Relaxed } else { Release });
        }
    };
    let senders = match bug {
        "two-senders" => vec![spawn(move || send(1)), spawn(move || send(2))],
        _ => vec![spawn(move || (1..=2).for_each(send))],
    };
    let mut sum = 0;
    for _ in 0..2 {
        while mailbox.full.load(Acquire) == 0 {}
        if bug == "ack-before-take" {
            mailbox.full.store(0, Release);
            sum += mailbox.message.get();
        } else {
            sum += mailbox.message.get();
            mailbox.full.store(0, Release);
        }
    }
    senders.into_iter().for_each(|handle| handle.join());
    assert_eq!(sum, 3, "a message was lost or taken twice");
}

const EMPTY: u32 = 0;
const FULL: u32 = 1;
const CLOSED: u32 = 2;

#[derive(Default)]
struct Sleeping {
    state: AtomicU32,
    message: Plain,
}

fn sleeping(model: &Model, bug: &'static str) {
    let mailbox: &'static Sleeping = model.share(Sleeping::default());
    let receiver = spawn(move || {
        let mut received = 0;
        loop {
            match mailbox.state.load(Acquire) {
                EMPTY => {
                    wait(&mailbox.state, EMPTY);
                }
                FULL => {
                    received += mailbox.message.get();
                    mailbox.state.store(EMPTY, Release);
                    wake(&mailbox.state, ALL);
                }
                _ => return received,
            }
        }
    });
    mailbox.message.set(7);
    if bug == "notify-before-set" {
        wake(&mailbox.state, ALL);
        mailbox.state.store(FULL, Release);
    } else {
        mailbox.state.store(FULL, Release);
        wake(&mailbox.state, ALL);
    }
    while mailbox.state.load(Acquire) == FULL {
        wait(&mailbox.state, FULL);
    }
    mailbox.state.store(CLOSED, Release);
    if bug != "close-no-wake" {
        wake(&mailbox.state, ALL);
    }
    assert_eq!(receiver.join(), 7, "the message arrived");
}

#[derive(Default)]
struct Replies {
    requests: [AtomicU64; 2],
    replies: [AtomicU64; 2],
}

/// A server and two clients.
fn replies(model: &Model, bug: &'static str) {
    let table: &'static Replies = model.share(Replies::default());
    let slot = move |client: usize| if bug == "shared-reply" { 0 } else { client };
    let clients: Vec<_> = (0..2usize)
        .map(|client| {
            spawn(move || {
                table.requests[client].store(client as u64 + 1, Release);
                let mut reply = 0;
                while reply == 0 {
                    reply = table.replies[slot(client)].swap(0, AcqRel);
                }
                assert_eq!(reply, 10 * (client as u64 + 1), "another client's reply");
            })
        })
        .collect();
    for client in 0..2 {
        let mut request = 0;
        while request == 0 {
            request = table.requests[client].load(Acquire);
        }
        table.replies[slot(client)].store(10 * request, Release);
    }
    clients.into_iter().for_each(|handle| handle.join());
}

#[derive(Default)]
struct Pair {
    sequence: AtomicU32,
    first: AtomicU64,
    second: AtomicU64,
}

fn pair(model: &Model, bug: &'static str) {
    let pair: &'static Pair = model.share(Pair::default());
    let writer = spawn(move || {
        let sequence = pair.sequence.load(Relaxed);
        pair.sequence.store(sequence + 1, Relaxed);
        if bug != "seqlock-no-fence" {
            fence(Release);
        }
        pair.first.store(1, Relaxed);
        pair.second.store(1, Relaxed);
        pair.sequence.store(sequence + 2, Release);
    });
    let (mut first, mut second);
    loop {
        let before = pair.sequence.load(Acquire);
        first = pair.first.load(Relaxed);
        second = pair.second.load(Relaxed);
        fence(Acquire);
        let stable = before.is_multiple_of(2) && pair.sequence.load(Relaxed) == before;
        if stable || bug == "torn-pair" || bug == "seqlock-no-recheck" && before.is_multiple_of(2) {
            break;
        }
    }
    assert_eq!(first, second, "half of a message");
    writer.join();
}
