//! A model thread: what it is about to do, what it knows, and whether it can go on.

use crate::memory::clock::Clock;
use crate::shim::Place;

/// What a thread is about to do: the operations at which another thread may be let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Start running.
    Begin,
    /// An atomic read.
    Load,
    /// An atomic write.
    Store,
    /// An atomic read-modify-write.
    Update,
    /// A fence.
    Fence,
    /// A futex call that may sleep.
    Wait,
    /// A futex call that wakes.
    Wake,
    /// Starting a thread.
    Spawn,
    /// Waiting for a thread's end.
    Join,
    /// Letting others run.
    Yield,
    /// Sleeping for some time.
    Sleep,
}

/// An operation about to be done.
#[derive(Debug, Clone, Copy)]
pub struct Operation {
    /// What.
    pub kind: Kind,
    /// Where; 0 for none.
    pub address: usize,
    /// In bytes.
    pub size: u8,
    /// Its location's index.
    pub location: u32,
}

impl Operation {
    /// One that touches no memory.
    pub const fn without_memory(kind: Kind) -> Operation {
        Operation { kind, address: 0, size: 0, location: crate::memory::NONE }
    }

    /// Whether it may change what others see at its address.
    #[inline]
    pub fn writes(&self) -> bool {
        matches!(self.kind, Kind::Store | Kind::Update | Kind::Wait | Kind::Wake)
    }

    /// Whether the order of the two can matter.
    #[inline]
    pub fn conflicts(&self, other: &Operation) -> bool {
        self.address < other.address + other.size as usize
            && other.address < self.address + self.size as usize
            && (self.writes() || other.writes())
    }
}

/// Why a thread's wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// Another thread woke it.
    Asked,
    /// Its time was up.
    TimedOut,
    /// For no reason, as the kernel may.
    Spurious,
    /// A signal handler ran.
    Interrupted,
}

/// Whether a thread can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It can.
    Runnable,
    /// It sleeps on a futex word.
    Waiting,
    /// It waits for a thread's end.
    Joining(usize),
    /// It sleeps for some time.
    Sleeping,
    /// It came to its end.
    Finished,
}

/// What is remembered of one place in the program to see that a loop makes no progress.
#[derive(Debug, Clone, Copy, Default)]
struct Visit {
    pc: usize,
    progress: u64,
    count: u32,
    state: u64,
}

/// What a spinning thread looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spin {
    /// It does not spin.
    No,
    /// It is back at a place for the sixtieth time without having changed anything.
    Long,
    /// It is back in exactly the same state, and nothing that it looked at has changed: it can only go round again.
    Stuck,
}

/// A visit count after which a loop counts as a yield.
const LONG: u32 = 60;

/// One model thread.
#[derive(Debug)]
pub struct Thread {
    /// What it is called in reports.
    pub name: String,
    /// Whether it can go on.
    pub state: State,
    /// What it is about to do.
    pub pending: Operation,
    /// What has happened before its next event.
    pub clock: Clock,
    /// Its clock at its last release fence.
    pub released: Clock,
    /// What its relaxed reads would have taught it, had they acquired; for its next acquire fence.
    pub acquirable: Clock,
    /// Why its last wait ended.
    pub woken: Woken,
    /// When its wait ends by itself, in virtual nanoseconds.
    pub deadline: Option<u64>,
    /// Grows whenever it changes something or sees something new.
    pub progress: u64,
    /// A panic on its way: the message and the place.
    pub panic: Option<(String, String)>,
    /// Calls made while unwinding.
    pub unwound: u32,
    /// Where its stack begins.
    pub top: usize,
    visits: [Visit; 8],
    next_visit: usize,
    /// What it looked at since it last made progress: location and version.
    pub watched: Vec<(u32, u32)>,
    /// Pauses in a row, with nothing between them that others could see.
    pauses: u32,
}

impl Thread {
    /// A thread that has not begun.
    pub fn new() -> Thread {
        Thread {
            name: String::new(),
            state: State::Finished,
            pending: Operation::without_memory(Kind::Begin),
            clock: Clock::NONE,
            released: Clock::NONE,
            acquirable: Clock::NONE,
            woken: Woken::Asked,
            deadline: None,
            progress: 0,
            panic: None,
            unwound: 0,
            top: 0,
            visits: [Visit::default(); 8],
            next_visit: 0,
            watched: Vec::new(),
            pauses: 0,
        }
    }

    /// Makes it a new thread.
    pub fn begin(&mut self, name: &str, clock: Clock) {
        self.name.clear();
        self.name.push_str(name);
        self.state = State::Runnable;
        self.pending = Operation::without_memory(Kind::Begin);
        self.clock = clock;
        self.released = Clock::NONE;
        self.acquirable = Clock::NONE;
        self.woken = Woken::Asked;
        self.deadline = None;
        self.progress = 1;
        self.panic = None;
        self.unwound = 0;
        self.visits = [Visit::default(); 8];
        self.next_visit = 0;
        self.watched.clear();
        self.pauses = 0;
    }

    /// It makes a step.
    #[inline]
    pub fn makes(&mut self, operation: Operation) {
        self.pauses = if operation.kind == Kind::Yield { self.pauses + 1 } else { 0 };
        self.pending = operation;
    }

    /// It pauses: whether right after another pause, so that it changes nothing for anybody and is no step. Now and then it is
    /// one all the same, or a loop of pauses would have no end.
    pub fn pauses_again(&mut self) -> bool {
        let again = !self.pauses.is_multiple_of(64);
        self.pauses += u32::from(again);
        again
    }

    /// It changed something or saw something new.
    #[inline]
    pub fn advance(&mut self) {
        self.progress += 1;
        self.watched.clear();
    }

    /// It looks at a location whose value has changed `version` times.
    #[inline]
    pub fn look(&mut self, location: u32, version: u32) {
        match self.watched.iter().find(|(watched, _)| *watched == location) {
            Some((_, seen)) if *seen == version => {}
            None if self.watched.len() < 16 => self.watched.push((location, version)),
            Some(_) | None => {
                self.advance();
                self.watched.push((location, version));
            }
        }
    }

    /// It is at a visible operation: does it go round in circles?
    #[inline]
    pub fn visit(&mut self, place: &impl Place) -> Spin {
        let progress = self.progress;
        let spot = place.spot();
        let Some(visit) = self.visits.iter_mut().find(|visit| visit.pc == spot) else {
            self.visits[self.next_visit % 8] = Visit { pc: spot, progress, count: 1, state: 0 };
            self.next_visit += 1;
            return Spin::No;
        };
        // Visits are counted over progress of its own too: a loop that writes is a loop.
        visit.count += 1;
        if visit.progress != progress {
            visit.progress = progress;
            visit.state = 0;
        } else {
            let state = place.state(self.top) | 1;
            if visit.state == state {
                return Spin::Stuck;
            }
            visit.state = state;
        }
        if visit.count >= LONG {
            visit.count = 0;
            return Spin::Long;
        }
        Spin::No
    }

    /// Other threads have run: loops are counted anew.
    pub fn forget_visits(&mut self) {
        self.visits.iter_mut().for_each(|visit| visit.count = 0);
    }
}

impl Default for Thread {
    fn default() -> Thread {
        Thread::new()
    }
}
