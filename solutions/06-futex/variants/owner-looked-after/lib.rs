//! With the second mutex of "Futexes Are Tricky", and a robust mutex whose waiters look after the owner themselves.

use std::cell::{Cell, UnsafeCell};
use std::hint::spin_loop;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};
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

/// The second mutex of "Futexes Are Tricky", section 5.
#[derive(Default)]
#[repr(C)]
pub struct FutexMutex {
    /// 0 free, 1 held, 2 held and somebody may sleep.
    state: AtomicU32,
}

impl FutexMutex {
    /// A free mutex.
    pub const fn new() -> Self {
        Self { state: AtomicU32::new(0) }
    }

    /// Waits until the mutex is free and takes it.
    pub fn lock(&self) {
        let mut seen = self.exchange(0, 1);
        while seen != 0 {
            if seen == 2 || self.exchange(1, 2) != 0 {
                futex_wait(&self.state, 2, None);
            }
            seen = self.exchange(0, 2);
        }
    }

    /// Gives the mutex back and wakes one sleeper if there may be one.
    pub fn unlock(&self) {
        if self.state.fetch_sub(1, Release) != 1 {
            self.state.store(0, Release);
            futex_wake(&self.state, 1);
        }
    }

    /// Takes the mutex if it is free.
    pub fn try_lock(&self) -> bool {
        self.exchange(0, 1) == 0
    }

    /// Waits until the mutex is free, or until the deadline.
    pub fn lock_until(&self, deadline: Instant) -> bool {
        let mut seen = self.exchange(0, 1);
        while seen != 0 {
            let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero());
            let Some(left) = left else {
                return self.exchange(0, 2) == 0;
            };
            if seen == 2 || self.exchange(1, 2) != 0 {
                futex_wait(&self.state, 2, Some(left));
            }
            seen = self.exchange(0, 2);
        }
        true
    }

    /// What was there; replaced if it was `expected`.
    fn exchange(&self, expected: u32, new: u32) -> u32 {
        match self.state.compare_exchange(expected, new, Acquire, Relaxed) {
            Ok(seen) | Err(seen) => seen,
        }
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
        // Makes longer and never shorter.
        nix::fcntl::posix_fallocate(file, 0, Self::LENGTH as i64)?;
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

fn thread_id() -> u32 {
    nix::unistd::gettid().as_raw().cast_unsigned()
}

/// A mutex that knows its owner: who it is stands in a word of its own.
#[derive(Default)]
#[repr(C)]
pub struct OwnedMutex {
    mutex: FutexMutex,
    /// The owner's thread id; 0 if nobody holds the mutex.
    owner: AtomicU32,
}

impl OwnedMutex {
    /// A free mutex.
    pub const fn new() -> Self {
        Self { mutex: FutexMutex::new(), owner: AtomicU32::new(0) }
    }

    /// Waits until the mutex is free and takes it.
    ///
    /// # Errors
    /// [`OwnerError::AlreadyOwner`].
    pub fn lock(&self) -> Result<(), OwnerError> {
        let me = thread_id();
        if self.owner.load(Relaxed) == me {
            return Err(OwnerError::AlreadyOwner);
        }
        let mut looks = 0;
        while !self.mutex.try_lock() {
            if looks == 15 {
                self.mutex.lock();
                break;
            }
            looks += 1;
            spin_loop();
        }
        self.owner.store(me, Relaxed);
        Ok(())
    }

    /// Gives the mutex back.
    ///
    /// # Errors
    /// [`OwnerError::NotOwner`].
    pub fn unlock(&self) -> Result<(), OwnerError> {
        if self.owner.load(Relaxed) != thread_id() {
            return Err(OwnerError::NotOwner);
        }
        self.owner.store(0, Relaxed);
        self.mutex.unlock();
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

const OWNER: u32 = libc::FUTEX_TID_MASK;
const WAITERS: u32 = libc::FUTEX_WAITERS;
/// How long a waiter sleeps before it looks after the owner.
const NAP: Duration = Duration::from_millis(10);

/// A mutex whose waiters make sure that the owner is alive.
#[derive(Default)]
#[repr(C)]
pub struct RobustMutex {
    /// 0 when free; the owner's thread id, and `WAITERS` if somebody may sleep.
    word: AtomicU32,
    /// When the owner was started, so that another thread with the same id is not taken for it; 0 when not known (yet).
    started: AtomicU64,
}

impl RobustMutex {
    /// A free mutex.
    pub const fn new() -> Self {
        Self { word: AtomicU32::new(0), started: AtomicU64::new(0) }
    }

    /// Waits until the mutex is free, or its owner is dead, and takes it.
    pub fn lock(&self) -> Locked {
        let me = thread_id();
        let mut mine = me;
        let locked = loop {
            let seen = self.word.load(Acquire);
            let owner = seen & OWNER;
            if owner == 0 {
                if self.exchange(seen, mine) {
                    break Locked::Clean;
                }
            } else if self.is_dead(owner) {
                self.started.store(0, Release);
                if self.exchange(seen, me | WAITERS) {
                    break Locked::OwnerDied;
                }
            } else if seen & WAITERS != 0 || self.exchange(seen, seen | WAITERS) {
                futex_wait(&self.word, seen | WAITERS, Some(NAP));
                mine = me | WAITERS;
            }
        };
        self.started.store(own_start_time(me), Release);
        locked
    }

    fn exchange(&self, seen: u32, new: u32) -> bool {
        self.word.compare_exchange(seen, new, AcqRel, Relaxed).is_ok()
    }

    fn is_dead(&self, owner: u32) -> bool {
        let started = self.started.load(Acquire);
        start_time(owner).is_none_or(|time| started != 0 && time != started)
    }

    /// Gives the mutex back.
    pub fn unlock(&self) {
        self.started.store(0, Relaxed);
        if self.word.swap(0, Release) & WAITERS != 0 {
            futex_wake(&self.word, 1);
        }
    }
}

/// When the calling thread was started; read once in each thread, and again in the child of a fork.
fn own_start_time(me: u32) -> u64 {
    thread_local! {
        static KNOWN: Cell<(u32, u64)> = const { Cell::new((0, 0)) };
    }
    KNOWN.with(|known| {
        if known.get().0 != me {
            known.set((me, start_time(me).unwrap_or(0)));
        }
        known.get().1
    })
}

/// When a thread was started (`/proc/TID/stat`, field 22); `None` if it is no more, or a zombie.
fn start_time(thread: u32) -> Option<u64> {
    use nix::fcntl::{OFlag, open};
    use nix::sys::stat::Mode;
    let mut path = *b"/proc/0000000000/stat";
    let mut rest = thread;
    for place in path[6..16].iter_mut().rev() {
        *place = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    // The kernel does not take leading zeros.
    let first = path[6..].iter().position(|&byte| byte != b'0').unwrap_or(0);
    path.copy_within(6 + first.., 6);
    let path = &path[..path.len() - first];
    let file = open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
    let mut text = [0; 512];
    let length = nix::unistd::read(&file, &mut text).ok()?;
    let text = &text[..length];
    // After the name, which may itself have parentheses: the state, and 18 numbers before the time.
    let name_ends = text.iter().rposition(|&byte| byte == b')')?;
    let mut fields = text.get(name_ends + 2..)?.split(|&byte| byte == b' ');
    if matches!(fields.next()?.first()?, b'Z' | b'X') {
        return None;
    }
    let time = fields.nth(18)?;
    Some(time.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}
