//! What a plan decides for each call. The ready-made plans stay within the manual: they cut only what is divisible and
//! interrupt only what is interruptible, so correct code passes under every one of them.

use super::{Call, family};

/// What happens to one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The call goes to the kernel unchanged.
    Proceed,
    /// A read or write transfers at most this many bytes (at least one: zero would look like the end of the file).
    /// Calls that cannot be cut without losing data (datagrams, event descriptors) proceed.
    Short(usize),
    /// The call does not happen and fails with this errno. Exception: `close` does close the descriptor, as Linux does.
    Fail(i32),
}

/// Decides, for each interposed call, what happens to it. Installed by [`with`](super::with).
pub struct Plan {
    decide: Box<dyn FnMut(&Call) -> Action + Send>,
}

impl Plan {
    /// Disturbs nothing: for the log only.
    pub fn none() -> Plan {
        Plan::new(|_| Action::Proceed)
    }

    /// Asks `decide` before every call, with `call.outcome` still [`Call::UNFINISHED`].
    /// Calls that `decide` itself makes are not interposed. It may run in any thread and in forked children (which have
    /// their own copy of its state), but never twice at the same time.
    pub fn new(decide: impl FnMut(&Call) -> Action + Send + 'static) -> Plan {
        Plan { decide: Box::new(decide) }
    }

    /// The k-th divisible transfer is cut to `lengths[k]` bytes; after the last length transfers are whole.
    pub fn short(lengths: Vec<usize>) -> Plan {
        let mut lengths = lengths.into_iter();
        Plan::new(move |call| match call.divisible.then(|| lengths.next()).flatten() {
            Some(length) => Action::Short(length),
            None => Action::Proceed,
        })
    }

    /// Every divisible transfer moves one byte.
    pub fn one_byte() -> Plan {
        Plan::new(|call| if call.divisible { Action::Short(1) } else { Action::Proceed })
    }

    /// Of each kind of interruptible call (the same function on the same descriptor) every k-th fails with `EINTR`, and
    /// the next one of that kind proceeds. `k` = 1: each call fails once. Kinds are counted apart, because a loop
    /// that begins anew after an interruption (poll, read, and back to poll) would else be interrupted for ever.
    pub fn interrupted_every(k: usize) -> Plan {
        let mut interruptions = Interruptions::new();
        Plan::new(move |call| {
            interruptions.decide(call, |seen| seen % k.max(1) == 0).unwrap_or(Action::Proceed)
        })
    }

    /// Short transfers and `EINTR` at random: about one call in four is interrupted, never two of one kind in a row, and
    /// half of the transfers are cut. The same seed and the same calls give the same decisions.
    pub fn random(seed: u64) -> Plan {
        let mut random = SplitMix { state: seed };
        let mut interruptions = Interruptions::new();
        Plan::new(move |call| {
            if let Some(interrupted) = interruptions.decide(call, |_| random.below(4) == 0) {
                interrupted
            } else if call.divisible && random.below(2) == 0 {
                // Half of the cuts are close to the start, where a header or a length is split.
                let longest = if random.below(2) == 0 { call.asked.min(8) } else { call.asked };
                Action::Short(1 + random.below(longest as u64 - 1) as usize)
            } else {
                Action::Proceed
            }
        })
    }

    /// The `nth` call (from 0) of `name`, in any of its forms (see [`Call::is`]), fails with `errno`.
    pub fn fail(name: &'static str, nth: usize, errno: i32) -> Plan {
        let mut seen = 0;
        Plan::new(move |call| {
            if !call.is(name) {
                return Action::Proceed;
            }
            seen += 1;
            if seen == nth + 1 { Action::Fail(errno) } else { Action::Proceed }
        })
    }

    /// The same plan, except that a write of at most `PIPE_BUF` (4,096) bytes is never cut: pipe(7) promises that such a
    /// write to a pipe is whole. For labs whose contract builds on that promise.
    pub fn whole_small_writes(self) -> Plan {
        let mut decide = self.decide;
        Plan::new(move |call| match decide(call) {
            Action::Short(_) if call.is("write") && call.asked <= libc::PIPE_BUF => Action::Proceed,
            action => action,
        })
    }

    pub(super) fn decide(&mut self, call: &Call) -> Action {
        (self.decide)(call)
    }
}

/// How many kinds of call are told apart; calls of further kinds are not interrupted.
const KINDS: usize = 256;

/// The kinds of interruptible call seen so far. Their place is made beforehand: no decision allocates.
struct Interruptions {
    kinds: Vec<Kind>,
}

/// One function, in any of its forms, on one descriptor.
struct Kind {
    name: &'static str,
    fd: i32,
    /// How many of its calls were made, repetitions of interrupted ones apart.
    seen: usize,
    /// Whether its last call was interrupted: then the next one is its repetition and proceeds.
    interrupted: bool,
}

impl Interruptions {
    fn new() -> Interruptions {
        Interruptions { kinds: Vec::with_capacity(KINDS) }
    }

    /// Interrupts the call if that is possible, if it repeats no interrupted one, and if `when` says so, given how many
    /// calls of its kind there were with this one.
    fn decide(&mut self, call: &Call, when: impl FnOnce(usize) -> bool) -> Option<Action> {
        if !call.interruptible {
            return None;
        }
        let kind = self.kind_of(call)?;
        if std::mem::take(&mut kind.interrupted) {
            return None;
        }
        kind.seen += 1;
        kind.interrupted = when(kind.seen);
        kind.interrupted.then_some(Action::Fail(libc::EINTR))
    }

    fn kind_of(&mut self, call: &Call) -> Option<&mut Kind> {
        let name = family(call.name);
        let known = self.kinds.iter().position(|kind| kind.name == name && kind.fd == call.fd);
        let place = known.unwrap_or(self.kinds.len());
        if place == self.kinds.len() && place < KINDS {
            self.kinds.push(Kind { name, fd: call.fd, seen: 0, interrupted: false });
        }
        self.kinds.get_mut(place)
    }
}

/// The splitmix64 generator (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
struct SplitMix {
    state: u64,
}

impl SplitMix {
    fn below(&mut self, bound: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % bound.max(1)
    }
}
