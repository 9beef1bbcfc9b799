//! The kernel's side of futex: who sleeps on which word, in order of arrival.

/// A sleeping thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiter {
    /// Who.
    pub thread: usize,
    /// The word's address.
    pub address: usize,
    /// The wait was made with `FUTEX_PRIVATE_FLAG`: a wake without it does not reach it.
    pub private: bool,
    /// The bits of `FUTEX_WAIT_BITSET`.
    pub bits: u32,
    /// The value that it expected and found.
    pub expected: u32,
    /// The visible step at which it fell asleep.
    pub step: u32,
}

/// A wake-up call, for explaining a lost one.
#[derive(Debug, Clone, Copy)]
pub struct WakeUp {
    /// The caller.
    pub thread: usize,
    /// The word's address.
    pub address: usize,
    /// Whether it was made with `FUTEX_PRIVATE_FLAG`.
    pub private: bool,
    /// How many were woken.
    pub woken: u32,
    /// The visible step.
    pub step: u32,
}

/// All sleeping threads, and the calls that woke or failed to.
#[derive(Debug, Default)]
pub struct Futexes {
    /// In order of arrival.
    pub waiters: Vec<Waiter>,
    /// In order of time.
    pub calls: Vec<WakeUp>,
}

impl Futexes {
    /// Nobody sleeps.
    pub fn reset(&mut self) {
        self.waiters.clear();
        self.calls.clear();
    }

    /// Positions in `waiters` of those that a wake call reaches.
    pub fn reached(&self, address: usize, private: bool, bits: u32) -> impl Iterator<Item = usize> + '_ {
        self.waiters
            .iter()
            .enumerate()
            .filter(move |(_, waiter)| {
                waiter.address == address && waiter.private == private && waiter.bits & bits != 0
            })
            .map(|(index, _)| index)
    }

    /// A thread's wait is over.
    pub fn remove(&mut self, thread: usize) -> Option<Waiter> {
        let index = self.waiters.iter().position(|waiter| waiter.thread == thread)?;
        Some(self.waiters.remove(index))
    }
}
