//! The stores of one atomic location, oldest first in modification order, and which of them a thread may read.

use super::clock::{Clock, MAX_THREADS};

/// A store's number, unique in an execution.
pub type StoreId = u32;

/// One store in the modification order of a location.
#[derive(Clone, Debug)]
pub struct Store {
    /// Its number.
    pub id: StoreId,
    /// The value, in the low bytes.
    pub value: u128,
    /// What a reader that acquires learns: C11's release sequence headed here or continued by this read-modify-write.
    pub message: Clock,
    /// For each thread, its first event that read or wrote this store; 0: none.
    pub seen: Clock,
    /// It was there before the execution, for everybody.
    pub initial: bool,
    /// A read-modify-write read it and comes next: nothing may be put between them.
    pub taken: bool,
    /// The visible step that stored it, for the report; 0 for an initial value.
    pub step: u32,
}

/// The modification order of one location.
#[derive(Default, Debug)]
pub struct Location {
    /// Where.
    pub address: usize,
    /// In bytes.
    pub size: u8,
    /// Modification order, oldest first; never empty once the location is in use.
    pub stores: Vec<Store>,
    /// Counts the changes of value.
    pub version: u32,
    /// Scheduling decisions taken before an access here, not yet known to matter: (node, thread, writes).
    pub decisions: Vec<(u32, u8, bool)>,
    /// The next location that begins in the same eight bytes, or `NONE`.
    pub next: u32,
}

impl Location {
    /// The last store in modification order.
    #[inline]
    pub fn last(&self) -> usize {
        self.stores.len() - 1
    }

    /// The oldest store that a thread that knows `clock` may read: it may not read one that is older than a store
    /// or a read value that it knows of (coherence).
    #[inline]
    pub fn floor(&self, clock: &Clock) -> usize {
        let known = |store: &Store| store.initial || clock.knows_one_of(&store.seen);
        self.stores.iter().rposition(known).unwrap_or(0)
    }

    /// Whether the bytes of `self` and of `[address, address + size)` overlap.
    pub fn overlaps(&self, address: usize, size: usize) -> bool {
        self.address < address + size && address < self.address + self.size as usize
    }
}

impl Store {
    /// The value that is there before any store.
    pub fn initial(id: StoreId, value: u128, message: Clock) -> Store {
        Store { id, value, message, seen: Clock::NONE, initial: true, taken: false, step: 0 }
    }

    /// Notes that `thread` read or wrote it with its event number `epoch`.
    #[inline]
    pub fn see(&mut self, thread: usize, epoch: u16) {
        debug_assert!(thread < MAX_THREADS);
        if self.seen.of(thread) == 0 {
            self.seen.set(thread, epoch);
        }
    }
}
