//! The count goes below zero and says who waits; queue of places with a word each; two mutexes in the buffer; a barrier with generations.

use std::cell::UnsafeCell;
use std::ffi::CString;
use std::ptr::{self, NonNull};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32};
use std::time::{Duration, Instant};

use nix::errno::Errno;

// ---------------------------------------------------------------- Given: the system call of lab 06

/// Sleeps on `word` while it is `expected`, for at most `timeout`. Says nothing about why it returned.
fn futex_wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) {
    let timeout = timeout.and_then(|timeout| {
        let tv_sec = libc::time_t::try_from(timeout.as_secs()).ok()?;
        Some(libc::timespec { tv_sec, tv_nsec: timeout.subsec_nanos().into() })
    });
    let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: the word and the time outlive the call.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, expected, timeout) };
}

/// Wakes at most `count` of those who sleep on `word`.
fn futex_wake(word: &AtomicU32, count: u32) {
    let count = count.min(i32::MAX as u32);
    // SAFETY: the word outlives the call, which changes no memory.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, count) };
}

// ---------------------------------------------------------------- Part 1: the race, and the counting semaphore

/// One of two threads that change the same `count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runs {
    /// The thread that does `count++`.
    Up,
    /// The thread that does `count--`.
    Down,
}

/// An order after which `count` is `end`: all twenty are tried.
pub fn order_that_ends_with(start: i32, end: i32) -> Option<[Runs; 6]> {
    (0_u32..64).filter(|bits| bits.count_ones() == 3).find_map(|bits| {
        let order = [0, 1, 2, 3, 4, 5].map(|step| if bits >> step & 1 == 1 { Runs::Up } else { Runs::Down });
        (result(start.into(), order) == i64::from(end)).then_some(order)
    })
}

fn result(start: i64, order: [Runs; 6]) -> i64 {
    let mut count = start;
    let mut threads = [(0, 0), (0, 0)];
    for runs in order {
        let (index, change) = match runs {
            Runs::Up => (0, 1),
            Runs::Down => (1, -1),
        };
        let (steps, register) = &mut threads[index];
        match steps {
            0 => *register = count,
            1 => *register += change,
            _ => count = *register,
        }
        *steps += 1;
    }
    count
}

/// A counting semaphore, as in the books.
#[repr(C)]
pub struct Semaphore {
    /// The count; below zero, how many have come and found nothing.
    value: AtomicI32,
    /// Signals for those, posted and not yet taken.
    signals: AtomicU32,
}

impl Semaphore {
    /// A semaphore with this count.
    pub const fn new(count: u32) -> Self {
        Self { value: AtomicI32::new(count.cast_signed()), signals: AtomicU32::new(0) }
    }

    /// Takes 1 away, or waits for a signal.
    pub fn wait(&self) {
        if self.value.fetch_sub(1, Acquire) <= 0 {
            while !self.take_signal() {
                futex_wait(&self.signals, 0, None);
            }
        }
    }

    /// Takes 1 away if the count is above 0.
    pub fn try_wait(&self) -> bool {
        self.value.fetch_update(Acquire, Relaxed, |value| (value > 0).then(|| value - 1)).is_ok()
    }

    /// Takes 1 away, or waits for a signal, or takes the claim back.
    pub fn wait_until(&self, deadline: Instant) -> bool {
        if self.value.fetch_sub(1, Acquire) > 0 {
            return true;
        }
        loop {
            if self.take_signal() {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            futex_wait(&self.signals, 0, Some(left));
        }
        // Below zero there is a claim that nobody has posted for: it may as well be this one. Otherwise the signal for it
        // is on its way, but somebody who came later may take that and leave a claim instead.
        loop {
            if self.value.fetch_update(Acquire, Relaxed, |value| (value < 0).then(|| value + 1)).is_ok() {
                return false;
            }
            if self.take_signal() {
                return true;
            }
            std::thread::yield_now();
        }
    }

    /// Adds 1, and leaves a signal if somebody has a claim.
    pub fn post(&self) {
        if self.value.fetch_add(1, Release) < 0 {
            self.signals.fetch_add(1, Release);
            futex_wake(&self.signals, 1);
        }
    }

    fn take_signal(&self) -> bool {
        // Release, and Acquire also on failure: whoever finds that a signal was taken sees the taker's claim.
        self.signals.fetch_update(AcqRel, Acquire, |signals| signals.checked_sub(1)).is_ok()
    }
}

// ---------------------------------------------------------------- Part 2: the strong semaphore

const PLACES: usize = 64;

/// A queue of places, each with a word to sleep on.
#[repr(C)]
pub struct StrongSemaphore {
    mutex: Semaphore,
    queue: UnsafeCell<Queue>,
    /// In each place the number, from 1, of the last one that was let in there.
    places: [AtomicU32; PLACES],
}

#[repr(C)]
struct Queue {
    count: u32,
    /// How many have been let in, and how many have come, of those that had to queue.
    served: u32,
    come: u32,
}

// SAFETY: the queue is reached under the mutex only.
unsafe impl Sync for StrongSemaphore {}

impl StrongSemaphore {
    /// A semaphore with this count.
    pub const fn new(count: u32) -> Self {
        Self {
            mutex: Semaphore::new(1),
            queue: UnsafeCell::new(Queue { count, served: 0, come: 0 }),
            places: [const { AtomicU32::new(0) }; PLACES],
        }
    }

