//! Messages that a waiting call has no use for: they must not prolong its time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use harness::faults::{Action, Plan};
use harness::{Outcome, Shared, ensure};

use super::{Told, show_done, timed_out};

/// Messages that do not help a waiting call: one whenever it is about to sleep, and 20 ms pass with each.
///
/// What is counted is how often the call goes to sleep. However slow the machine, a call that keeps to its time of
/// 200 ms does so at most 11 times: ten that begin in time, and one whose time left was computed before the end. One that begins its
/// time anew with each message would go on for ever; after `ENOUGH` messages nothing more comes.
pub struct Nagging {
    naps: Arc<Shared<AtomicU32>>,
}

impl Nagging {
    /// The waiting time of the nagged call, in milliseconds.
    pub const TIME: i64 = 200;
    const EVERY: Duration = Duration::from_millis(20);
    const ENOUGH: u32 = 20;

    /// Nothing has been sent yet.
    pub fn new() -> Nagging {
        Nagging { naps: Arc::new(Shared::new(AtomicU32::new(0))) }
    }

    /// The plan under which the call is made; `nag` sends one message without waiting.
    pub fn plan(&self, mut nag: impl FnMut() + Send + 'static) -> Plan {
        let naps = Arc::clone(&self.naps);
        Plan::new(move |call| {
            let sleeps = call.is("poll") && call.interruptible;
            if sleeps && naps.fetch_add(1, Ordering::AcqRel) < Nagging::ENOUGH {
                nag();
                std::thread::sleep(Nagging::EVERY);
            }
            Action::Proceed
        })
    }

    /// Whether more messages are of any use.
    pub fn goes_on(&self) -> bool {
        self.naps.load(Ordering::Acquire) < Nagging::ENOUGH
    }

    /// The call has timed out, and not by waiting its whole time anew.
    pub fn judge(&self, call: &str, answer: &(Told<()>, u64)) -> Outcome {
        let time = Nagging::TIME;
        let naps = self.naps.load(Ordering::Acquire);
        ensure!(
            naps < Nagging::ENOUGH,
            expected: format!("`{call}` with For({time} ms) is TimedOut after that time, although every 20 ms something comes that is not what it waits for"),
            observed: format!("it went to sleep {naps} times, for {} ms in all: each time it may wait its whole time again", answer.1),
            look: format!("`{call}`: the time that is left, computed once from the start of the call and not anew in its loop")
        );
        ensure!(
            timed_out(answer, time),
            expected: format!("`{call}` with For({time} ms) is TimedOut after that time, although other messages come meanwhile"),
            observed: format!("{} after {} ms", show_done(&answer.0), answer.1),
            look: format!("`{call}`: the time that is left, and the error when it is over")
        );
        Ok(())
    }
}
