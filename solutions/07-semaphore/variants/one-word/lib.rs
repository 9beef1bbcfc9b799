//! One word and a wake-up call for each post, all SeqCst; tickets woken by bit; one total of items; turnstiles that pass on; `semtimedop`.

use std::cell::UnsafeCell;
use std::ffi::CString;
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
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

/// An order after which `count` is `end`.
pub fn order_that_ends_with(start: i32, end: i32) -> Option<[Runs; 6]> {
    use Runs::{Down, Up};
    if end == start {
        Some([Down, Down, Down, Up, Up, Up])
    } else if start.checked_add(1) == Some(end) {
        Some([Down, Up, Down, Up, Down, Up])
    } else if start.checked_sub(1) == Some(end) {
        Some([Up, Down, Up, Down, Up, Down])
    } else {
        None
    }
}

/// A counting semaphore of one word.
#[repr(C)]
pub struct Semaphore {
    value: AtomicU32,
}

impl Semaphore {
    /// A semaphore with this count.
    pub const fn new(count: u32) -> Self {
        Self { value: AtomicU32::new(count) }
    }

    /// Waits until the count is above 0 and takes 1 away.
    pub fn wait(&self) {
        while !self.try_wait() {
            futex_wait(&self.value, 0, None);
        }
    }

    /// Takes 1 away if the count is above 0.
    pub fn try_wait(&self) -> bool {
        let mut seen = self.value.load(SeqCst);
        while seen != 0 {
            match self.value.compare_exchange(seen, seen - 1, SeqCst, SeqCst) {
                Ok(_) => return true,
                Err(other) => seen = other,
            }
        }
        false
    }

    /// Waits until the count is above 0, or until the deadline.
    pub fn wait_until(&self, deadline: Instant) -> bool {
        loop {
            if self.try_wait() {
                return true;
            }
            match deadline.checked_duration_since(Instant::now()) {
                Some(left) if !left.is_zero() => futex_wait(&self.value, 0, Some(left)),
                _ => return false,
            }
        }
    }

    /// Adds 1 and wakes one.
    pub fn post(&self) {
        self.value.fetch_add(1, SeqCst);
        futex_wake(&self.value, 1);
    }
}

// ---------------------------------------------------------------- Part 2: the strong semaphore

/// Tickets; each sleeper has one of 32 bits.
#[repr(C)]
pub struct StrongSemaphore {
    /// Tickets below this one may pass.
    served: AtomicU32,
    /// The next ticket.
    come: AtomicU32,
}

impl StrongSemaphore {
    /// A semaphore with this count.
    pub const fn new(count: u32) -> Self {
        Self { served: AtomicU32::new(count), come: AtomicU32::new(0) }
    }

    /// Takes a ticket and waits for its turn.
    pub fn wait(&self) {
        let ticket = self.come.fetch_add(1, SeqCst);
        loop {
            let served = self.served.load(SeqCst);
            if ticket.wrapping_sub(served).cast_signed() < 0 {
                return;
            }
            let (operation, bit) = (libc::FUTEX_WAIT_BITSET, 1_u32 << (ticket % 32));
            let none = ptr::null::<libc::timespec>();
            let word = self.served.as_ptr();
            // SAFETY: the word outlives the call.
            unsafe { libc::syscall(libc::SYS_futex, word, operation, served, none, none, bit) };
        }
    }

    /// Passes if nobody waits and there is something to take.
    pub fn try_wait(&self) -> bool {
        self.come
            .fetch_update(SeqCst, SeqCst, |come| {
                (come.wrapping_sub(self.served.load(SeqCst)).cast_signed() < 0).then(|| come.wrapping_add(1))
            })
            .is_ok()
    }

    /// Serves the next ticket, and wakes its bit.
    pub fn post(&self) {
        let ticket = self.served.fetch_add(1, SeqCst);
        let (operation, bit) = (libc::FUTEX_WAKE_BITSET, 1_u32 << (ticket % 32));
        let none = ptr::null::<libc::timespec>();
        let word = self.served.as_ptr();
        // SAFETY: the word outlives the call, which changes no memory.
        unsafe { libc::syscall(libc::SYS_futex, word, operation, i32::MAX, none, none, bit) };
    }

    /// How many wait.
    pub fn waiting(&self) -> u32 {
        let served = self.served.load(SeqCst);
        self.come.load(SeqCst).wrapping_sub(served).cast_signed().max(0).cast_unsigned()
    }
}

// ---------------------------------------------------------------- Part 3: the bounded buffer

/// The time was over before it was the caller's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedOut;

/// A ring, its first item and its length.
#[repr(C)]
pub struct BoundedBuffer<const N: usize> {
    mutex: Semaphore,
    filled: Semaphore,
    empty: Semaphore,
    first: UnsafeCell<usize>,
    length: UnsafeCell<usize>,
    slots: UnsafeCell<[u64; N]>,
}

// SAFETY: all of it is reached under the mutex only.
unsafe impl<const N: usize> Sync for BoundedBuffer<N> {}

