//! The reference of the monitor lab. The contracts are in the stubs, `labs/08-monitor/src/lib.rs`.

mod mutex;

use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::mem::forget;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::Instant;

pub use mutex::{Mutex, Wait, futex_wait, futex_wake};

// ---------------------------------------------------------------- Part 1: the condition variable

/// A place to wait for a signal.
#[derive(Default)]
#[repr(C)]
pub struct Condvar {
    /// Changed by each signal that somebody waits for.
    sequence: AtomicU32,
    /// How many wait, or have been let go on and have not yet noticed. Counted up under the mutex.
    waiting: AtomicU32,
}

impl Condvar {
    /// A condition variable on which nobody waits.
    pub const fn new() -> Self {
        Self { sequence: AtomicU32::new(0), waiting: AtomicU32::new(0) }
    }

    /// Gives the mutex back and waits for a signal, as one step.
    pub fn wait(&self, mutex: &Mutex) {
        self.sleep(mutex, None);
    }

    /// As [`wait`](Self::wait), until the deadline; true unless that ended it.
    pub fn wait_until(&self, mutex: &Mutex, deadline: Instant) -> bool {
        self.sleep(mutex, Some(deadline)) != Wait::TimedOut
    }

    fn sleep(&self, mutex: &Mutex, deadline: Option<Instant>) -> Wait {
        // Still under the mutex: whoever signals after having held it finds the waiter counted, and changes the sequence
        // that was read here.
        self.waiting.fetch_add(1, Relaxed);
        let sequence = self.sequence.load(Relaxed);
        mutex.unlock();
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        // The kernel's word, not the clock's: whoever was woken has the signal, however late it is.
        let outcome = futex_wait(&self.sequence, sequence, left);
        self.waiting.fetch_sub(1, Relaxed);
        mutex.lock();
        outcome
    }

    /// Lets one waiter go on.
    pub fn signal(&self) {
        self.wake(1);
    }

    /// Lets all waiters go on.
    pub fn broadcast(&self) {
        self.wake(u32::MAX);
    }

    fn wake(&self, count: u32) {
        if self.waiting.load(Relaxed) > 0 {
            // First the sequence, then the wake-up: whoever has not slept yet finds another number and does not sleep.
            self.sequence.fetch_add(1, Relaxed);
            futex_wake(&self.sequence, count);
        }
    }
}

// ---------------------------------------------------------------- Part 2: the monitor

/// Data, one procedure at a time, and conditions. Signal and continue.
#[repr(C)]
pub struct Monitor<T, const CONDITIONS: usize> {
    mutex: Mutex,
    conditions: [Condvar; CONDITIONS],
    data: UnsafeCell<T>,
}

// SAFETY: the data is reached by whoever holds the mutex.
unsafe impl<T: Send, const CONDITIONS: usize> Sync for Monitor<T, CONDITIONS> {}

impl<T, const CONDITIONS: usize> Monitor<T, CONDITIONS> {
    /// A monitor around `data`.
    pub const fn new(data: T) -> Self {
        Self {
            mutex: Mutex::new(),
            conditions: [const { Condvar::new() }; CONDITIONS],
            data: UnsafeCell::new(data),
        }
    }

    /// Runs the procedure inside.
    pub fn enter<R>(&self, procedure: impl FnOnce(&mut Inside<'_, T, CONDITIONS>) -> R) -> R {
        self.mutex.lock();
        let mut inside = Inside { monitor: self, not_send: PhantomData };
        procedure(&mut inside)
    }
}

/// What a procedure has while it is inside. Dropped: it has left.
pub struct Inside<'a, T, const CONDITIONS: usize> {
    monitor: &'a Monitor<T, CONDITIONS>,
    not_send: PhantomData<*const ()>,
}

impl<T, const CONDITIONS: usize> Inside<'_, T, CONDITIONS> {
    /// Leaves and waits for a signal, as one step; is inside again when this returns.
    pub fn wait(&mut self, condition: usize) {
        self.monitor.conditions[condition].wait(&self.monitor.mutex);
    }

    /// Lets one go on who waits for this condition.
    pub fn signal(&mut self, condition: usize) {
        self.monitor.conditions[condition].signal();
    }

    /// Lets all go on who wait for this condition.
    pub fn broadcast(&mut self, condition: usize) {
        self.monitor.conditions[condition].broadcast();
    }
}

