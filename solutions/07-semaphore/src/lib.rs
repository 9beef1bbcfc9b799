//! The reference of the semaphore lab. The contracts are in the stubs, `labs/07-semaphore/src/lib.rs`.

use std::cell::UnsafeCell;
use std::ffi::CString;
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
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

/// One of two threads that change the same `count`, in three steps each: load, compute, store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runs {
    /// The thread that does `count++`.
    Up,
    /// The thread that does `count--`.
    Down,
}

/// An order of the six steps after which `count`, which was `start`, is `end`.
pub fn order_that_ends_with(start: i32, end: i32) -> Option<[Runs; 6]> {
    use Runs::{Down, Up};
    match i64::from(end) - i64::from(start) {
        0 => Some([Up, Up, Up, Down, Down, Down]),
        // Whoever has loaded before the other one stores, and stores last, wipes out what the other one did.
        1 => Some([Up, Down, Down, Down, Up, Up]),
        -1 => Some([Down, Up, Up, Up, Down, Down]),
        _ => None,
    }
}

/// A counting semaphore: weak, and without an owner.
#[repr(C)]
pub struct Semaphore {
    /// The count. Sleepers sleep while it is 0.
    value: AtomicU32,
    /// How many may be asleep. Too high is harmless (a killed process stays in it), too low is a lost signal.
    sleepers: AtomicU32,
}

impl Semaphore {
    /// A semaphore with this count.
    pub const fn new(count: u32) -> Self {
        Self { value: AtomicU32::new(count), sleepers: AtomicU32::new(0) }
    }

    /// Waits until the count is above 0 and takes 1 away.
    pub fn wait(&self) {
        if self.try_wait() {
            return;
        }
        self.announce();
        while !self.try_wait() {
            futex_wait(&self.value, 0, None);
        }
        self.leave();
    }

    /// Takes 1 away if the count is above 0.
    pub fn try_wait(&self) -> bool {
        // Acquire: pairs with the Release half of `post`. SeqCst: see `announce`. A failed exchange looks again, so also for 0.
        self.value.fetch_update(Acquire, SeqCst, |value| value.checked_sub(1)).is_ok()
    }

    /// Waits until the count is above 0, or until the deadline.
    pub fn wait_until(&self, deadline: Instant) -> bool {
        self.announce();
        let taken = loop {
            // Before the clock is looked at: a signal that has come must be used.
            if self.try_wait() {
                break true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break false;
            }
            futex_wait(&self.value, 0, Some(left));
        };
        self.leave();
        taken
    }

    /// Adds 1 to the count, and wakes one if that ends an empty count and somebody may sleep.
    pub fn post(&self) {
        // Release: pairs with the Acquire in `try_wait`.
        if self.value.fetch_add(1, SeqCst) == 0 && self.sleepers.load(SeqCst) > 0 {
            futex_wake(&self.value, 1);
        }
    }

    /// Says that the caller may sleep from now on. Here and in `post` a thread writes one word and then reads the other,
    /// all four SeqCst: one of the two sees what the other one wrote. So either `post` sees a sleeper, or the sleeper sees
    /// that the count is not 0.
    fn announce(&self) {
        self.sleepers.fetch_add(1, SeqCst);
    }

    /// Says that the caller sleeps no more, and wakes the next one if something is left: posts that came before the
    /// sleeper they woke was back have found a count above 0 and woken nobody.
    fn leave(&self) {
        if self.sleepers.fetch_sub(1, SeqCst) > 1 && self.value.load(SeqCst) > 0 {
            futex_wake(&self.value, 1);
        }
    }
}

// ---------------------------------------------------------------- Part 2: the strong semaphore

/// A counting semaphore that serves strictly in the order of arrival, by tickets.
#[repr(C)]
pub struct StrongSemaphore {
    /// The next ticket.
    next: AtomicU32,
    /// Tickets below this one may pass. The sleepers sleep on it.
    granted: AtomicU32,
}

impl StrongSemaphore {
    /// A semaphore with this count.
    pub const fn new(count: u32) -> Self {
        Self { next: AtomicU32::new(0), granted: AtomicU32::new(count) }
    }