/// Further away than any program runs.
fn never() -> Instant {
    Instant::now() + Duration::from_secs(1 << 32)
}

impl<const N: usize> BoundedBuffer<N> {
    /// An empty buffer.
    pub fn new() -> Self {
        Self {
            mutex: Semaphore::new(1),
            filled: Semaphore::new(0),
            empty: Semaphore::new(N as u32),
            first: UnsafeCell::new(0),
            length: UnsafeCell::new(0),
            slots: UnsafeCell::new([0; N]),
        }
    }

    /// Waits for a free slot and puts the item there.
    pub fn put(&self, item: u64) {
        while self.put_until(item, never()).is_err() {}
    }

    /// Waits for an item and takes the oldest.
    pub fn get(&self) -> u64 {
        loop {
            if let Ok(item) = self.get_until(never()) {
                return item;
            }
        }
    }

    /// As `put`, but gives up at the deadline.
    ///
    /// # Errors
    /// [`TimedOut`].
    pub fn put_until(&self, item: u64, deadline: Instant) -> Result<(), TimedOut> {
        if !self.empty.wait_until(deadline) {
            return Err(TimedOut);
        }
        if !self.mutex.wait_until(deadline) {
            self.empty.post();
            return Err(TimedOut);
        }
        // SAFETY: the mutex is held.
        unsafe {
            let place = (*self.first.get() + *self.length.get()) % N;
            (*self.slots.get())[place] = item;
            *self.length.get() += 1;
        }
        self.mutex.post();
        self.filled.post();
        Ok(())
    }

    /// As `get`, but gives up at the deadline.
    ///
    /// # Errors
    /// [`TimedOut`].
    pub fn get_until(&self, deadline: Instant) -> Result<u64, TimedOut> {
        if !self.filled.wait_until(deadline) {
            return Err(TimedOut);
        }
        if !self.mutex.wait_until(deadline) {
            self.filled.post();
            return Err(TimedOut);
        }
        // SAFETY: the mutex is held.
        let item = unsafe {
            let first = *self.first.get();
            *self.length.get() -= 1;
            *self.first.get() = (first + 1) % N;
            (*self.slots.get())[first]
        };
        self.mutex.post();
        self.empty.post();
        Ok(item)
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

/// A stack of free numbers.
#[repr(C)]
pub struct Pool<const N: usize> {
    free: Semaphore,
    mutex: Semaphore,
    stack: UnsafeCell<([usize; N], usize)>,
}

// SAFETY: the stack is reached under the mutex only.
unsafe impl<const N: usize> Sync for Pool<N> {}

impl<const N: usize> Pool<N> {
    /// All are free.
    pub fn new() -> Self {
        Self {
            free: Semaphore::new(N as u32),
            mutex: Semaphore::new(1),
            stack: UnsafeCell::new((std::array::from_fn(|index| index), N)),
        }
    }

    /// Waits for a free resource and takes it.
    pub fn acquire(&self) -> usize {
        self.free.wait();
        self.pop()
    }

    /// Takes a resource if one is free.
    pub fn try_acquire(&self) -> Option<usize> {
        self.free.try_wait().then(|| self.pop())
    }

    fn pop(&self) -> usize {
        self.mutex.wait();
        // SAFETY: the mutex is held.
        let (numbers, length) = unsafe { &mut *self.stack.get() };
        *length -= 1;
        let number = numbers[*length];
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
        let (numbers, length) = unsafe { &mut *self.stack.get() };
        let wrong = number >= N || numbers[..*length].contains(&number);
        if !wrong {
            numbers[*length] = number;
            *length += 1;
        }
        self.mutex.post();
        if wrong {
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

/// Two turnstiles: whoever has passed lets the next one pass; one is locked while the other is open.
#[repr(C)]
pub struct Barrier {
    parties: u32,
    mutex: Semaphore,
    inside: UnsafeCell<u32>,
    turnstiles: [Semaphore; 2],
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
            turnstiles: [Semaphore::new(0), Semaphore::new(1)],
        }
    }

    /// Waits until all have come.
    pub fn wait(&self) {
        let [first, second] = &self.turnstiles;
        self.mutex.wait();
        // SAFETY: the mutex is held.
        unsafe {
            *self.inside.get() += 1;
            if *self.inside.get() == self.parties {
                second.wait();
                first.post();
            }
        }
        self.mutex.post();
        first.wait();
        first.post();
        self.mutex.wait();
        // SAFETY: the mutex is held.
        unsafe {
            *self.inside.get() -= 1;
            if *self.inside.get() == 0 {
                first.wait();
                second.post();
            }
        }
        self.mutex.post();
        second.wait();
        second.post();
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
        // SAFETY: one operation, and no time limit.
        let none = ptr::null::<libc::timespec>();
        let one = &raw mut operation;
        uninterrupted(|| unsafe { libc::syscall(libc::SYS_semtimedop, self.id, one, 1, none) as libc::c_int })
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
