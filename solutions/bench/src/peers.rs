//! The peers of libc, as this benchmark needs them: `pthread_mutex_t`, `sem_t`, `pthread_rwlock_t`, pipe(2).

use std::cell::UnsafeCell;
use std::io::{PipeReader, PipeWriter, Read, Write};

use crate::counter::Exclusive;
use crate::stream::Message;

/// A mutex of POSIX threads. Boxed: it must not move.
pub struct PthreadMutex(Box<UnsafeCell<libc::pthread_mutex_t>>);

// SAFETY: it is made for several threads.
unsafe impl Sync for PthreadMutex {}

/// What kind of a mutex of POSIX threads.
#[derive(Clone, Copy)]
pub enum Kind {
    Plain,
    /// Knows its owner.
    ErrorCheck,
    /// Between processes, and survives its owner.
    SharedRobust,
}

impl PthreadMutex {
    /// A free mutex of that kind.
    pub fn new(kind: Kind) -> Self {
        let mutex = Box::new(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));
        let mut attributes = std::mem::MaybeUninit::uninit();
        // SAFETY: initialised in the first call, used for a mutex that nobody has yet, and destroyed in the last.
        unsafe {
            libc::pthread_mutexattr_init(attributes.as_mut_ptr());
            match kind {
                Kind::Plain => {}
                Kind::ErrorCheck => {
                    libc::pthread_mutexattr_settype(attributes.as_mut_ptr(), libc::PTHREAD_MUTEX_ERRORCHECK);
                }
                Kind::SharedRobust => {
                    let shared = libc::PTHREAD_PROCESS_SHARED;
                    libc::pthread_mutexattr_setpshared(attributes.as_mut_ptr(), shared);
                    libc::pthread_mutexattr_setrobust(attributes.as_mut_ptr(), libc::PTHREAD_MUTEX_ROBUST);
                }
            }
            libc::pthread_mutex_init(mutex.get(), attributes.as_ptr());
            libc::pthread_mutexattr_destroy(attributes.as_mut_ptr());
        }
        Self(mutex)
    }
}

impl Exclusive for PthreadMutex {
    #[inline]
    fn lock(&self) {
        // SAFETY: initialised in `new`.
        unsafe { libc::pthread_mutex_lock(self.0.get()) };
    }

    #[inline]
    fn unlock(&self) {
        // SAFETY: as above; the caller holds it.
        unsafe { libc::pthread_mutex_unlock(self.0.get()) };
    }
}

/// A spinlock of POSIX threads.
pub struct PthreadSpin(Box<UnsafeCell<libc::pthread_spinlock_t>>);

// SAFETY: it is made for several threads.
unsafe impl Sync for PthreadSpin {}

impl PthreadSpin {
    /// A free spinlock.
    pub fn new() -> Self {
        let lock = Box::new(UnsafeCell::new(0));
        // SAFETY: nobody has it yet.
        unsafe { libc::pthread_spin_init(lock.get(), libc::PTHREAD_PROCESS_SHARED) };
        Self(lock)
    }
}

impl Exclusive for PthreadSpin {
    #[inline]
    fn lock(&self) {
        // SAFETY: initialised in `new`.
        unsafe { libc::pthread_spin_lock(self.0.get()) };
    }

    #[inline]
    fn unlock(&self) {
        // SAFETY: as above; the caller holds it.
        unsafe { libc::pthread_spin_unlock(self.0.get()) };
    }
}

/// A semaphore of POSIX, between processes.
pub struct PosixSemaphore(Box<UnsafeCell<libc::sem_t>>);

// SAFETY: it is made for several threads.
unsafe impl Sync for PosixSemaphore {}
// SAFETY: as above.
unsafe impl Send for PosixSemaphore {}

impl PosixSemaphore {
    /// A semaphore with this count.
    pub fn new(count: u32) -> Self {
        // SAFETY: zero bytes are overwritten by `sem_init`; nobody has it yet.
        let semaphore = Box::new(UnsafeCell::new(unsafe { std::mem::zeroed() }));
        // SAFETY: as above.
        unsafe { libc::sem_init(semaphore.get(), 1, count) };
        Self(semaphore)
    }

    #[inline]
    pub fn wait(&self) {
        // SAFETY: initialised in `new`.
        while unsafe { libc::sem_wait(self.0.get()) } != 0 {}
    }

    #[inline]
    pub fn post(&self) {
        // SAFETY: as above.
        unsafe { libc::sem_post(self.0.get()) };
    }
}

impl Exclusive for PosixSemaphore {
    #[inline]
    fn lock(&self) {
        self.wait();
    }

    #[inline]
    fn unlock(&self) {
        self.post();
    }
}

/// A read-write lock of POSIX threads.
pub struct PthreadRwLock(Box<UnsafeCell<libc::pthread_rwlock_t>>);

impl PthreadRwLock {
    /// Nobody is there.
    pub fn new() -> Self {
        Self(Box::new(UnsafeCell::new(libc::PTHREAD_RWLOCK_INITIALIZER)))
    }

    /// Begins to read, and ends.
    #[inline]
    pub fn read(&self) {
        // SAFETY: initialised in `new`.
        unsafe {
            libc::pthread_rwlock_rdlock(self.0.get());
            libc::pthread_rwlock_unlock(self.0.get());
        }
    }
}

/// One write(2).
pub fn write(mut pipe: &PipeWriter, message: &Message) {
    pipe.write_all(message).expect("the reader lives, and a message is written whole");
}

/// One read(2): messages of this size are never cut, for whole ones fill a page.
pub fn read(mut pipe: &PipeReader) -> Message {
    let mut message = [0; _];
    pipe.read_exact(&mut message).expect("the writer lives");
    message
}
