//! Monitors and condition variables, on futex(2).
//!
//! Read `README.md` beside this directory first. Replace every `todo!("…")`; keep names and signatures.
//! You may add private functions, fields and modules.
//!
//! The rules of this lab:
//!
//! - A mutex and the two futex calls are given (`mutex.rs`). Nothing from `std::sync` but `std::sync::atomic`, and nothing
//!   from the `pthread` family.
//! - Everything is a few plain words and holds no pointer that another process would follow: the checks put it
//!   into memory that several processes share. Who has to wait sleeps in the kernel.
//! - What stands in the words is your affair. Only what the contracts say is checked.
//! - The parts are graded one by one. A later part may call your own functions from an earlier one, or only the mutex and
//!   the futex calls.

#![allow(unused, reason = "the stubs do not use their parameters yet")]

mod mutex;

use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

pub use mutex::{Mutex, Wait, futex_wait, futex_wake};

// ---------------------------------------------------------------- Part 1: the condition variable

/// A place to wait until somebody says that something has changed. It has no value and no memory.
///
/// All bytes zero is a condition variable on which nobody waits.
#[derive(Default)]
#[repr(C)]
pub struct Condvar {
    /// For instance: how many signals there were. Whoever is about to sleep can see whether one came in between.
    sequence: AtomicU32,
    /// For instance: how many wait, so that a signal to nobody costs nothing.
    waiting: AtomicU32,
}

impl Condvar {
    /// A condition variable on which nobody waits: all bytes zero.
    pub const fn new() -> Self {
        Self { sequence: AtomicU32::new(0), waiting: AtomicU32::new(0) }
    }

    /// Gives `mutex` back and waits for a signal, as one step: whoever takes the mutex afterwards and then signals, with the
    /// mutex or after having given it back, lets the caller go on. The caller holds `mutex`, and holds it again when this returns.
    ///
    /// May return for no reason, though that is rare: the caller looks at its condition in a loop. Always with the same mutex for one
    /// condition variable.
    pub fn wait(&self, mutex: &Mutex) {
        todo!("give the mutex back and sleep, so that no signal is missed in between; take the mutex again")
    }

    /// As [`wait`](Self::wait), but only until `deadline`. Holds `mutex` again in either case.
    ///
    /// False: the deadline is over and no signal came to the caller. True: anything else. So a signal that
    /// meets a waiter whose time is over is not swallowed: either this waiter says true, or the signal goes to another one.
    pub fn wait_until(&self, mutex: &Mutex, deadline: Instant) -> bool {
        todo!("as `wait`, for the time that remains; say whether it was a signal that ended it")
    }

    /// Lets one of those who wait go on: at least one if anybody waits, and exactly one if all of them have been asleep for a while.
    /// If nobody waits, nothing happens, and nothing is remembered: who waits later waits for the next signal.
    ///
    /// The caller may hold the mutex, but need not.
    pub fn signal(&self) {
        todo!("let one waiter go on")
    }

    /// Lets all those go on who wait at this moment.
    pub fn broadcast(&self) {
        todo!("let all waiters go on")
    }
}

// ---------------------------------------------------------------- Part 2: the monitor

/// Data that is reached through procedures only, of which one is active at a time, and the conditions to wait for.
///
/// The condition variables are numbered from 0 to `CONDITIONS - 1`. Signals are those of Mesa: *signal and continue*.
#[repr(C)]
pub struct Monitor<T, const CONDITIONS: usize> {
    mutex: Mutex,
    conditions: [Condvar; CONDITIONS],
    data: UnsafeCell<T>,
}

// SAFETY: yours to make true: the data is reached by one process or thread at a time.
unsafe impl<T: Send, const CONDITIONS: usize> Sync for Monitor<T, CONDITIONS> {}

impl<T, const CONDITIONS: usize> Monitor<T, CONDITIONS> {
    /// A monitor around `data`, with nobody inside.
    pub const fn new(data: T) -> Self {
        Self {
            mutex: Mutex::new(),
            conditions: [const { Condvar::new() }; CONDITIONS],
            data: UnsafeCell::new(data),
        }
    }