    /// Joins the queue, and waits for its turn.
    pub fn wait(&self) {
        let ticket = self.next.fetch_add(1, Relaxed);
        loop {
            // Acquire: pairs with the Release in `post`.
            let granted = self.granted.load(Acquire);
            if is_before(ticket, granted) {
                return;
            }
            futex_wait(&self.granted, granted, None);
        }
    }

    /// Passes if that keeps nobody else waiting.
    pub fn try_wait(&self) -> bool {
        loop {
            let granted = self.granted.load(Acquire);
            let next = self.next.load(Relaxed);
            if is_before(next, granted) {
                if self.next.compare_exchange(next, next.wrapping_add(1), Relaxed, Relaxed).is_ok() {
                    return true;
                }
            } else if self.granted.load(Acquire) == granted {
                return false;
            }
        }
    }

    /// Lets the next ticket pass, whether somebody has it already or not.
    pub fn post(&self) {
        self.granted.fetch_add(1, Release);
        // All: the kernel does not know who has which ticket.
        futex_wake(&self.granted, u32::MAX);
    }

    /// How many wait.
    pub fn waiting(&self) -> u32 {
        let granted = self.granted.load(Acquire);
        let next = self.next.load(Relaxed);
        if is_before(granted, next) { next.wrapping_sub(granted) } else { 0 }
    }
}

/// Tickets begin again at 0 after 2^32: the nearer way round counts.
fn is_before(first: u32, second: u32) -> bool {
    second.wrapping_sub(first).cast_signed() > 0
}

// ---------------------------------------------------------------- Part 3: the bounded buffer

/// The time was over before it was the caller's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedOut;

/// A ring of `N` slots for many producers and many consumers.
#[repr(C)]
pub struct BoundedBuffer<const N: usize> {
    /// Slots with an item: consumers wait for it.
    filled: Semaphore,
    /// Slots without one: producers wait for it.
    empty: Semaphore,
    /// Protects the ring.
    mutex: Semaphore,
    ring: UnsafeCell<Ring<N>>,
}

/// Where the next item goes in and comes out.
#[repr(C)]
struct Ring<const N: usize> {
    next_in: usize,
    next_out: usize,
    slots: [u64; N],
}

// SAFETY: the ring is reached under the mutex only.
unsafe impl<const N: usize> Sync for BoundedBuffer<N> {}

impl<const N: usize> BoundedBuffer<N> {
    /// An empty buffer.
    pub fn new() -> Self {
        Self {
            filled: Semaphore::new(0),
            empty: Semaphore::new(N as u32),
            mutex: Semaphore::new(1),
            ring: UnsafeCell::new(Ring { next_in: 0, next_out: 0, slots: [0; N] }),
        }
    }

    /// Waits for a free slot and puts the item there.
    pub fn put(&self, item: u64) {
        // First the slot, then the mutex: whoever waits for a slot must not keep others from making one.
        self.empty.wait();
        self.mutex.wait();
        self.put_in(item);
        self.mutex.post();
        self.filled.post();
    }

    /// Waits for an item and takes the oldest.
    pub fn get(&self) -> u64 {
        self.filled.wait();
        self.mutex.wait();
        let item = self.take_out();
        self.mutex.post();
        self.empty.post();
        item
    }

    /// As `put`, but gives up at the deadline.
    ///
    /// # Errors
    /// [`TimedOut`].
    pub fn put_until(&self, item: u64, deadline: Instant) -> Result<(), TimedOut> {
        self.reserve(&self.empty, deadline)?;
        self.put_in(item);
        self.mutex.post();
        self.filled.post();
        Ok(())
    }

    /// As `get`, but gives up at the deadline.
    ///
    /// # Errors
    /// [`TimedOut`].
    pub fn get_until(&self, deadline: Instant) -> Result<u64, TimedOut> {
        self.reserve(&self.filled, deadline)?;
        let item = self.take_out();
        self.mutex.post();
        self.empty.post();
        Ok(item)
    }

