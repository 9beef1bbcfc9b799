//! Data races: two accesses to the same byte, at least one a write and one not atomic, neither of which happened before
//! the other.

use super::clock::Clock;

/// How memory was touched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Touch {
    /// A plain read.
    Read,
    /// A plain write.
    Write,
    /// An atomic read.
    AtomicRead,
    /// An atomic write or read-modify-write.
    AtomicWrite,
    /// The memory was given back.
    Free,
}

impl Touch {
    /// Whether it changes memory.
    #[inline]
    pub fn writes(self) -> bool {
        matches!(self, Touch::Write | Touch::AtomicWrite | Touch::Free)
    }

    fn atomic(self) -> bool {
        matches!(self, Touch::AtomicRead | Touch::AtomicWrite)
    }

    fn conflicts(self, other: Touch) -> bool {
        (self.writes() || other.writes()) && !(self.atomic() && other.atomic())
    }

    /// Whether an access of kind `self` can race with all that `other` can race with.
    fn covers(self, other: Touch) -> bool {
        self == other || self == Touch::Write && matches!(other, Touch::Read)
    }
}

/// One access to some of the eight bytes of a cell.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// The thread's event number.
    pub epoch: u16,
    /// Who.
    pub thread: u8,
    /// Which of the eight bytes.
    pub mask: u8,
    /// How.
    pub touch: Touch,
    /// Where in the program.
    pub pc: usize,
    /// The visible step before which it happened, for the report.
    pub step: u32,
}

/// Adds `access` to what is remembered of a cell; returns an earlier access that races with it. `clock` is what the
/// accessing thread knows.
#[inline]
pub fn record(accesses: &mut Vec<Access>, access: Access, clock: &Clock) -> Option<Access> {
    // Most memory is one thread's own.
    if let [only] = accesses.as_mut_slice()
        && only.thread == access.thread
        && only.mask & !access.mask == 0
        && access.touch.covers(only.touch)
    {
        *only = access;
        return None;
    }
    let mut found = None;
    let mut index = 0;
    while index < accesses.len() {
        let other = &accesses[index];
        if other.thread == access.thread {
            if other.mask & !access.mask == 0 && access.touch.covers(other.touch) {
                accesses.swap_remove(index);
                continue;
            }
        } else if other.mask & access.mask != 0
            && access.touch.conflicts(other.touch)
            && other.epoch > clock.of(other.thread as usize)
        {
            found = Some(*other);
        }
        index += 1;
    }
    accesses.push(access);
    found
}