    /// Waits until nobody is inside, runs the procedure inside, and returns what it returned. What earlier procedures wrote
    /// is seen. A panic in the procedure leaves the monitor as well.
    pub fn enter<R>(&self, procedure: impl FnOnce(&mut Inside<'_, T, CONDITIONS>) -> R) -> R {
        todo!("take the mutex, run the procedure, give the mutex back on every way out")
    }
}

/// What a procedure has while it is inside: the data (by `Deref`), `wait`, `signal` and `broadcast`.
pub struct Inside<'a, T, const CONDITIONS: usize> {
    monitor: &'a Monitor<T, CONDITIONS>,
    /// A procedure belongs to the thread that entered.
    not_send: PhantomData<*const ()>,
}

impl<T, const CONDITIONS: usize> Inside<'_, T, CONDITIONS> {
    /// Leaves the monitor and waits for a signal of this condition, as one step; is inside again when this returns.
    /// Others may have been inside before the caller: look at the condition again. May return for no reason.
    pub fn wait(&mut self, condition: usize) {
        todo!("wait on the condition variable of that number")
    }

    /// Lets one of those who wait for this condition go on, as soon as nobody is inside. The caller stays inside, alone.
    pub fn signal(&mut self, condition: usize) {
        todo!("signal the condition variable of that number")
    }

    /// Lets all those who wait for this condition go on, one after the other, as soon as nobody is inside.
    pub fn broadcast(&mut self, condition: usize) {
        todo!("broadcast the condition variable of that number")
    }
}

impl<T, const CONDITIONS: usize> Deref for Inside<'_, T, CONDITIONS> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: yours to make true: while there is an `Inside`, nobody else has one.
        unsafe { &*self.monitor.data.get() }
    }
}

impl<T, const CONDITIONS: usize> DerefMut for Inside<'_, T, CONDITIONS> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`.
        unsafe { &mut *self.monitor.data.get() }
    }
}

// ---------------------------------------------------------------- Part 3: the bounded buffer

/// There is room for an item.
const SLOTAVAIL: usize = 0;
/// There is an item.
const ITEMAVAIL: usize = 1;

/// A ring of `N` slots, as in the notes: `buf`, `in`, `out`, `count`.
struct Ring<const N: usize> {
    slots: [u64; N],
    next_in: usize,
    next_out: usize,
    count: usize,
}

/// The producers' and consumers' buffer of `N` items, `N` at least 1: a monitor with the conditions `slotavail` and `itemavail`.
#[repr(C)]
pub struct BoundedBuffer<const N: usize> {
    monitor: Monitor<Ring<N>, 2>,
}

impl<const N: usize> BoundedBuffer<N> {
    /// An empty buffer.
    pub const fn new() -> Self {
        Self { monitor: Monitor::new(Ring { slots: [0; N], next_in: 0, next_out: 0, count: 0 }) }
    }

    /// Puts an item behind all others. Waits while there are `N` items.
    pub fn put_item(&self, item: u64) {
        todo!("wait for a slot, put the item, and say so")
    }

    /// Takes the item that was put first. Waits while there is none. Each item is taken once.
    pub fn get_item(&self) -> u64 {
        todo!("wait for an item, take it, and say so")
    }
}

impl<const N: usize> Default for BoundedBuffer<N> {
    fn default() -> Self {
        Self::new()
    }
}

// ---------------------------------------------------------------- Part 4: readers and writers

/// Who is there. Add what you need.
#[derive(Default)]
struct Presence {
    readers: u32,
    writing: bool,
}

/// Many readers at once, or one writer, and nobody waits for ever.
///
/// In which order they get in, when several wait:
///
/// - A reader does not overtake a writer that waits while readers are inside.
/// - A writer does not overtake a reader that has waited for longer.
///
/// First come, first served keeps both; so does "when a writer leaves, all readers that wait go first".
/// Two readers that wait next to each other get in together.
#[repr(C)]
pub struct ReadersWriters {
    monitor: Monitor<Presence, 2>,
}

impl ReadersWriters {
    /// Nobody is there.
    pub const fn new() -> Self {
        Self { monitor: Monitor::new(Presence { readers: 0, writing: false }) }
    }

    /// Waits until it may read. When this returns, no writer is inside until [`end_read`](Self::end_read), and what earlier writers wrote is seen.
    pub fn start_read(&self) {
        todo!("wait for your turn and for the writer to leave; then there is one reader more")
    }

    /// Has read. Only after [`start_read`](Self::start_read).
    pub fn end_read(&self) {
        todo!("one reader fewer; whom does that concern?")
    }

    /// Waits until it may write. When this returns, nobody else is inside until [`end_write`](Self::end_write).
    pub fn start_write(&self) {
        todo!("wait for your turn and for everybody to leave; then there is a writer")
    }

