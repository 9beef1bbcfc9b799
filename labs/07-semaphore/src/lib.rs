//! Semaphores, and what is built from them: a bounded buffer, a pool, a barrier.
//!
//! Read `README.md` beside this directory first. Replace every `todo!("…")`; keep names and signatures.
//! You may add private functions, fields and modules, and change private fields.
//!
//! The rules of this lab:
//!
//! - In parts 1 to 4 nothing from `std::sync` but `std::sync::atomic`, and nothing from the `pthread` or `sem_` family:
//!   the semaphore is yours, on the futex calls given below.
//! - The objects of parts 1 to 4 hold no pointer that another process would follow: the checks put them
//!   into memory that several processes share, at the same address in each.
//! - Only what the objects do is checked, not how they do it.
//! - The parts are graded one by one. Parts 3 and 4 need the `Semaphore` of part 1.

#![allow(unused, reason = "the stubs do not use their parameters yet")]

use std::cell::UnsafeCell;
use std::ffi::CString;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;

// ---------------------------------------------------------------- Given: the system call of lab 06

/// Sleeps on `word` while it is `expected`, for at most `timeout`; the kernel looks at the word and puts the caller to
/// sleep as one step. Returns for any reason that futex(2) knows: woken, also for nothing; another value; a signal;
/// the time was over. So whoever comes back knows nothing.
fn futex_wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) {
    let timeout = timeout.and_then(|timeout| {
        let tv_sec = libc::time_t::try_from(timeout.as_secs()).ok()?;
        Some(libc::timespec { tv_sec, tv_nsec: timeout.subsec_nanos().into() })
    });
    let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: the word and the time outlive the call.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, expected, timeout) };
}

/// Wakes at most `count` of those who sleep on `word`, in this process and in others; `u32::MAX` means all.
fn futex_wake(word: &AtomicU32, count: u32) {
    let count = count.min(i32::MAX as u32);
    // SAFETY: the word outlives the call, which changes no memory.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, count) };
}

// ---------------------------------------------------------------- Part 1: the race, and the counting semaphore

/// One of two threads that change the same `count`, in three steps each: load it into a register, change the register,
/// store it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runs {
    /// The thread that does `count++`.
    Up,
    /// The thread that does `count--`.
    Down,
}

/// An order of the six steps, three of each thread, after which `count`, which was `start`, is `end`. `None` if no order
/// does that.
///
/// `[Up, Up, Up, Down, Down, Down]` is one thread after the other. The first `Up` is the load of `count++`, the second
/// one its addition, the third one its store.
pub fn order_that_ends_with(start: i32, end: i32) -> Option<[Runs; 6]> {
    todo!("which values can `count` have in the end, and by which order of the six steps?")
}

/// A counting semaphore: a number that never goes below 0, and a place to sleep.
///
/// It has no owner. Whoever posts need not have waited before, and may be another thread or another process.
///
/// Works between threads and between processes that share its memory. It is *weak*: who of those that wait is served next is
/// nobody's promise. Overflow is the caller's affair (sem_post(3) would say `EOVERFLOW`).
#[repr(C)]
pub struct Semaphore {
    value: AtomicU32,
}

impl Semaphore {
    /// A semaphore with this count. With 1 it is a binary semaphore.
    pub const fn new(count: u32) -> Self {
        Self { value: AtomicU32::new(count) }
    }

    /// Waits until the count is above 0 and takes 1 away, as one step: of two that see a 1, one gets it. (Also `P`, `down`, `acquire`.)
    ///
    /// While the count is 0 the caller sleeps in the kernel and uses no processor time (looking a few times before is fine).
    /// It may be woken for no reason, or by a signal: then it goes on waiting.
    /// When this returns, the caller sees all that was written before the `post` that let it in.
    pub fn wait(&self) {
        todo!("take 1 if there is one; otherwise sleep until somebody has posted, and look again")
    }

