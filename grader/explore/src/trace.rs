//! What happened in an execution, event by event. Recorded only when a schedule is replayed for a report.

/// What a thread did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// An atomic read.
    Load {
        /// Where.
        address: usize,
        /// In bytes.
        size: u8,
        /// What was read.
        value: u128,
        /// C11's number for the memory order.
        order: i32,
        /// How many newer stores it did not see.
        behind: u8,
        /// The visible step of the store that it read; 0 for an initial value.
        from: u32,
    },
    /// An atomic write.
    Store {
        /// Where.
        address: usize,
        /// In bytes.
        size: u8,
        /// What was written.
        value: u128,
        /// C11's number for the memory order.
        order: i32,
        /// Before how many older stores it went.
        before: u8,
    },
    /// An atomic read-modify-write.
    Update {
        /// `swap`, `compare_exchange` and so on.
        name: &'static str,
        /// Where.
        address: usize,
        /// In bytes.
        size: u8,
        /// What was read.
        read: u128,
        /// What was written; None when a compare-and-exchange failed.
        written: Option<u128>,
        /// C11's number for the memory order.
        order: i32,
        /// How many newer stores it did not see.
        behind: u8,
        /// The visible step of the store that it read; 0 for an initial value.
        from: u32,
    },
    /// The store just made stays in the store buffer of its thread.
    Delayed {
        /// Where.
        address: usize,
        /// In bytes.
        size: u8,
        /// What was written.
        value: u128,
    },
    /// A store that was delayed reaches memory.
    Arrives {
        /// Where.
        address: usize,
        /// In bytes.
        size: u8,
        /// What was written.
        value: u128,
    },
    /// A fence.
    Fence {
        /// C11's number for the memory order.
        order: i32,
    },
    /// A plain read.
    Read {
        /// Where.
        address: usize,
        /// In bytes.
        size: usize,
    },
    /// A plain write.
    Write {
        /// Where.
        address: usize,
        /// In bytes.
        size: usize,
    },
    /// Memory is given back.
    Free {
        /// Where.
        address: usize,
        /// In bytes.
        size: usize,
    },
    /// A futex wait, as it falls asleep or does not.
    Wait {
        /// The word.
        address: usize,
        /// What it expects.
        expected: u32,
        /// What is there.
        found: u32,
    },
    /// A wait ended.
    Woke {
        /// How.
        how: crate::thread::Woken,
    },
    /// A futex wake.
    Wake {
        /// The word.
        address: usize,
        /// At most how many.
        most: u32,
        /// Whom it woke or moved.
        woken: Vec<usize>,
    },
    /// A thread was started.
    Spawn {
        /// Its number.
        thread: usize,
    },
    /// A thread's end was waited for.
    Join {
        /// Its number.
        thread: usize,
    },
    /// The thread came to its end.
    Finish,
    /// It let others run.
    Yield,
    /// It sleeps.
    Sleep {
        /// How long, in virtual nanoseconds.
        nanoseconds: u64,
    },
    /// It panics.
    Panic {
        /// The message.
        message: String,
    },
    /// Something for the reader, by [`note`](crate::note).
    Note {
        /// The text.
        text: String,
    },
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The visible step at which, or after which, it happened.
    pub step: u32,
    /// Who.
    pub thread: usize,
    /// Return addresses, innermost first.
    pub callers: Vec<usize>,
    /// What.
    pub what: What,
}

/// A recorded execution.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// The threads' names.
    pub threads: Vec<String>,
    /// In order of time.
    pub events: Vec<Event>,
}

/// Collects events.
#[derive(Debug, Default)]
pub struct Recorder {
    /// In order of time.
    pub events: Vec<Event>,
}

/// More events than anybody reads.
const MOST: usize = 200_000;

impl Recorder {
    /// Adds an event.
    pub fn note(&mut self, step: u32, thread: usize, callers: Vec<usize>, what: What) {
        if self.events.len() < MOST {
            self.events.push(Event { step, thread, callers, what });
        }
    }
}