    fn with_queue<T>(&self, change: impl FnOnce(&mut Queue) -> T) -> T {
        self.mutex.wait();
        // SAFETY: the mutex is held.
        let result = change(unsafe { &mut *self.queue.get() });
        self.mutex.post();
        result
    }

    /// Takes 1 away, or a place in the queue.
    pub fn wait(&self) {
        let number = self.with_queue(|queue| {
            if queue.take() {
                return None;
            }
            queue.come = queue.come.wrapping_add(1);
            Some(queue.come)
        });
        let Some(number) = number else { return };
        let place = &self.places[number as usize % PLACES];
        loop {
            let seen = place.load(Acquire);
            if seen.wrapping_sub(number).cast_signed() >= 0 {
                return;
            }
            futex_wait(place, seen, None);
        }
    }

    /// Takes 1 away if nobody waits.
    pub fn try_wait(&self) -> bool {
        self.with_queue(Queue::take)
    }

    /// Lets the first one in, or adds 1.
    pub fn post(&self) {
        let number = self.with_queue(|queue| {
            if queue.served == queue.come {
                queue.count += 1;
                return None;
            }
            queue.served = queue.served.wrapping_add(1);
            self.places[queue.served as usize % PLACES].store(queue.served, Release);
            Some(queue.served)
        });
        if let Some(number) = number {
            // All who sleep in this place: one, but for those who have been let in and not yet run.
            futex_wake(&self.places[number as usize % PLACES], u32::MAX);
        }
    }

    /// How many wait.
    pub fn waiting(&self) -> u32 {
        self.with_queue(|queue| queue.come.wrapping_sub(queue.served))
    }
}

impl Queue {
    fn take(&mut self) -> bool {
        let free = self.count > 0;
        self.count -= u32::from(free);
        free
    }
}

// ---------------------------------------------------------------- Part 3: the bounded buffer

/// The time was over before it was the caller's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedOut;

/// A ring with a mutex for each end.
#[repr(C)]
pub struct BoundedBuffer<const N: usize> {
    filled: Semaphore,
    empty: Semaphore,
    ends: [End; 2],
    slots: [UnsafeCell<u64>; N],
}

#[repr(C)]
struct End {
    mutex: Semaphore,
    /// How many have gone through here.
    count: UnsafeCell<u64>,
}

// SAFETY: each count is reached under its mutex; a slot by the one who has waited for it.
unsafe impl<const N: usize> Sync for BoundedBuffer<N> {}

impl<const N: usize> BoundedBuffer<N> {
    /// An empty buffer.
    pub fn new() -> Self {
        Self {
            filled: Semaphore::new(0),
            empty: Semaphore::new(N as u32),
            ends: [const { End { mutex: Semaphore::new(1), count: UnsafeCell::new(0) } }; 2],
            slots: [const { UnsafeCell::new(0) }; N],
        }
    }

    /// Waits for a free slot and puts the item there.
    pub fn put(&self, item: u64) {
        self.empty.wait();
        self.ends[0].mutex.wait();
        self.finish_put(item);
    }

    /// Waits for an item and takes the oldest.
    pub fn get(&self) -> u64 {
        self.filled.wait();
        self.ends[1].mutex.wait();
        self.finish_get()
    }

    /// As `put`, but gives up at the deadline.
    ///
    /// # Errors
    /// [`TimedOut`].
    pub fn put_until(&self, item: u64, deadline: Instant) -> Result<(), TimedOut> {
        both(&self.empty, &self.ends[0].mutex, deadline).map(|()| self.finish_put(item))
    }

    /// As `get`, but gives up at the deadline.
    ///
    /// # Errors
    /// [`TimedOut`].
    pub fn get_until(&self, deadline: Instant) -> Result<u64, TimedOut> {
        both(&self.filled, &self.ends[1].mutex, deadline).map(|()| self.finish_get())
    }

