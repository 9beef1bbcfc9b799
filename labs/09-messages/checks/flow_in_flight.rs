//! Part 4: how much is on the way at once. The check is the link, slow, and counts.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use harness::{Check, Outcome, Stop, ensure};
use messages::{Consumer, MAX_EMPTIES, Producer};

use super::flow::EMPTY;
use super::{FOREVER, Pair, Told, in_words, is_error, packet, packets, post, show_done, told, wait};

/// A link that takes its time with every packet, and counts.
struct Slow {
    producer: OwnedFd,
    consumer: Option<OwnedFd>,
    items: VecDeque<(Instant, Vec<u8>)>,
    empties: VecDeque<Instant>,
    /// Items that came from the producer, empties that were handed to it.
    sent: usize,
    allowed: usize,
    /// Items that were handed to the consumer, empties that came from it.
    delivered: usize,
    returned: usize,
    most: usize,
    ended: bool,
}

impl Slow {
    /// Moves what is due. An error when somebody sent what it may not.
    fn pump(&mut self, n: usize, mut delay: impl FnMut() -> Duration) -> Result<(), String> {
        let now = Instant::now();
        if let Some(consumer) = &self.consumer {
            for packet in packets(consumer) {
                if packet != EMPTY {
                    return Err(format!("the consumer sent {}", in_words(&packet)));
                }
                self.returned += 1;
                if self.returned > n + self.delivered {
                    return Err(format!(
                        "{} empties from the consumer, after {} items",
                        self.returned, self.delivered
                    ));
                }
                self.empties.push_back(now + delay());
            }
        }
        loop {
            match packet(&self.producer) {
                Ok(packet) if packet.is_empty() => self.ended = true,
                Ok(packet) => {
                    self.sent += 1;
                    if self.sent > self.allowed {
                        return Err(format!(
                            "{} items from the producer, after {} empties",
                            self.sent, self.allowed
                        ));
                    }
                    self.most = self.most.max(self.sent - self.delivered);
                    self.items.push_back((now + delay(), packet));
                    continue;
                }
                Err(_) => {}
            }
            break;
        }
        while self.empties.front().is_some_and(|&due| due <= now) {
            self.empties.pop_front();
            self.allowed += 1;
            let _ = post(&self.producer, &EMPTY);
        }
        while let Some((_, item)) = self.items.pop_front_if(|(due, _)| *due <= now) {
            self.delivered += 1;
            if let Some(consumer) = &self.consumer {
                let _ = post(consumer, &item);
            }
        }
        if self.ended && self.items.is_empty() {
            self.consumer = None;
        }
        Ok(())
    }
}

/// Producer and consumer over a slow link: N at most, everything arrives, in order.
pub fn never_more_than_n_in_flight(check: &mut Check) -> Outcome {
    let random = 3 + check.rng().below(8) as usize;
    for n in [1, 2, random, MAX_EMPTIES] {
        let count = 20 + 4 * n;
        let (left, right) = (Pair::packets()?, Pair::packets()?);
        let items =
            |number: usize| [&(number as u32).to_be_bytes()[..], &vec![b'-'; number * 7 % 90]].concat();
        let mut producer = check.spawn(&format!("the producer, N = {n}"), || -> Told<()> {
            right.leave_to_workers();
            let mut producer = Producer::new(left.one());
            (0..count).try_for_each(|number| told(producer.send(&items(number), wait(FOREVER))))
        })?;
        let left = left.other();
        let mut consumer =
            check.spawn(&format!("the consumer, N = {n}"), || -> (Vec<Vec<u8>>, Told<()>) {
                let mut all = Vec::new();
                let end = Consumer::new(right.one(), n).and_then(|mut consumer| {
                    loop {
                        all.push(consumer.receive(wait(FOREVER))?);
                    }
                });
                (all, told::<()>(end))
            })?;
        let mut link = Slow {
            producer: left,
            consumer: Some(right.other()),
            items: VecDeque::new(),
            empties: VecDeque::new(),
            sent: 0,
            allowed: 0,
            delivered: 0,
            returned: 0,
            most: 0,
            ended: false,
        };
        let mut rng = harness::Rng::new(check.rng().next_u64());
        let mut wrong = None;
        check.wait_until(&format!("{count} items have crossed a slow link, N = {n}"), || {
            wrong = link.pump(n, || Duration::from_micros(rng.below(400))).err();
            wrong.is_some() || (producer.ended() && consumer.ended())
        })?;
        if let Some(wrong) = wrong {
            return Err(Stop::failed(
                format!(
                    "never more than N = {n} items on their way: an item for each empty, an empty for each item"
                ),
                wrong,
                "`Producer::send` and `Consumer::receive`: who counts what",
            ));
        }
        let sent = producer.join()?;
        ensure!(sent.is_ok(), expected: "every `send` succeeds", observed: show_done(&sent), look: "`Producer::send`");
        let (got, end) = consumer.join()?;
        ensure!(
            got == (0..count).map(items).collect::<Vec<_>>() && is_error(&end, "BrokenPipe"),
            expected: format!("{count} items in order, then BrokenPipe"),
            observed: format!("{} items, then {}", got.len(), show_done(&end)),
            look: "`Consumer::receive`"
        );
        ensure!(link.most <= n, expected: format!("at most {n} items on the link"), observed: format!("{}", link.most), look: "`Producer::send`");
        check.note(format!("N = {n}: {count} items, at most {} on the link", link.most));
    }
    Ok(())
}
