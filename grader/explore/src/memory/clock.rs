//! Vector clocks: what has happened before what.

/// How many threads one execution may have, its first one included.
pub const MAX_THREADS: usize = 16;

/// For each thread, the number of its last event that is known to have happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(align(16))]
pub struct Clock([u16; MAX_THREADS]);

impl Clock {
    /// Nothing has happened.
    pub const NONE: Clock = Clock([0; MAX_THREADS]);

    /// Learns all that `other` knows.
    #[inline]
    pub fn join(&mut self, other: &Clock) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine = (*mine).max(theirs);
        }
    }

    /// The last event of `thread` that is known.
    #[inline]
    pub fn of(&self, thread: usize) -> u16 {
        self.0[thread]
    }

    /// Counts one more event of `thread`.
    #[inline]
    pub fn tick(&mut self, thread: usize) {
        self.0[thread] += 1;
    }

    /// Sets what is known of `thread`.
    #[inline]
    pub fn set(&mut self, thread: usize, epoch: u16) {
        self.0[thread] = epoch;
    }

    /// Whether one of the events in `seen` (0: none) is known here.
    #[inline]
    pub fn knows_one_of(&self, seen: &Clock) -> bool {
        // `seen - 1` wraps for 0, so that "no event" is never known.
        let mut known = false;
        for (mine, theirs) in self.0.iter().zip(seen.0) {
            known |= theirs.wrapping_sub(1) < *mine;
        }
        known
    }
}
