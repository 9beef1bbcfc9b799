//! What is remembered of the atomic operations of an execution.

use super::clock::Clock;
use super::history::StoreId;

/// What an event does to its location.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EventKind {
    /// Reads a store.
    Read,
    /// Makes a store.
    Write,
    /// Reads a store and makes the next one.
    Update,
    /// A fence: no location.
    Fence,
}

/// One atomic event of an execution.
#[derive(Clone, Debug)]
pub struct Event {
    /// What it does.
    pub kind: EventKind,
    /// Who.
    pub thread: u8,
    /// The thread's event number.
    pub epoch: u16,
    /// Whether it is `SeqCst`.
    pub sequential: bool,
    /// Index of the location; `u32::MAX` for a fence.
    pub location: u32,
    /// The store it reads or, for a write or update, makes.
    pub store: StoreId,
    /// What had happened before it, itself included.
    pub clock: Clock,
}

impl Event {
    /// Whether it makes a store.
    pub fn writes(&self) -> bool {
        matches!(self.kind, EventKind::Write | EventKind::Update)
    }

    /// Whether it is a fence.
    pub fn is_fence(&self) -> bool {
        self.kind == EventKind::Fence
    }

    /// Who, as an index.
    pub fn thread(&self) -> usize {
        usize::from(self.thread)
    }
}

/// An event that may follow.
#[derive(Debug)]
pub struct Candidate {
    /// Itself; its store counts for nothing.
    pub event: Event,
    /// The place of the first store that would come after it in modification order or from-read. If it writes, the stores
    /// from there on make room.
    pub later: usize,
}