    fn finish_put(&self, item: u64) {
        // SAFETY: the mutex of this end is held, and a slot is free.
        unsafe {
            let count = self.ends[0].count.get();
            *self.slots[*count as usize % N].get() = item;
            *count += 1;
        }
        self.ends[0].mutex.post();
        self.filled.post();
    }

    fn finish_get(&self) -> u64 {
        // SAFETY: the mutex of this end is held, and a slot is filled.
        let item = unsafe {
            let count = self.ends[1].count.get();
            let item = *self.slots[*count as usize % N].get();
            *count += 1;
            item
        };
        self.ends[1].mutex.post();
        self.empty.post();
        item
    }
}

fn both(slots: &Semaphore, mutex: &Semaphore, deadline: Instant) -> Result<(), TimedOut> {
    if slots.wait_until(deadline) {
        if mutex.wait_until(deadline) {
            return Ok(());
        }
        slots.post();
    }
    Err(TimedOut)
}

impl<const N: usize> Default for BoundedBuffer<N> {
    fn default() -> Self {
        Self::new()
    }
}

// ---------------------------------------------------------------- Part 4: a pool, and a barrier

/// The resource was not taken, or there is none of that number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotTaken;

/// `N` flags, each of which is taken by itself.
#[repr(C)]
pub struct Pool<const N: usize> {
    free: Semaphore,
    taken: [AtomicBool; N],
}

impl<const N: usize> Pool<N> {
    /// All are free.
    pub fn new() -> Self {
        Self { free: Semaphore::new(N as u32), taken: [const { AtomicBool::new(false) }; N] }
    }

    /// Waits for a free resource and takes it.
    pub fn acquire(&self) -> usize {
        self.free.wait();
        self.pick()
    }

    /// Takes a resource if one is free.
    pub fn try_acquire(&self) -> Option<usize> {
        self.free.try_wait().then(|| self.pick())
    }

    fn pick(&self) -> usize {
        // One is free, but which one changes while we look.
        loop {
            let free = |taken: &AtomicBool| !taken.load(Relaxed) && !taken.swap(true, AcqRel);
            if let Some(number) = self.taken.iter().position(free) {
                return number;
            }
            std::thread::yield_now();
        }
    }

    /// Gives a resource back.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub fn release(&self, number: usize) -> Result<(), NotTaken> {
        let taken = self.taken.get(number).ok_or(NotTaken)?;
        if !taken.swap(false, AcqRel) {
            return Err(NotTaken);
        }
        self.free.post();
        Ok(())
    }
}

impl<const N: usize> Default for Pool<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// Two gates, used in turn: nobody can be before the gate of the round before last.
#[repr(C)]
pub struct Barrier {
    parties: u32,
    mutex: Semaphore,
    /// Arrivals in all rounds.
    come: UnsafeCell<u64>,
    gates: [Semaphore; 2],
}

// SAFETY: `come` is reached under the mutex only.
unsafe impl Sync for Barrier {}

impl Barrier {
    /// A barrier for so many.
    pub fn new(parties: u32) -> Self {
        Self {
            parties,
            mutex: Semaphore::new(1),
            come: UnsafeCell::new(0),
            gates: [const { Semaphore::new(0) }; 2],
        }
    }

    /// Waits until all have come.
    pub fn wait(&self) {
        self.mutex.wait();
        // SAFETY: the mutex is held.
        let before = unsafe {
            let before = *self.come.get();
            *self.come.get() = before + 1;
            before
        };
        self.mutex.post();
        let parties = u64::from(self.parties);
        let gate = &self.gates[(before / parties % 2) as usize];
        if (before + 1).is_multiple_of(parties) {
            (1..parties).for_each(|_| gate.post());
        } else {
            gate.wait();
        }
    }
}

// ---------------------------------------------------------------- Part 5: semaphores with a name

/// A POSIX semaphore with a name.
pub struct NamedSemaphore {
    semaphore: NonNull<libc::sem_t>,
    /// The name, if it goes with this value.
    name: Option<CString>,
}

impl NamedSemaphore {
    /// Makes a semaphore of that name.
    ///
    /// # Errors
    /// That of sem_open(3).
    pub fn create(name: &str, count: u32) -> nix::Result<Self> {
        let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
        let flags = libc::O_CREAT | libc::O_EXCL;
        // SAFETY: a C string; with O_CREAT two more arguments are read, the mode and the count.
        let semaphore = unsafe { libc::sem_open(name.as_ptr(), flags, 0o600 as libc::c_uint, count) };
        Ok(Self { semaphore: found(semaphore)?, name: Some(name) })
    }

    /// Finds the semaphore of that name.
    ///
    /// # Errors
    /// That of sem_open(3).
    pub fn open(name: &str) -> nix::Result<Self> {
        let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
        // SAFETY: a C string.
        let semaphore = unsafe { libc::sem_open(name.as_ptr(), 0) };
        Ok(Self { semaphore: found(semaphore)?, name: None })
    }

