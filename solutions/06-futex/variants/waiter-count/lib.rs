//! With the waiters counted in a word of their own, as musl does it, and a kernel list that is registered anew each time.

use std::cell::{Cell, UnsafeCell};
use std::hint::spin_loop;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicU32, compiler_fence};
use std::time::{Duration, Instant};

use nix::errno::Errno;

// ---------------------------------------------------------------- Part 1: the system call

/// Why [`futex_wait`] returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// The caller slept and was let go on, by a wake-up call or for no reason.
    Woken,
    /// The word was not as expected.
    ValueChanged,
    /// A signal handler ran.
    Interrupted,
    /// The time was over.
    TimedOut,
}

/// Sleeps on `word` while it is `expected`, for at most `timeout`.
pub fn futex_wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) -> Wait {
    let timeout = timeout.and_then(|timeout| {
        let tv_sec = libc::time_t::try_from(timeout.as_secs()).ok()?;
        Some(libc::timespec { tv_sec, tv_nsec: timeout.subsec_nanos().into() })
    });
    match futex(word, libc::FUTEX_WAIT, expected, timeout.as_ref()) {
        Ok(_) => Wait::Woken,
        Err(Errno::EAGAIN) => Wait::ValueChanged,
        Err(Errno::EINTR) => Wait::Interrupted,
        Err(Errno::ETIMEDOUT) => Wait::TimedOut,
        Err(errno) => panic!("waiting on a word that exists: {errno}"),
    }
}

/// Wakes at most `count` sleepers; how many it was.
pub fn futex_wake(word: &AtomicU32, count: u32) -> u32 {
    let count = count.min(i32::MAX as u32);
    futex(word, libc::FUTEX_WAKE, count, None).unwrap_or_else(|errno| panic!("waking: {errno}"))
}

fn futex(word: &AtomicU32, operation: i32, value: u32, timeout: Option<&libc::timespec>) -> nix::Result<u32> {
    let timeout = timeout.map_or(ptr::null(), ptr::from_ref);
    // SAFETY: the word and the time outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, value, timeout) };
    Errno::result(result).map(|count| count as u32)
}

// ---------------------------------------------------------------- Parts 2 and 4: the mutex

/// A mutex with a flag and a count of those who wait.
#[derive(Default)]
#[repr(C)]
pub struct FutexMutex {
    /// 1 when held.
    held: AtomicU32,
    /// How many may sleep on `held`.
    waiters: AtomicU32,
}

impl FutexMutex {
    /// A free mutex.
    pub const fn new() -> Self {
        Self { held: AtomicU32::new(0), waiters: AtomicU32::new(0) }
    }

    /// Waits until the mutex is free and takes it.
    pub fn lock(&self) {
        self.wait(|| Some(None));
    }

    /// Gives the mutex back and wakes one of those who wait.
    pub fn unlock(&self) {
        // SeqCst, as in `wait`: either this sees the waiter in the count, or the waiter sees that the mutex is free.
        self.held.swap(0, SeqCst);
        if self.waiters.load(SeqCst) != 0 {
            futex_wake(&self.held, 1);
        }
    }

    /// Takes the mutex if it is free.
    pub fn try_lock(&self) -> bool {
        self.held.compare_exchange(0, 1, SeqCst, SeqCst).is_ok()
    }

    /// Waits until the mutex is free, or until the deadline.
    pub fn lock_until(&self, deadline: Instant) -> bool {
        self.wait(|| {
            let left = deadline.saturating_duration_since(Instant::now());
            (!left.is_zero()).then_some(Some(left))
        })
    }

    /// Waits for as long as there is time.
    fn wait(&self, time: impl Fn() -> Option<Option<Duration>>) -> bool {
        for _ in 0..5 {
            if self.try_lock() {
                return true;
            }
            spin_loop();
        }
        self.waiters.fetch_add(1, SeqCst);
        let got = loop {
            if self.try_lock() {
                break true;
            }
            let Some(time) = time() else { break self.try_lock() };
            futex_wait(&self.held, 1, time);
        };
        self.waiters.fetch_sub(1, SeqCst);
        got
    }
}

// ---------------------------------------------------------------- Part 3: between processes

/// Types for which any bytes that are all zero are a value, and which mean the same in every process.
///
/// # Safety
/// The type holds nothing that belongs to one process, and zero bytes are a valid value of it.
pub unsafe trait Plain: Copy {}

// SAFETY: numbers are numbers everywhere, and 0 is one.
unsafe impl Plain for u32 {}
// SAFETY: as above.
unsafe impl Plain for u64 {}
// SAFETY: as above, for each of them.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

/// What stands at the beginning of the file.
#[repr(C)]
struct Region<T> {
    mutex: FutexMutex,
    value: UnsafeCell<T>,
}

/// A value in a file's pages, under a mutex that is there as well.
pub struct SharedValue<T: Plain> {
    region: NonNull<Region<T>>,
}

// SAFETY: the value is reached under the mutex only, and the mapping belongs to no thread.
unsafe impl<T: Plain + Send> Send for SharedValue<T> {}
// SAFETY: as above.
unsafe impl<T: Plain + Send> Sync for SharedValue<T> {}