    /// Takes 1 away if the count is above 0. True if it did: then the caller sees all that was written before the `post` that let
    /// it in. Never waits, and fails only if there was nothing to take.
    pub fn try_wait(&self) -> bool {
        todo!("take 1 if there is one, as one atomic step; say whether it worked")
    }

    /// As [`wait`](Self::wait), but gives up at `deadline`. True if it took 1 away.
    ///
    /// - What is there is taken even when the deadline has passed.
    /// - It gives up at the deadline, not before; a wake-up for nothing neither ends the waiting nor makes it longer.
    /// - Whoever gives up takes no signal along: what was posted is there for somebody else.
    pub fn wait_until(&self, deadline: Instant) -> bool {
        todo!("as `wait`, but sleep only for the time that remains, and say no when none does")
    }

    /// Adds 1 to the count, and wakes one of those who wait, if anybody does. Never waits. (Also `V`, `up`, `signal`, `release`.)
    ///
    /// No signal is lost: `n` posts let `n` in, whatever the order of all steps, and also if `post` comes between a waiter's
    /// look at the count and its falling asleep.
    pub fn post(&self) {
        todo!("add 1, then wake one who may sleep")
    }
}

// ---------------------------------------------------------------- Part 2: the strong semaphore

/// A counting semaphore that serves strictly in the order of arrival. At most 64 wait at the same time.
///
/// `wait` begins with joining the queue, in one atomic step. From then on every `post` belongs to the one who has waited
/// longest, awake or not: nobody who comes later, and nobody who tries, can take it.
/// So waiting is bounded: who finds `k` in front of it is let in by the `k + 1`st post.
///
/// For all else as [`Semaphore`]: no owner, no signal lost, between processes, asleep while it waits.
#[repr(C)]
pub struct StrongSemaphore {
    word: AtomicU32,
}

impl StrongSemaphore {
    /// A semaphore with this count, and nobody in the queue.
    pub const fn new(count: u32) -> Self {
        Self { word: AtomicU32::new(count) }
    }

    /// Joins the queue and waits for its turn.
    pub fn wait(&self) {
        todo!("take a place in the queue, and sleep until that place is served")
    }

    /// Takes 1 away if the count is above 0 and nobody waits. True if it did: then the caller sees all that was written before the
    /// `post` that let it in, as after `wait`. Never waits for a turn.
    pub fn try_wait(&self) -> bool {
        todo!("take 1 only if that keeps nobody else waiting")
    }

    /// Lets the one in who has waited longest; if nobody waits, adds 1 to the count.
    pub fn post(&self) {
        todo!("serve the next place in the queue, and wake whoever has it")
    }

    /// How many have joined the queue and have not been let in by a `post` yet. Already old when it is returned, but exact
    /// as long as nobody comes and nobody posts.
    pub fn waiting(&self) -> u32 {
        todo!("how many are in the queue")
    }
}

// ---------------------------------------------------------------- Part 3: the bounded buffer

/// The time was over before it was the caller's turn. Nothing was put or taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedOut;

/// A buffer with `N` slots (1 or more), for many producers and many consumers, threads or processes.
///
/// First in, first out. Every item that is put comes out exactly once.
///
/// **When a process is killed.** Semaphores have no owner, so nobody can give back for a dead process. If it was killed
///
/// - outside these functions, or while it slept in one of them: nobody notices;
/// - anywhere else in one of them: a slot may be lost, or the mutex. Then the others wait, `put` and `get` for ever, and
///   `put_until` and `get_until` until they return `TimedOut`. The item that was being put may come out or not; all
///   others are as whole and as often there as before.
#[repr(C)]
pub struct BoundedBuffer<const N: usize> {
    filled: Semaphore,
    empty: Semaphore,
    mutex: Semaphore,
    next_in: UnsafeCell<usize>,
    next_out: UnsafeCell<usize>,
    slots: UnsafeCell<[u64; N]>,
}

// SAFETY: yours to make true: nobody touches the slots while somebody else does.
unsafe impl<const N: usize> Sync for BoundedBuffer<N> {}