    /// Waits until the count is above 0 and takes 1 away.
    ///
    /// # Errors
    /// That of sem_wait(3), but for EINTR.
    pub fn wait(&self) -> nix::Result<()> {
        // SAFETY: the semaphore is open for as long as `self` lives.
        uninterrupted(|| unsafe { libc::sem_wait(self.semaphore.as_ptr()) })
    }

    /// Takes 1 away if the count is above 0.
    ///
    /// # Errors
    /// That of sem_trywait(3), but for EINTR and EAGAIN.
    pub fn try_wait(&self) -> nix::Result<bool> {
        // SAFETY: as in `wait`.
        match uninterrupted(|| unsafe { libc::sem_trywait(self.semaphore.as_ptr()) }) {
            Ok(()) => Ok(true),
            Err(Errno::EAGAIN) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Adds 1 to the count.
    ///
    /// # Errors
    /// That of sem_post(3).
    pub fn post(&self) -> nix::Result<()> {
        // SAFETY: as in `wait`.
        Errno::result(unsafe { libc::sem_post(self.semaphore.as_ptr()) }).map(drop)
    }
}

impl Drop for NamedSemaphore {
    fn drop(&mut self) {
        // SAFETY: open until now, and not used again; the name is a C string. Neither can fail but for a name that
        // somebody else has removed.
        unsafe {
            libc::sem_close(self.semaphore.as_ptr());
            if let Some(name) = &self.name {
                libc::sem_unlink(name.as_ptr());
            }
        }
    }
}

fn found(semaphore: *mut libc::sem_t) -> nix::Result<NonNull<libc::sem_t>> {
    let semaphore = if semaphore == libc::SEM_FAILED { ptr::null_mut() } else { semaphore };
    NonNull::new(semaphore).ok_or_else(Errno::last)
}

/// Makes the call again for as long as it is interrupted.
fn uninterrupted(mut call: impl FnMut() -> libc::c_int) -> nix::Result<()> {
    loop {
        match Errno::result(call()) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// A System V semaphore whose kernel looks after those who took it.
pub struct UndoSemaphore {
    id: libc::c_int,
    /// The semaphore goes with this value.
    is_creator: bool,
}

/// The fourth argument of semctl(2); libc does not define it.
#[repr(C)]
union Argument {
    value: libc::c_int,
    pointer: usize,
}

impl UndoSemaphore {
    /// Makes a semaphore with that key.
    ///
    /// # Errors
    /// That of semget(2) or semctl(2).
    pub fn create(key: i32, count: u16) -> nix::Result<Self> {
        // SAFETY: no pointers.
        let id = Errno::result(unsafe { libc::semget(key, 1, libc::IPC_CREAT | libc::IPC_EXCL | 0o600) })?;
        let semaphore = Self { id, is_creator: true };
        // SAFETY: SETVAL reads the argument's number.
        Errno::result(unsafe { libc::semctl(id, 0, libc::SETVAL, Argument { value: count.into() }) })?;
        Ok(semaphore)
    }

    /// Finds the semaphore with that key.
    ///
    /// # Errors
    /// That of semget(2).
    pub fn open(key: i32) -> nix::Result<Self> {
        // SAFETY: no pointers.
        let id = Errno::result(unsafe { libc::semget(key, 1, 0) })?;
        Ok(Self { id, is_creator: false })
    }

    /// Waits until the count is above 0 and takes 1 away, until it is given back or this process ends.
    ///
    /// # Errors
    /// That of semop(2), but for EINTR.
    pub fn acquire(&self) -> nix::Result<()> {
        self.change(-1)
    }

    /// Gives back what this process took.
    ///
    /// # Errors
    /// That of semop(2).
    pub fn release(&self) -> nix::Result<()> {
        self.change(1)
    }

    fn change(&self, step: libc::c_short) -> nix::Result<()> {
        // Both ways with SEM_UNDO: the kernel adds up what is to be undone, and after a pair that is nothing.
        let mut operation =
            libc::sembuf { sem_num: 0, sem_op: step, sem_flg: libc::SEM_UNDO as libc::c_short };
        // SAFETY: one operation.
        uninterrupted(|| unsafe { libc::semop(self.id, &raw mut operation, 1) })
    }
}

impl Drop for UndoSemaphore {
    fn drop(&mut self) {
        if self.is_creator {
            // SAFETY: removal reads no argument. It fails only if somebody else was faster.
            unsafe { libc::semctl(self.id, 0, libc::IPC_RMID, Argument { pointer: 0 }) };
        }
    }
}
