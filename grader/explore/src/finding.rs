//! What can be wrong with an execution.

use crate::memory::race::Touch;
use crate::schedule::Schedule;
use crate::trace::Trace;

/// One access, for a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// The thread's number.
    pub thread: usize,
    /// How it touched memory.
    pub touch: Touch,
    /// Where in the program.
    pub pc: usize,
    /// After which visible step.
    pub step: u32,
}

/// A wake-up call on a word that somebody still sleeps on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waker {
    /// The caller.
    pub thread: usize,
    /// The visible step.
    pub step: u32,
    /// How many it woke.
    pub woken: u32,
    /// Whether it was made with `FUTEX_PRIVATE_FLAG`.
    pub private: bool,
}

/// Why a thread cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocked {
    /// It sleeps on a futex word.
    Waiting {
        /// The thread's number.
        thread: usize,
        /// The word.
        address: usize,
        /// What it expected, and found when it fell asleep.
        expected: u32,
        /// What the word is now.
        now: u32,
        /// Whether it waits with `FUTEX_PRIVATE_FLAG`.
        private: bool,
        /// When it fell asleep.
        step: u32,
        /// The wake-up calls on that word.
        calls: Vec<Waker>,
    },
    /// It waits for another thread's end.
    Joining {
        /// The thread's number.
        thread: usize,
        /// The other thread.
        target: usize,
    },
    /// It goes round a loop that nothing will end.
    Spinning {
        /// The thread's number.
        thread: usize,
        /// What it looked at last, and what is there.
        watches: Option<(usize, u128)>,
    },
}

impl Blocked {
    /// Whether it sleeps although what it waited for has happened, or although somebody called.
    pub fn missed_a_wake_up(&self) -> bool {
        match self {
            Blocked::Waiting { expected, now, calls, thread, .. } => {
                expected != now || calls.iter().any(|call| call.woken == 0 && call.thread != *thread)
            }
            Blocked::Joining { .. } | Blocked::Spinning { .. } => false,
        }
    }
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// A thread panicked: an assertion failed, or `todo!()` was reached.
    Panic {
        /// The thread's number.
        thread: usize,
        /// The message.
        message: String,
        /// `file:line:column`.
        place: String,
    },
    /// Two accesses, at least one a write and one not atomic, and neither happened before the other.
    Race {
        /// The one that came first here.
        earlier: Site,
        /// The other.
        later: Site,
        /// The first byte that both touch.
        address: usize,
    },
    /// Memory was used after it was freed, or freed twice.
    UseAfterFree {
        /// Who freed it.
        freed: Site,
        /// Who used it.
        used: Site,
        /// The byte.
        address: usize,
    },
    /// No thread can go on.
    Deadlock {
        /// Why, for each thread that has not finished.
        blocked: Vec<Blocked>,
    },
    /// No thread can go on, and one sleeps although it was called or what it waited for has happened.
    LostWakeUp {
        /// Why, for each thread that has not finished.
        blocked: Vec<Blocked>,
    },
    /// No thread can go on, and at least one of them spins.
    Livelock {
        /// Why, for each thread that has not finished.
        blocked: Vec<Blocked>,
    },
    /// It did not end, although every thread had its turn.
    Endless {
        /// How many visible operations were made.
        steps: u32,
    },
    /// A call that the engine has no model of and that could block.
    Refused {
        /// The thread's number.
        thread: usize,
        /// The call, and what to do.
        call: String,
    },
    /// A call that ends, copies or replaces the process.
    Leaves {
        /// The thread's number.
        thread: usize,
        /// `exit`
        call: String,
    },
    /// A signal: a bad pointer, an illegal instruction.
    Crash {
        /// The thread's number.
        thread: usize,
        /// `SIGSEGV`
        signal: &'static str,
        /// The address, for a bad pointer.
        address: usize,
        /// Where in the program.
        pc: usize,
    },
    /// A thread used all of its stack.
    StackOverflow {
        /// The thread's number.
        thread: usize,
    },
    /// Part of what the program does cannot be seen here, so nothing can be said about it.
    Unseen {
        /// Why not.
        why: String,
    },
    /// The program did something else when it was run again in the same way.
    Diverged,
}

/// A failing execution, replayed.
#[derive(Debug, Clone)]
pub struct Finding {
    /// What is wrong.
    pub cause: Cause,
    /// What replays it.
    pub schedule: Schedule,
    /// Switches away from a thread that could have run on.
    pub preemptions: u32,
    /// Old values read, wake-ups out of order and the like.
    pub oddities: u32,
    /// What happened.
    pub trace: Trace,
}