impl<const N: usize> BoundedBuffer<N> {
    /// An empty buffer.
    pub fn new() -> Self {
        todo!("an empty buffer: which counts do the three semaphores begin with?")
    }

    /// Puts an item in. Sleeps while all slots are filled.
    pub fn put(&self, item: u64) {
        todo!(
            "wait for an empty slot, then for the mutex; put the item in; signal the mutex and a filled slot"
        )
    }

    /// Takes the oldest item out. Sleeps while all slots are empty.
    pub fn get(&self) -> u64 {
        todo!("the mirror image of `put`")
    }

    /// As [`put`](Self::put), but gives up at `deadline`; as [`Semaphore::wait_until`], not before, and not if nothing is in the way.
    ///
    /// # Errors
    /// [`TimedOut`], and the buffer is as if this had not been called.
    pub fn put_until(&self, item: u64, deadline: Instant) -> Result<(), TimedOut> {
        todo!("as `put`; what has to be given back if the second wait fails?")
    }

    /// As [`get`](Self::get), but gives up at `deadline`.
    ///
    /// # Errors
    /// [`TimedOut`], and the buffer is as if this had not been called.
    pub fn get_until(&self, deadline: Instant) -> Result<u64, TimedOut> {
        todo!("as `get`; what has to be given back if the second wait fails?")
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

/// `N` equal resources, numbered from 0: the printers behind one queue.
///
/// A resource that was taken belongs to whoever was told its number, and is given back by anybody who knows it.
#[repr(C)]
pub struct Pool<const N: usize> {
    free: Semaphore,
    mutex: Semaphore,
    taken: UnsafeCell<[bool; N]>,
}

// SAFETY: yours to make true: nobody touches the table while somebody else does.
unsafe impl<const N: usize> Sync for Pool<N> {}

impl<const N: usize> Pool<N> {
    /// All are free.
    pub fn new() -> Self {
        todo!("a pool of which nothing is taken")
    }

    /// Takes a free resource and returns its number, below `N`. Sleeps while none is free.
    pub fn acquire(&self) -> usize {
        todo!("wait until one is free, then find out which one, and note that it is taken")
    }

    /// Takes a resource if one is free. Never waits for one. `None` only if none is free.
    pub fn try_acquire(&self) -> Option<usize> {
        todo!("as `acquire`, but not if it would have to wait")
    }

    /// Gives a resource back.
    ///
    /// # Errors
    /// [`NotTaken`] if it is free already or its number is `N` or more, and nothing changes. A semaphore alone
    /// would not notice: its count would become too high.
    pub fn release(&self, number: usize) -> Result<(), NotTaken> {
        todo!("note that it is free, if it was taken; then let one more in")
    }
}

impl<const N: usize> Default for Pool<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// A meeting point for a fixed number of threads or processes, again and again.
#[repr(C)]
pub struct Barrier {
    parties: u32,
    mutex: Semaphore,
    inside: UnsafeCell<u32>,
    gates: [Semaphore; 2],
}

// SAFETY: yours to make true: nobody touches the number while somebody else does.
unsafe impl Sync for Barrier {}

impl Barrier {
    /// A barrier for `parties` (1 or more).
    pub fn new(parties: u32) -> Self {
        todo!("nobody is inside; are the gates open or closed?")
    }

    /// Waits, asleep, until all parties have called this, and then lets all of them go on. Nobody's `wait` of the round after
    /// counts for this one: who is fast and comes back at once waits for all others to come back too.
    ///
    /// What each party wrote before its `wait`, all see after theirs.
    pub fn wait(&self) {
        todo!(
            "count who comes; the last one opens the gate for all. How is the gate closed for the next round?"
        )
    }
}

// ---------------------------------------------------------------- Part 5: semaphores with a name

/// A POSIX semaphore with a name (sem_overview(7)): processes that know nothing of each other but the name share it.
///
/// Dropped: closed; and the name is removed if this value made it. Who has it open goes on using it.
pub struct NamedSemaphore {
    semaphore: NonNull<libc::sem_t>,
    name: Option<CString>,
}

impl NamedSemaphore {
    /// Makes a semaphore with this name (`/` and then no other `/`) and this count, for this user only (mode 600): sem_open(3).
    ///
    /// # Errors
    /// That of `sem_open`: `EEXIST` if there is one of that name already, which is left alone. `EINVAL` for a name with a zero byte.
    pub fn create(name: &str, count: u32) -> nix::Result<Self> {
        todo!("sem_open with O_CREAT and O_EXCL")
    }

    /// Opens the semaphore of this name.
    ///
    /// # Errors
    /// That of `sem_open`: `ENOENT` if there is none. `EINVAL` for a name with a zero byte.
    pub fn open(name: &str) -> nix::Result<Self> {
        todo!("sem_open without O_CREAT")
    }

    /// Waits until the count is above 0 and takes 1 away (sem_wait(3)). Goes on waiting after a signal handler has run.
    ///
    /// # Errors
    /// That of `sem_wait`, but never `EINTR`.
    pub fn wait(&self) -> nix::Result<()> {
        todo!("sem_wait; what does it do when a signal comes?")
    }

    /// Takes 1 away if the count is above 0 (sem_trywait(3)). `Ok(true)` if it did.
    ///
    /// # Errors
    /// That of `sem_trywait`, but never `EAGAIN` or `EINTR`.
    pub fn try_wait(&self) -> nix::Result<bool> {
        todo!("sem_trywait; EAGAIN is an answer")
    }

    /// Adds 1 to the count (sem_post(3)).
    ///
    /// # Errors
    /// That of `sem_post`.
    pub fn post(&self) -> nix::Result<()> {
        todo!("sem_post")
    }
}

impl Drop for NamedSemaphore {
    fn drop(&mut self) {
        todo!("sem_close; and sem_unlink for the one who made it")
    }
}

/// A System V semaphore used as a lock, or for `count` equal resources (sysvipc(7)): what a process has acquired, the kernel gives back
/// when it ends, in whatever way.
///
/// So here something does look after who took what: the kernel, process by process (`SEM_UNDO` in semop(2)). For that reason
/// only the process that has acquired releases.
///
/// Dropped: the semaphore is removed from the kernel if this value made it.
pub struct UndoSemaphore {
    id: libc::c_int,
    is_creator: bool,
}

/// The fourth argument of semctl(2). You have to define it yourself, says the manual.
#[repr(C)]
union Argument {
    value: libc::c_int,
    pointer: usize,
}

impl UndoSemaphore {
    /// Makes a semaphore with this key and count, for this user only (mode 600): semget(2), and semctl(2) with `SETVAL`.
    ///
    /// # Errors
    /// That of the call that failed: `EEXIST` if there is one with that key already, which is left alone.
    pub fn create(key: i32, count: u16) -> nix::Result<Self> {
        todo!("semget for one semaphore with IPC_CREAT and IPC_EXCL, then give it its count")
    }

    /// Finds the semaphore with this key.
    ///
    /// # Errors
    /// That of `semget`: `ENOENT` if there is none.
    pub fn open(key: i32) -> nix::Result<Self> {
        todo!("semget without IPC_CREAT")
    }

    /// Waits until the count is above 0 and takes 1 away. When this process ends before it has released, the kernel gives
    /// it back. Goes on waiting after a signal handler has run.
    ///
    /// # Errors
    /// That of `semop`, but never `EINTR`. `EIDRM` if the semaphore is removed meanwhile.
    pub fn acquire(&self) -> nix::Result<()> {
        todo!("semop with -1 and SEM_UNDO")
    }

    /// Gives back what this process has acquired: adds 1 to the count. After that there is nothing left that the kernel would give
    /// back when the process ends.
    ///
    /// # Errors
    /// That of `semop`.
    pub fn release(&self) -> nix::Result<()> {
        todo!("semop with +1; and what about SEM_UNDO?")
    }
}

impl Drop for UndoSemaphore {
    fn drop(&mut self) {
        todo!("semctl with IPC_RMID, for the one who made it")
    }
}