    /// Takes a slot of that kind, and the mutex; both or none.
    fn reserve(&self, slots: &Semaphore, deadline: Instant) -> Result<(), TimedOut> {
        if !slots.wait_until(deadline) {
            return Err(TimedOut);
        }
        if !self.mutex.wait_until(deadline) {
            slots.post();
            return Err(TimedOut);
        }
        Ok(())
    }

    /// The mutex is held, and a slot is empty.
    fn put_in(&self, item: u64) {
        // SAFETY: the mutex is held.
        let ring = unsafe { &mut *self.ring.get() };
        ring.slots[ring.next_in] = item;
        ring.next_in = (ring.next_in + 1) % N;
    }

    /// The mutex is held, and a slot is filled.
    fn take_out(&self) -> u64 {
        // SAFETY: the mutex is held.
        let ring = unsafe { &mut *self.ring.get() };
        let item = ring.slots[ring.next_out];
        ring.next_out = (ring.next_out + 1) % N;
        item
    }
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

/// `N` equal resources, numbered from 0.
#[repr(C)]
pub struct Pool<const N: usize> {
    /// How many are free.
    free: Semaphore,
    /// Protects `taken`.
    mutex: Semaphore,
    /// Which ones are not.
    taken: UnsafeCell<[bool; N]>,
}

// SAFETY: `taken` is reached under the mutex only.
unsafe impl<const N: usize> Sync for Pool<N> {}

impl<const N: usize> Pool<N> {
    /// All are free.
    pub fn new() -> Self {
        Self { free: Semaphore::new(N as u32), mutex: Semaphore::new(1), taken: UnsafeCell::new([false; N]) }
    }

    /// Waits for a free resource and takes it; its number.
    pub fn acquire(&self) -> usize {
        self.free.wait();
        self.pick()
    }

    /// Takes a resource if one is free.
    pub fn try_acquire(&self) -> Option<usize> {
        self.free.try_wait().then(|| self.pick())
    }

    /// One is free for the caller: which one?
    fn pick(&self) -> usize {
        self.mutex.wait();
        // SAFETY: the mutex is held.
        let taken = unsafe { &mut *self.taken.get() };
        let number = taken.iter().position(|taken| !taken).expect("`free` has counted one");
        taken[number] = true;
        self.mutex.post();
        number
    }

    /// Gives a resource back.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub fn release(&self, number: usize) -> Result<(), NotTaken> {
        self.mutex.wait();
        // SAFETY: the mutex is held.
        let taken = unsafe { &mut *self.taken.get() };
        let was_taken = taken.get_mut(number).is_some_and(std::mem::take);
        self.mutex.post();
        if !was_taken {
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

/// A meeting point that can be used again: two gates, so that nobody who is fast comes round a second time before all
/// others have left.
#[repr(C)]
pub struct Barrier {
    parties: u32,
    /// Protects `inside`.
    mutex: Semaphore,
    inside: UnsafeCell<u32>,
    /// Opens when all have come, and when all have gone.
    gates: [Semaphore; 2],
}

// SAFETY: `inside` is reached under the mutex only.
unsafe impl Sync for Barrier {}

impl Barrier {
    /// A barrier for so many.
    pub fn new(parties: u32) -> Self {
        Self {
            parties,
            mutex: Semaphore::new(1),
            inside: UnsafeCell::new(0),
            gates: [const { Semaphore::new(0) }; 2],
        }
    }

    /// Waits until all have come.
    pub fn wait(&self) {
        let [come, gone] = &self.gates;
        self.count(1, self.parties, come);
        come.wait();
        self.count(u32::MAX, 0, gone);
        gone.wait();
    }

    /// Adds to `inside`; whoever brings it to `goal` opens the gate for all.
    fn count(&self, step: u32, goal: u32, gate: &Semaphore) {
        self.mutex.wait();
        // SAFETY: the mutex is held.
        let inside = unsafe { &mut *self.inside.get() };
        *inside = inside.wrapping_add(step);
        if *inside == goal {
            (0..self.parties).for_each(|_| gate.post());
        }
        self.mutex.post();
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