impl<T, const CONDITIONS: usize> Drop for Inside<'_, T, CONDITIONS> {
    fn drop(&mut self) {
        self.monitor.mutex.unlock();
    }
}

impl<T, const CONDITIONS: usize> Deref for Inside<'_, T, CONDITIONS> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the mutex is held as long as there is an `Inside`, but for the time in `wait`, which borrows it mutably.
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

struct Ring<const N: usize> {
    slots: [u64; N],
    next_in: usize,
    next_out: usize,
    count: usize,
}

/// The producers' and consumers' buffer.
#[repr(C)]
pub struct BoundedBuffer<const N: usize> {
    monitor: Monitor<Ring<N>, 2>,
}

impl<const N: usize> BoundedBuffer<N> {
    /// An empty buffer.
    pub const fn new() -> Self {
        Self { monitor: Monitor::new(Ring { slots: [0; N], next_in: 0, next_out: 0, count: 0 }) }
    }

    /// Puts an item; waits while the buffer is full.
    pub fn put_item(&self, item: u64) {
        self.monitor.enter(|ring| {
            while ring.count == N {
                ring.wait(SLOTAVAIL);
            }
            let place = ring.next_in;
            ring.slots[place] = item;
            ring.next_in = (place + 1) % N;
            ring.count += 1;
            ring.signal(ITEMAVAIL);
        });
    }

    /// Takes an item; waits while the buffer is empty.
    pub fn get_item(&self) -> u64 {
        self.monitor.enter(|ring| {
            while ring.count == 0 {
                ring.wait(ITEMAVAIL);
            }
            let item = ring.slots[ring.next_out];
            ring.next_out = (ring.next_out + 1) % N;
            ring.count -= 1;
            ring.signal(SLOTAVAIL);
            item
        })
    }
}

impl<const N: usize> Default for BoundedBuffer<N> {
    fn default() -> Self {
        Self::new()
    }
}

// ---------------------------------------------------------------- Part 4: readers and writers

/// Somebody else may be served now, or somebody has left.
const TURN: usize = 0;

/// Who is there, and whose turn it is.
#[derive(Default)]
struct Presence {
    readers: u32,
    writing: bool,
    /// The number that the next one to come takes.
    next_number: u32,
    /// Who has this number gets in next, as soon as those inside allow it.
    now_serving: u32,
}

impl Presence {
    fn take_number(&mut self) -> u32 {
        let mine = self.next_number;
        self.next_number = mine.wrapping_add(1);
        mine
    }
}

/// Many readers or one writer: first come, first served.
#[repr(C)]
pub struct ReadersWriters {
    monitor: Monitor<Presence, 1>,
}

impl ReadersWriters {
    /// Nobody is there.
    pub const fn new() -> Self {
        Self {
            monitor: Monitor::new(Presence { readers: 0, writing: false, next_number: 0, now_serving: 0 }),
        }
    }

    /// Waits until it may read.
    pub fn start_read(&self) {
        self.monitor.enter(|presence| {
            let mine = presence.take_number();
            while presence.now_serving != mine || presence.writing {
                presence.wait(TURN);
            }
            presence.readers += 1;
            presence.now_serving = mine.wrapping_add(1);
            // The next one may be a reader as well. Who has the next number cannot be said with a signal.
            presence.broadcast(TURN);
        });
    }

    /// Has read.
    pub fn end_read(&self) {
        self.monitor.enter(|presence| {
            presence.readers -= 1;
            if presence.readers == 0 {
                presence.broadcast(TURN);
            }
        });
    }

    /// Waits until it may write.
    pub fn start_write(&self) {
        self.monitor.enter(|presence| {
            let mine = presence.take_number();
            while presence.now_serving != mine || presence.writing || presence.readers > 0 {
                presence.wait(TURN);
            }
            presence.writing = true;
            presence.now_serving = mine.wrapping_add(1);
        });
    }

    /// Has written.
    pub fn end_write(&self) {
        self.monitor.enter(|presence| {
            presence.writing = false;
            presence.broadcast(TURN);
        });
    }
}

impl Default for ReadersWriters {
    fn default() -> Self {
        Self::new()
    }
}

// ---------------------------------------------------------------- Part 5: Hoare's signals

/// Data, one procedure at a time, and conditions. Signal and wait: the construction of Hoare's paper of 1974.
#[repr(C)]
pub struct HoareMonitor<T, const CONDITIONS: usize> {
    /// Held whenever somebody is inside, whoever that is by now.
    entry: Mutex,
    urgent: Queue,
    conditions: [Queue; CONDITIONS],
    data: UnsafeCell<T>,
}