impl<T: Plain> SharedValue<T> {
    const LENGTH: usize = size_of::<Region<T>>();

    /// Maps the file, made long enough.
    ///
    /// # Errors
    /// The errno of the call that failed.
    pub fn attach(file: BorrowedFd<'_>) -> nix::Result<Self> {
        use nix::sys::mman::{MapFlags, ProtFlags, mmap};
        let length = std::num::NonZero::new(Self::LENGTH).ok_or(Errno::EINVAL)?;
        if nix::sys::stat::fstat(file)?.st_size < Self::LENGTH as i64 {
            nix::unistd::ftruncate(file, Self::LENGTH as i64)?;
        }
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses.
        let address = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, file, 0) }?;
        Ok(Self { region: address.cast() })
    }

    /// Waits for the value and takes it.
    pub fn lock(&self) -> SharedGuard<'_, T> {
        self.region().mutex.lock();
        SharedGuard { value: self, not_send: PhantomData }
    }

    fn region(&self) -> &Region<T> {
        // SAFETY: mapped for as long as `self` lives; zero bytes, and whatever other processes make of them, are a
        // valid `Region` of plain words.
        unsafe { self.region.as_ref() }
    }
}

impl<T: Plain> Drop for SharedValue<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping is `self`'s own, and guards cannot outlive it. It cannot fail with the address and length of `mmap`.
        let _ = unsafe { nix::sys::mman::munmap(self.region.cast(), Self::LENGTH) };
    }
}

/// Access to the value of a [`SharedValue`].
#[must_use = "the mutex is given back when the guard is dropped"]
pub struct SharedGuard<'a, T: Plain> {
    value: &'a SharedValue<T>,
    not_send: PhantomData<*const ()>,
}

impl<T: Plain> Deref for SharedGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the mutex is held.
        unsafe { &*self.value.region().value.get() }
    }
}

impl<T: Plain> DerefMut for SharedGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the mutex is held, and the guard is borrowed mutably.
        unsafe { &mut *self.value.region().value.get() }
    }
}

impl<T: Plain> Drop for SharedGuard<'_, T> {
    fn drop(&mut self) {
        self.value.region().mutex.unlock();
    }
}

// ---------------------------------------------------------------- Part 5: ownership, and a little patience

/// A mistake in the use of an [`OwnedMutex`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnerError {
    /// The caller holds the mutex already.
    AlreadyOwner,
    /// The caller does not hold the mutex.
    NotOwner,
}

/// How often a locker looks before it sleeps.
const SPINS: u32 = 150;
/// Nobody holds the mutex.
const FREE: u32 = 0;
/// The bits of a word that are a thread id; a free mutex has none of them.
const OWNER: u32 = libc::FUTEX_TID_MASK;
/// Set in a word when somebody may sleep.
const WAITERS: u32 = libc::FUTEX_WAITERS;

fn thread_id() -> u32 {
    nix::unistd::gettid().as_raw().cast_unsigned()
}

/// A mutex that knows its owner.
#[derive(Default)]
#[repr(C)]
pub struct OwnedMutex {
    /// 0 when free; otherwise the owner's thread id.
    word: AtomicU32,
    /// How many may sleep.
    waiters: AtomicU32,
}

impl OwnedMutex {
    /// A free mutex.
    pub const fn new() -> Self {
        Self { word: AtomicU32::new(FREE), waiters: AtomicU32::new(0) }
    }

    /// Waits until the mutex is free and takes it.
    ///
    /// # Errors
    /// [`OwnerError::AlreadyOwner`].
    pub fn lock(&self) -> Result<(), OwnerError> {
        let me = thread_id();
        // Only this thread writes its own id, so the answer cannot become wrong meanwhile.
        if self.word.load(Relaxed) == me {
            return Err(OwnerError::AlreadyOwner);
        }
        if self.take(me) || self.spin(me) {
            return Ok(());
        }
        self.waiters.fetch_add(1, SeqCst);
        loop {
            let seen = self.word.load(SeqCst);
            if seen != FREE {
                futex_wait(&self.word, seen, None);
            } else if self.take(me) {
                break;
            }
        }
        self.waiters.fetch_sub(1, SeqCst);
        Ok(())
    }

    fn take(&self, value: u32) -> bool {
        self.word.compare_exchange(FREE, value, SeqCst, Relaxed).is_ok()
    }

    /// Looks for a while; true if it took the mutex.
    fn spin(&self, me: u32) -> bool {
        for _ in 0..SPINS {
            spin_loop();
            if self.word.load(Relaxed) == FREE && self.take(me) {
                return true;
            }
        }
        false
    }

    /// Gives the mutex back.
    ///
    /// # Errors
    /// [`OwnerError::NotOwner`].
    pub fn unlock(&self) -> Result<(), OwnerError> {
        if self.word.load(Relaxed) != thread_id() {
            return Err(OwnerError::NotOwner);
        }
        self.word.swap(FREE, SeqCst);
        if self.waiters.load(SeqCst) != 0 {
            futex_wake(&self.word, 1);
        }
        Ok(())
    }
}

