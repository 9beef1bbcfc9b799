//! Waiters of a broadcast are moved to the mutex instead of being woken; readers go in batches; and Hoare's monitor is built on Mesa's conditions.

mod mutex;

use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::mem::forget;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Instant;

pub use mutex::{Mutex, Wait, futex_wait, futex_wake};

// ---------------------------------------------------------------- Part 1: the condition variable

/// A place to wait for a signal: the number of signals.
#[derive(Default)]
#[repr(C)]
pub struct Condvar {
    sequence: AtomicU32,
}

impl Condvar {
    /// A condition variable on which nobody waits.
    pub const fn new() -> Self {
        Self { sequence: AtomicU32::new(0) }
    }

    /// Gives the mutex back and waits for a signal, as one step.
    pub fn wait(&self, mutex: &Mutex) {
        let seen = self.sequence.load(SeqCst);
        mutex.unlock();
        futex_wait(&self.sequence, seen, None);
        mutex.lock_contended();
    }

    /// As [`wait`](Self::wait), until the deadline.
    pub fn wait_until(&self, mutex: &Mutex, deadline: Instant) -> bool {
        let seen = self.sequence.load(SeqCst);
        mutex.unlock();
        let left = deadline.saturating_duration_since(Instant::now());
        let outcome = futex_wait(&self.sequence, seen, Some(left));
        // Who was moved to the mutex has the signal, although its time may be over.
        let signalled = outcome != Wait::TimedOut || self.sequence.load(SeqCst) != seen;
        mutex.lock_contended();
        signalled
    }

    /// Lets one waiter go on.
    pub fn signal(&self) {
        self.sequence.fetch_add(1, SeqCst);
        futex_wake(&self.sequence, 1);
    }

    /// Lets all waiters go on.
    pub fn broadcast(&self) {
        self.sequence.fetch_add(1, SeqCst);
        futex_wake(&self.sequence, u32::MAX);
    }