    /// Has written. Only after [`start_write`](Self::start_write).
    pub fn end_write(&self) {
        todo!("no writer any more; whom does that concern?")
    }
}

impl Default for ReadersWriters {
    fn default() -> Self {
        Self::new()
    }
}

// ---------------------------------------------------------------- Part 5: Hoare's signals

/// As [`Monitor`], but with the signals of Hoare: *signal and wait*. Whoever was signalled is inside at once, so that what the
/// signaller said is still true: `if (count == N) wait(slotavail);` is right here, without a loop.
///
/// - A signaller that lets somebody go on waits in the *urgent queue*.
/// - When somebody leaves or waits, one of the urgent queue goes on, if there is one. Only otherwise may anybody enter.
#[repr(C)]
pub struct HoareMonitor<T, const CONDITIONS: usize> {
    /// Held whenever somebody is inside. It is handed on together with the monitor: the one who unlocks it need not be the one who locked it.
    entry: Mutex,
    urgent: Queue,
    conditions: [Queue; CONDITIONS],
    data: UnsafeCell<T>,
}

/// Those who wait to be handed the monitor. Changed by whoever is inside.
#[repr(C)]
struct Queue {
    /// How many wait.
    waiting: AtomicU32,
    /// 1 when one of them may go on and has not yet noticed.
    turn: AtomicU32,
}

// SAFETY: yours to make true: the data is reached by one process or thread at a time.
unsafe impl<T: Send, const CONDITIONS: usize> Sync for HoareMonitor<T, CONDITIONS> {}

impl<T, const CONDITIONS: usize> HoareMonitor<T, CONDITIONS> {
    /// A monitor around `data`, with nobody inside.
    pub const fn new(data: T) -> Self {
        Self {
            entry: Mutex::new(),
            urgent: Queue { waiting: AtomicU32::new(0), turn: AtomicU32::new(0) },
            conditions: [const { Queue { waiting: AtomicU32::new(0), turn: AtomicU32::new(0) } }; CONDITIONS],
            data: UnsafeCell::new(data),
        }
    }

    /// Waits until it may enter, runs the procedure inside, and returns what it returned. A panic in the procedure leaves
    /// the monitor as well.
    pub fn enter<R>(&self, procedure: impl FnOnce(&mut HoareInside<'_, T, CONDITIONS>) -> R) -> R {
        todo!(
            "take the entry, run the procedure, and pass the monitor on: to the urgent queue if anybody is there"
        )
    }

    /// The rule of the notes: signal only just before returning. As [`enter`](Self::enter), and the procedure says with its
    /// result which condition it signals, if any. The monitor goes to one who waits for it, and the caller returns at once: it has nothing left
    /// to do inside, and does not wait in the urgent queue. If nobody waits for the condition, it is as `enter`.
    pub fn enter_and_signal<R>(
        &self,
        procedure: impl FnOnce(&mut HoareInside<'_, T, CONDITIONS>) -> (R, Option<usize>),
    ) -> R {
        todo!("as `enter`, but pass the monitor to one who waits for the condition")
    }
}

/// What a procedure has while it is inside: the data (by `Deref`), `wait` and `signal`.
pub struct HoareInside<'a, T, const CONDITIONS: usize> {
    monitor: &'a HoareMonitor<T, CONDITIONS>,
    /// A procedure belongs to the thread that entered.
    not_send: PhantomData<*const ()>,
}

impl<T, const CONDITIONS: usize> HoareInside<'_, T, CONDITIONS> {
    /// Leaves the monitor and waits for a signal of this condition, as one step. When this returns, the caller is inside again,
    /// and nobody was between the signal and now. Never returns without a signal.
    pub fn wait(&mut self, condition: usize) {
        todo!("pass the monitor on and sleep until it is handed to you")
    }

    /// Hands the monitor to one of those who wait for this condition and waits in the urgent queue. When this returns, the
    /// caller is inside again. If nobody waits, nothing happens, and nothing is remembered.
    pub fn signal(&mut self, condition: usize) {
        todo!("if somebody waits: hand over, and wait in the urgent queue")
    }
}

impl<T, const CONDITIONS: usize> Deref for HoareInside<'_, T, CONDITIONS> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: yours to make true: of all procedures that have begun, one is active.
        unsafe { &*self.monitor.data.get() }
    }
}

impl<T, const CONDITIONS: usize> DerefMut for HoareInside<'_, T, CONDITIONS> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`.
        unsafe { &mut *self.monitor.data.get() }
    }
}