// ---------------------------------------------------------------- Part 6: the owner dies

/// How [`RobustMutex::lock`] got the mutex.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locked {
    /// The holder before gave it back.
    Clean,
    /// The holder before died.
    OwnerDied,
}

/// A mutex that survives its owner, by the kernel's robust list.
#[derive(Default)]
#[repr(C)]
pub struct RobustMutex {
    /// 0 when free; the owner's thread id and `WAITERS` when held; `FUTEX_OWNER_DIED`, set by the kernel, when the owner is
    /// dead. `WAITERS` is always set: a waiter may be woken and killed before it could tell that others sleep.
    word: AtomicU32,
    link: Link,
}

/// A place in the list of the mutexes that a thread holds: the address of the next one, or of the head.
#[derive(Default)]
#[repr(C)]
struct Link {
    next: UnsafeCell<usize>,
}

/// What the kernel reads when the thread ends (set_robust_list(2)).
#[repr(C)]
struct ListHead {
    first: Link,
    futex_offset: libc::c_long,
    pending: UnsafeCell<usize>,
}

// SAFETY: only the owner touches `link`.
unsafe impl Sync for RobustMutex {}

impl RobustMutex {
    /// A free mutex.
    pub const fn new() -> Self {
        Self { word: AtomicU32::new(FREE), link: Link { next: UnsafeCell::new(0) } }
    }

    /// Waits until the mutex is free, or its owner is dead, and takes it.
    pub fn lock(&self) -> Locked {
        HELD_BY_THIS_THREAD.with(|held| {
            let me = held.register();
            held.set_pending(Some(&self.link));
            let before = loop {
                let seen = self.word.load(Relaxed);
                if seen & OWNER != 0 {
                    futex_wait(&self.word, seen, None);
                } else if self.word.compare_exchange(seen, me | WAITERS, Acquire, Relaxed).is_ok() {
                    break seen;
                }
            };
            held.insert(&self.link);
            held.set_pending(None);
            if before & libc::FUTEX_OWNER_DIED != 0 { Locked::OwnerDied } else { Locked::Clean }
        })
    }

    /// Gives the mutex back.
    pub fn unlock(&self) {
        HELD_BY_THIS_THREAD.with(|held| {
            held.set_pending(Some(&self.link));
            held.remove(&self.link);
            self.word.store(FREE, Release);
            futex_wake(&self.word, 1);
            held.set_pending(None);
        });
    }
}

thread_local! {
    static HELD_BY_THIS_THREAD: Held = const {
        Held {
            head: ListHead {
                first: Link { next: UnsafeCell::new(0) },
                futex_offset: std::mem::offset_of!(RobustMutex, word) as libc::c_long
                    - std::mem::offset_of!(RobustMutex, link) as libc::c_long,
                pending: UnsafeCell::new(0),
            },
            registered: Cell::new(0),
        }
    };
}

/// The mutexes that a thread holds. The kernel reads the list at whatever instruction the thread is killed, so each write
/// leaves a list that can be walked, and the fences keep the compiler from moving them.
struct Held {
    head: ListHead,
    /// The thread that has registered the list. The child of a fork is another one, and holds nothing.
    registered: Cell<u32>,
}

impl Held {
    /// Tells the kernel about the list, once in each thread. Returns the thread's id.
    fn register(&self) -> u32 {
        let me = thread_id();
        // Whoever holds nothing (in this thread) may register again; so a forked child need not know that it is one.
        if self.registered.get() != me || self.head.first.read() == self.first() {
            self.head.first.write(self.first());
            write(&self.head.pending, 0);
            // SAFETY: the head lives as long as the thread, and is an empty list.
            unsafe { libc::syscall(libc::SYS_set_robust_list, &raw const self.head, size_of::<ListHead>()) };
            self.registered.set(me);
        }
        me
    }

    /// The mutex that is being taken or given back: between the word and the list, the kernel looks here.
    fn set_pending(&self, link: Option<&Link>) {
        write(&self.head.pending, link.map_or(0, Link::address));
    }

    fn insert(&self, link: &Link) {
        link.write(self.head.first.read());
        self.head.first.write(link.address());
    }

    fn remove(&self, link: &Link) {
        let mut place = &self.head.first;
        while place.read() != link.address() {
            // SAFETY: the links in the list are those of mutexes that this thread holds, until the head ends it; `link` is in it.
            place = unsafe { &*(place.read() as *const Link) };
        }
        place.write(link.read());
    }

    /// Where the list ends: the head's own first field.
    fn first(&self) -> usize {
        self.head.first.address()
    }
}

impl Link {
    fn address(&self) -> usize {
        ptr::from_ref(self) as usize
    }

    fn read(&self) -> usize {
        // SAFETY: only the owner's thread touches its links.
        unsafe { self.next.get().read_volatile() }
    }

    fn write(&self, address: usize) {
        write(&self.next, address);
    }
}

fn write(place: &UnsafeCell<usize>, value: usize) {
    compiler_fence(SeqCst);
    // SAFETY: only the owner's thread touches its list; the kernel reads it when the thread is no more.
    unsafe { place.get().write_volatile(value) };
    compiler_fence(SeqCst);
}