    /// As [`broadcast`](Self::broadcast), for waiters with this mutex: one wakes up, and each wakes the next.
    fn broadcast_to(&self, mutex: &Mutex) {
        let now = self.sequence.fetch_add(1, SeqCst).wrapping_add(1);
        if !mutex.take_over(&self.sequence, now) {
            futex_wake(&self.sequence, u32::MAX);
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
        self.monitor.conditions[condition].broadcast_to(&self.monitor.mutex);
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

struct Ring<const N: usize> {
    slots: [u64; N],
    put: usize,
    taken: usize,
}

/// The producers' and consumers' buffer, with a mutex and two condition variables in the open.
#[repr(C)]
pub struct BoundedBuffer<const N: usize> {
    mutex: Mutex,
    slotavail: Condvar,
    itemavail: Condvar,
    ring: UnsafeCell<Ring<N>>,
}

// SAFETY: the ring is reached by whoever holds the mutex.
unsafe impl<const N: usize> Sync for BoundedBuffer<N> {}

impl<const N: usize> BoundedBuffer<N> {
    /// An empty buffer.
    pub const fn new() -> Self {
        let ring = Ring { slots: [0; N], put: 0, taken: 0 };
        Self {
            mutex: Mutex::new(),
            slotavail: Condvar::new(),
            itemavail: Condvar::new(),
            ring: UnsafeCell::new(ring),
        }
    }

    fn ring<R>(&self, access: impl FnOnce(&mut Ring<N>) -> R) -> R {
        // SAFETY: the callers hold the mutex.
        access(unsafe { &mut *self.ring.get() })
    }

    /// Puts an item; waits while the buffer is full.
    pub fn put_item(&self, item: u64) {
        self.mutex.lock();
        while self.ring(|ring| ring.put - ring.taken == N) {
            self.slotavail.wait(&self.mutex);
        }
        self.ring(|ring| {
            ring.slots[ring.put % N] = item;
            ring.put += 1;
        });
        self.mutex.unlock();
        self.itemavail.signal();
    }

    /// Takes an item; waits while the buffer is empty.
    pub fn get_item(&self) -> u64 {
        self.mutex.lock();
        while self.ring(|ring| ring.put == ring.taken) {
            self.itemavail.wait(&self.mutex);
        }
        let item = self.ring(|ring| {
            ring.taken += 1;
            ring.slots[(ring.taken - 1) % N]
        });
        self.mutex.unlock();
        self.slotavail.signal();
        item
    }
}

impl<const N: usize> Default for BoundedBuffer<N> {
    fn default() -> Self {
        Self::new()
    }
}

// ---------------------------------------------------------------- Part 4: readers and writers

/// A leaving writer has let the waiting readers in.
const READERS: usize = 0;
/// Somebody who left has let a waiting writer in.
const WRITERS: usize = 1;

/// Who is inside, who waits, and who has been let in.
#[derive(Default)]
struct Presence {
    readers: u32,
    writing: bool,
    readers_waiting: u32,
    batch: u32,
    writers_come: u32,
    writers_let_in: u32,
}

/// Many readers or one writer: a waiting writer stops new readers, and a leaving writer lets in all readers that wait.
#[repr(C)]
pub struct ReadersWriters {
    monitor: Monitor<Presence, 2>,
}

impl Inside<'_, Presence, 2> {
    /// Nobody is inside: a writer that waits gets in, if there is one.
    fn let_a_writer_in(&mut self) {
        if self.writers_let_in != self.writers_come {
            self.writers_let_in = self.writers_let_in.wrapping_add(1);
            self.writing = true;
            self.broadcast(WRITERS);
        }
    }
}

impl ReadersWriters {
    /// Nobody is there.
    pub const fn new() -> Self {
        Self {
            monitor: Monitor::new(Presence {
                readers: 0,
                writing: false,
                readers_waiting: 0,
                batch: 0,
                writers_come: 0,
                writers_let_in: 0,
            }),
        }
    }

    /// Waits until it may read.
    pub fn start_read(&self) {
        self.monitor.enter(|presence| {
            if !presence.writing && presence.writers_let_in == presence.writers_come {
                presence.readers += 1;
                return;
            }
            presence.readers_waiting += 1;
            let batch = presence.batch;
            while presence.batch == batch {
                presence.wait(READERS);
            }
        });
    }

    /// Has read.
    pub fn end_read(&self) {
        self.monitor.enter(|presence| {
            presence.readers -= 1;
            if presence.readers == 0 {
                presence.let_a_writer_in();
            }
        });
    }

    /// Waits until it may write.
    pub fn start_write(&self) {
        self.monitor.enter(|presence| {
            let mine = presence.writers_come;
            presence.writers_come = mine.wrapping_add(1);
            if !presence.writing && presence.readers == 0 {
                presence.let_a_writer_in();
            }
            // Called are the numbers below `writers_let_in`; the difference may wrap around.
            while presence.writers_let_in.wrapping_sub(mine).cast_signed() <= 0 {
                presence.wait(WRITERS);
            }
        });
    }

    /// Has written.
    pub fn end_write(&self) {
        self.monitor.enter(|presence| {
            presence.writing = false;
            if presence.readers_waiting > 0 {
                presence.readers = presence.readers_waiting;
                presence.readers_waiting = 0;
                presence.batch = presence.batch.wrapping_add(1);
                presence.broadcast(READERS);
            } else {
                presence.let_a_writer_in();
            }
        });
    }
}

impl Default for ReadersWriters {
    fn default() -> Self {
        Self::new()
    }
}

// ---------------------------------------------------------------- Part 5: Hoare's signals

/// Data, one procedure at a time, and conditions: signal and wait, kept by a desk at which everybody asks.
#[repr(C)]
pub struct HoareMonitor<T, const CONDITIONS: usize> {
    /// Held for the desk's book-keeping only, never while a procedure runs.
    mutex: Mutex,
    entry: Condvar,
    urgent: Line,
    lines: [Line; CONDITIONS],
    occupied: UnsafeCell<bool>,
    data: UnsafeCell<T>,
}

/// Those who wait to be handed the monitor. All of it is used with the desk's mutex held.
#[repr(C)]
struct Line {
    called: Condvar,
    /// How many wait and have not been called, and how many have been called and have not noticed.
    waiting: UnsafeCell<(u32, u32)>,
}

impl Line {
    const fn new() -> Self {
        Self { called: Condvar::new(), waiting: UnsafeCell::new((0, 0)) }
    }

    #[expect(clippy::mut_from_ref, reason = "the callers hold the desk's mutex and keep no reference")]
    fn counts(&self) -> &mut (u32, u32) {
        // SAFETY: the callers hold the desk's mutex.
        unsafe { &mut *self.waiting.get() }
    }

    fn wait(&self, mutex: &Mutex) {
        while self.counts().1 == 0 {
            self.called.wait(mutex);
        }
        self.counts().1 -= 1;
    }

    /// Calls one; false if nobody waits.
    fn call(&self) -> bool {
        let counts = self.counts();
        if counts.0 == 0 {
            return false;
        }
        counts.0 -= 1;
        counts.1 += 1;
        self.called.signal();
        true
    }
}

// SAFETY: the data is reached by the one for whom the monitor is occupied, the rest with the mutex held.
unsafe impl<T: Send, const CONDITIONS: usize> Sync for HoareMonitor<T, CONDITIONS> {}

impl<T, const CONDITIONS: usize> HoareMonitor<T, CONDITIONS> {
    /// A monitor around `data`.
    pub const fn new(data: T) -> Self {
        Self {
            mutex: Mutex::new(),
            entry: Condvar::new(),
            urgent: Line::new(),
            lines: [const { Line::new() }; CONDITIONS],
            occupied: UnsafeCell::new(false),
            data: UnsafeCell::new(data),
        }
    }

    /// Runs the procedure inside.
    pub fn enter<R>(&self, procedure: impl FnOnce(&mut HoareInside<'_, T, CONDITIONS>) -> R) -> R {
        self.come_in();
        procedure(&mut HoareInside { monitor: self, not_send: PhantomData })
    }

    /// Runs the procedure inside, and leaves the monitor to one who waits for the condition that it names.
    pub fn enter_and_signal<R>(
        &self,
        procedure: impl FnOnce(&mut HoareInside<'_, T, CONDITIONS>) -> (R, Option<usize>),
    ) -> R {
        self.come_in();
        let mut inside = HoareInside { monitor: self, not_send: PhantomData };
        let (result, condition) = procedure(&mut inside);
        forget(inside);
        self.mutex.lock();
        if !condition.is_some_and(|condition| self.lines[condition].call()) {
            self.next();
        }
        self.mutex.unlock();
        result
    }

    fn come_in(&self) {
        self.mutex.lock();
        // SAFETY: the mutex is held, here and below.
        while unsafe { *self.occupied.get() } {
            self.entry.wait(&self.mutex);
        }
        // SAFETY: as above.
        unsafe { *self.occupied.get() = true };
        self.mutex.unlock();
    }

    /// With the mutex held: whoever is inside goes, and somebody else may come.
    fn next(&self) {
        if !self.urgent.call() {
            // SAFETY: the mutex is held.
            unsafe { *self.occupied.get() = false };
            self.entry.signal();
        }
    }
}

/// What a procedure has while it is inside. Dropped: it has left.
pub struct HoareInside<'a, T, const CONDITIONS: usize> {
    monitor: &'a HoareMonitor<T, CONDITIONS>,
    not_send: PhantomData<*const ()>,
}

impl<T, const CONDITIONS: usize> HoareInside<'_, T, CONDITIONS> {
    /// Waits until it is let in by a signal.
    pub fn wait(&mut self, condition: usize) {
        let HoareMonitor { mutex, lines, .. } = self.monitor;
        mutex.lock();
        lines[condition].counts().0 += 1;
        self.monitor.next();
        lines[condition].wait(mutex);
        mutex.unlock();
    }

    /// Lets one in who waits for this condition, and waits in the urgent queue.
    pub fn signal(&mut self, condition: usize) {
        let HoareMonitor { mutex, lines, urgent, .. } = self.monitor;
        mutex.lock();
        if lines[condition].call() {
            urgent.counts().0 += 1;
            urgent.wait(mutex);
        }
        mutex.unlock();
    }
}

impl<T, const CONDITIONS: usize> Drop for HoareInside<'_, T, CONDITIONS> {
    fn drop(&mut self) {
        self.monitor.mutex.lock();
        self.monitor.next();
        self.monitor.mutex.unlock();
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
