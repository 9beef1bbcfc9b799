//! Waits end with a signal only, never for no reason; everybody waits by number: in the turnstile before readers and writers, and in Hoare's queues.

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

/// A place to wait for a signal: the number of signals.
#[derive(Default)]
#[repr(C)]
pub struct Condvar {
    signals: AtomicU32,
}

impl Condvar {
    /// A condition variable on which nobody waits.
    pub const fn new() -> Self {
        Self { signals: AtomicU32::new(0) }
    }

    /// Gives the mutex back and waits for a signal, as one step.
    pub fn wait(&self, mutex: &Mutex) {
        self.sleep(mutex, None);
    }

    /// As [`wait`](Self::wait), until the deadline.
    pub fn wait_until(&self, mutex: &Mutex, deadline: Instant) -> bool {
        self.sleep(mutex, Some(deadline))
    }

    fn sleep(&self, mutex: &Mutex, deadline: Option<Instant>) -> bool {
        let before = self.signals.load(Relaxed);
        mutex.unlock();
        let mut over = false;
        while self.signals.load(Relaxed) == before && !over {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            over = futex_wait(&self.signals, before, left) == Wait::TimedOut;
        }
        mutex.lock();
        !over
    }

    /// Lets one waiter go on.
    pub fn signal(&self) {
        self.signals.fetch_add(1, Relaxed);
        futex_wake(&self.signals, 1);
    }

    /// Lets all waiters go on.
    pub fn broadcast(&self) {
        self.signals.fetch_add(1, Relaxed);
        futex_wake(&self.signals, u32::MAX);
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

struct Ring<const N: usize> {
    slots: [u64; N],
    first: usize,
    count: usize,
}

/// The producers' and consumers' buffer, with one condition for both kinds: so it broadcasts.
#[repr(C)]
pub struct BoundedBuffer<const N: usize> {
    monitor: Monitor<Ring<N>, 1>,
}

impl<const N: usize> BoundedBuffer<N> {
    /// An empty buffer.
    pub const fn new() -> Self {
        Self { monitor: Monitor::new(Ring { slots: [0; N], first: 0, count: 0 }) }
    }

    /// Puts an item; waits while the buffer is full.
    pub fn put_item(&self, item: u64) {
        self.monitor.enter(|ring| {
            while ring.count == N {
                ring.wait(0);
            }
            let place = (ring.first + ring.count) % N;
            ring.slots[place] = item;
            ring.count += 1;
            ring.broadcast(0);
        });
    }

    /// Takes an item; waits while the buffer is empty.
    pub fn get_item(&self) -> u64 {
        self.monitor.enter(|ring| {
            while ring.count == 0 {
                ring.wait(0);
            }
            let item = ring.slots[ring.first];
            ring.first = (ring.first + 1) % N;
            ring.count -= 1;
            ring.broadcast(0);
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

/// Lets one through at a time, in the order of coming.
#[derive(Default)]
#[repr(C)]
struct Turnstile {
    next: AtomicU32,
    serving: AtomicU32,
}

impl Turnstile {
    fn enter(&self) {
        let mine = self.next.fetch_add(1, Relaxed);
        loop {
            let serving = self.serving.load(Acquire);
            if serving == mine {
                return;
            }
            futex_wait(&self.serving, serving, None);
        }
    }

    fn leave(&self) {
        self.serving.fetch_add(1, Release);
        futex_wake(&self.serving, u32::MAX);
    }
}

/// Who is inside.
#[derive(Default)]
struct Presence {
    readers: u32,
    writing: bool,
}

/// Many readers or one writer. Whoever waits for those inside waits in the turnstile, and all others behind it.
#[repr(C)]
pub struct ReadersWriters {
    turnstile: Turnstile,
    monitor: Monitor<Presence, 1>,
}

impl ReadersWriters {
    /// Nobody is there.
    pub const fn new() -> Self {
        let turnstile = Turnstile { next: AtomicU32::new(0), serving: AtomicU32::new(0) };
        Self { turnstile, monitor: Monitor::new(Presence { readers: 0, writing: false }) }
    }

    /// Waits until it may read.
    pub fn start_read(&self) {
        self.turnstile.enter();
        self.monitor.enter(|presence| {
            while presence.writing {
                presence.wait(0);
            }
            presence.readers += 1;
        });
        self.turnstile.leave();
    }

    /// Has read.
    pub fn end_read(&self) {
        self.monitor.enter(|presence| {
            presence.readers -= 1;
            presence.signal(0);
        });
    }

    /// Waits until it may write.
    pub fn start_write(&self) {
        self.turnstile.enter();
        self.monitor.enter(|presence| {
            while presence.writing || presence.readers > 0 {
                presence.wait(0);
            }
            presence.writing = true;
        });
        self.turnstile.leave();
    }

    /// Has written.
    pub fn end_write(&self) {
        self.monitor.enter(|presence| {
            presence.writing = false;
            presence.signal(0);
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

/// Those who wait to be handed the monitor, by number.
#[repr(C)]
struct Queue {
    /// The number of the next one to wait. Used inside only.
    next: AtomicU32,
    /// Numbers below this one have been called.
    called: AtomicU32,
}

impl Queue {
    const fn new() -> Self {
        Self { next: AtomicU32::new(0), called: AtomicU32::new(0) }
    }

    fn is_empty(&self) -> bool {
        self.next.load(Relaxed) == self.called.load(Relaxed)
    }

    /// Says that the caller waits, and with which number.
    fn join(&self) -> u32 {
        self.next.fetch_add(1, Relaxed)
    }

    /// Sleeps until the number has been called.
    fn sleep(&self, mine: u32) {
        loop {
            let called = self.called.load(Acquire);
            if called.wrapping_sub(mine).cast_signed() > 0 {
                return;
            }
            futex_wait(&self.called, called, None);
        }
    }

    /// Calls the next number. The caller is not inside any more.
    fn hand_over(&self) {
        self.called.fetch_add(1, Release);
        futex_wake(&self.called, u32::MAX);
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
        let mine = queue.join();
        self.monitor.pass_on();
        queue.sleep(mine);
    }

    /// Hands the monitor to one who waits for this condition, and waits in the urgent queue.
    pub fn signal(&mut self, condition: usize) {
        let queue = &self.monitor.conditions[condition];
        if !queue.is_empty() {
            let mine = self.monitor.urgent.join();
            queue.hand_over();
            self.monitor.urgent.sleep(mine);
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