/// Those who wait to be handed the monitor: Hoare's semaphore and its count.
#[repr(C)]
struct Queue {
    /// How many wait. Changed and read inside only.
    waiting: AtomicU32,
    /// 1 when one of them may go on and has not yet noticed.
    turn: AtomicU32,
}

impl Queue {
    const fn new() -> Self {
        Self { waiting: AtomicU32::new(0), turn: AtomicU32::new(0) }
    }

    fn is_empty(&self) -> bool {
        self.waiting.load(Relaxed) == 0
    }

    /// Says that the caller waits. To be called before the monitor is given away.
    fn join(&self) {
        self.waiting.fetch_add(1, Relaxed);
    }

    /// Sleeps until the caller is handed the monitor.
    fn sleep(&self) {
        // Acquire: pairs with the Release in `hand_over`.
        while self.turn.swap(0, Acquire) == 0 {
            futex_wait(&self.turn, 0, None);
        }
        self.waiting.fetch_sub(1, Relaxed);
    }

    /// Gives the monitor to one of those who wait here. The caller is not inside any more.
    fn hand_over(&self) {
        self.turn.store(1, Release);
        futex_wake(&self.turn, 1);
    }
}

// SAFETY: the data is reached by the one who was let in or was handed the monitor.
unsafe impl<T: Send, const CONDITIONS: usize> Sync for HoareMonitor<T, CONDITIONS> {}

impl<T, const CONDITIONS: usize> HoareMonitor<T, CONDITIONS> {
    /// A monitor around `data`.
    pub const fn new(data: T) -> Self {
        Self {
            entry: Mutex::new(),
            urgent: Queue::new(),
            conditions: [const { Queue::new() }; CONDITIONS],
            data: UnsafeCell::new(data),
        }
    }

    /// Runs the procedure inside.
    pub fn enter<R>(&self, procedure: impl FnOnce(&mut HoareInside<'_, T, CONDITIONS>) -> R) -> R {
        self.enter_and_signal(|inside| (procedure(inside), None))
    }

    /// Runs the procedure inside, and leaves the monitor to one who waits for the condition that it names.
    pub fn enter_and_signal<R>(
        &self,
        procedure: impl FnOnce(&mut HoareInside<'_, T, CONDITIONS>) -> (R, Option<usize>),
    ) -> R {
        self.entry.lock();
        let mut inside = HoareInside { monitor: self, not_send: PhantomData };
        let (result, condition) = procedure(&mut inside);
        if let Some(queue) = condition.map(|condition| &self.conditions[condition])
            && !queue.is_empty()
        {
            forget(inside);
            queue.hand_over();
        }
        result
    }

    /// Whoever is inside is so no longer: first the urgent queue, then those outside.
    fn pass_on(&self) {
        if self.urgent.is_empty() {
            self.entry.unlock();
        } else {
            self.urgent.hand_over();
        }
    }
}

/// What a procedure has while it is inside. Dropped: it has left.
pub struct HoareInside<'a, T, const CONDITIONS: usize> {
    monitor: &'a HoareMonitor<T, CONDITIONS>,
    not_send: PhantomData<*const ()>,
}

impl<T, const CONDITIONS: usize> HoareInside<'_, T, CONDITIONS> {
    /// Passes the monitor on and waits until it comes back by a signal.
    pub fn wait(&mut self, condition: usize) {
        let queue = &self.monitor.conditions[condition];
        queue.join();
        self.monitor.pass_on();
        queue.sleep();
    }

    /// Hands the monitor to one who waits for this condition, and waits in the urgent queue.
    pub fn signal(&mut self, condition: usize) {
        let queue = &self.monitor.conditions[condition];
        if !queue.is_empty() {
            self.monitor.urgent.join();
            queue.hand_over();
            self.monitor.urgent.sleep();
        }
    }
}

impl<T, const CONDITIONS: usize> Drop for HoareInside<'_, T, CONDITIONS> {
    fn drop(&mut self) {
        self.monitor.pass_on();
    }
}

impl<T, const CONDITIONS: usize> Deref for HoareInside<'_, T, CONDITIONS> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: this procedure is the active one.
        unsafe { &*self.monitor.data.get() }
    }
}

impl<T, const CONDITIONS: usize> DerefMut for HoareInside<'_, T, CONDITIONS> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`.
        unsafe { &mut *self.monitor.data.get() }
    }
}
