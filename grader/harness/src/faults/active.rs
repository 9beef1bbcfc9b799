//! The plan in force and the log it fills. One spin lock with an owner guards both: hooks run in any thread, in forked
//! children and in signal handlers, so nothing here allocates or sleeps while a plan is in force.

use super::object::{Object, identity};
use super::{Action, Call, LOG_CAPACITY, Plan};
use std::hint;
use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU64, Ordering};

/// The plan in force, null if none. Changed and dereferenced only with `OWNER` held.
static ACTIVE: AtomicPtr<Active> = AtomicPtr::new(ptr::null_mut());

/// The thread that holds the lock, 0 if it is free.
static OWNER: AtomicI32 = AtomicI32::new(0);

/// Distinguishes installed plans, so that a call that outlives its plan does not write into the log of the next.
static GENERATION: AtomicU64 = AtomicU64::new(0);

struct Active {
    generation: u64,
    plan: Plan,
    log: Vec<Call>,
    made: usize,
    /// What descriptors 1 and 2 were when the plan was installed: the student's prints go there.
    prints: [Option<(u64, u64)>; 2],
    previous: *mut Active,
}

/// A plan in force; dropping it brings back the previous one.
pub(super) struct Installed {
    active: *mut Active,
    /// Plans nest like calls: they must end on the thread that began them.
    thread_bound: PhantomData<*mut ()>,
}

/// Where the outcome of a call is to be recorded.
pub(super) struct Entry {
    generation: u64,
    nth: usize,
}

pub(super) fn install(plan: Plan) -> Installed {
    let active = Box::into_raw(Box::new(Active {
        generation: GENERATION.fetch_add(1, Ordering::Relaxed) + 1,
        plan,
        log: Vec::with_capacity(LOG_CAPACITY),
        made: 0,
        prints: [identity(1), identity(2)],
        previous: ptr::null_mut(),
    }));
    let _lock = Lock::wait();
    // SAFETY: `active` was just allocated and is not yet visible to others.
    unsafe { (*active).previous = ACTIVE.load(Ordering::Relaxed) };
    // Relaxed: readers dereference it under the lock only, which orders the contents.
    ACTIVE.store(active, Ordering::Relaxed);
    Installed { active, thread_bound: PhantomData }
}

impl Installed {
    /// Ends the plan and returns its log.
    pub(super) fn finish(self) -> Vec<Call> {
        let _lock = Lock::wait();
        // SAFETY: `active` lives until `self` is dropped, and the lock keeps every hook away.
        std::mem::take(unsafe { &mut (*self.active).log })
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        let ended = {
            let _lock = Lock::wait();
            // SAFETY: `active` came from Box::into_raw in `install` and is freed nowhere else.
            let ended = unsafe { Box::from_raw(self.active) };
            ACTIVE.store(ended.previous, Ordering::Relaxed);
            ended
        };
        drop(ended);
    }
}

/// Whether a plan is in force: hooks do nothing more than the call itself if not.
pub(super) fn in_force() -> bool {
    !ACTIVE.load(Ordering::Relaxed).is_null()
}

/// Asks the plan about a call. `None`: no plan is in force, or the call is none of its business.
pub(super) fn decide(
    name: &'static str,
    fd: i32,
    asked: usize,
    waits: bool,
    transfers: bool,
) -> Option<(Action, Entry)> {
    if !in_force() {
        return None;
    }
    let _errno = KeptErrno::new();
    let object = (fd >= 0).then(|| Object::of(fd));
    let interruptible = waits && object.is_none_or(Object::is_slow);
    let divisible = transfers && asked > 1 && object.is_some_and(Object::is_divisible);
    let _lock = Lock::acquire()?;
    // SAFETY: the lock is held, so a plan that is in force cannot be freed or used by another thread.
    let active = unsafe { ACTIVE.load(Ordering::Relaxed).as_mut() }?;
    if transfers && active.is_print(fd) {
        return None;
    }
    let nth = active.made;
    active.made += 1;
    let call = Call { name, fd, asked, nth, outcome: Call::UNFINISHED, interruptible, divisible };
    let action = match active.plan.decide(&call) {
        Action::Short(_) if !divisible => Action::Proceed,
        action => action,
    };
    // Never beyond the capacity: a push would allocate, perhaps in a signal handler.
    if active.log.len() < active.log.capacity() {
        active.log.push(call);
    }
    Some((action, Entry { generation: active.generation, nth }))
}

/// Records how the call ended: a result or `-errno`.
pub(super) fn record(entry: &Entry, outcome: isize) {
    let _errno = KeptErrno::new();
    let Some(_lock) = Lock::acquire() else { return };
    // SAFETY: the lock is held, see `decide`.
    let Some(active) = (unsafe { ACTIVE.load(Ordering::Relaxed).as_mut() }) else { return };
    if active.generation != entry.generation {
        return;
    }
    if let Some(call) = active.log.get_mut(entry.nth) {
        call.outcome = outcome;
    }
}

/// Runs `fork` with the lock held, so that the child does not inherit it from a thread that no longer exists, and
/// empties the child's log.
pub(super) fn while_quiet(fork: impl FnOnce() -> i32) -> i32 {
    let lock = Lock::acquire();
    let result = while_signals_wait(fork);
    if result == 0 && lock.is_some() {
        // SAFETY: the child is single-threaded, and its copy of the lock is held by it.
        if let Some(active) = unsafe { ACTIVE.load(Ordering::Relaxed).as_mut() } {
            active.log.clear();
            active.made = 0;
            active.generation = GENERATION.fetch_add(1, Ordering::Relaxed) + 1;
        }
    }
    result
}

/// Makes a call about which a sandbox may be asked: a signal with a handler would end the asking with EINTR, which these calls do
/// not return by themselves.
pub(super) fn while_signals_wait<T>(call: impl FnOnce() -> T) -> T {
    let before = set_signal_mask(u64::MAX);
    let result = call();
    set_signal_mask(before);
    result
}

/// Blocks the signals whose bits are set, for this thread, and no others; returns those that were blocked. Leaves `errno` alone.
fn set_signal_mask(mask: u64) -> u64 {
    let mut before = 0_u64;
    let size = size_of_val(&mask);
    let (how, mask, place) = (libc::SIG_SETMASK, &raw const mask, &raw mut before);
    // SAFETY: the kernel reads one of its signal sets, of 64 bits, and writes one. It cannot fail.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, mask, place, size) };
    before
}

impl Active {
    fn is_print(&self, fd: i32) -> bool {
        match fd {
            1 | 2 => self.prints[fd as usize - 1].is_some_and(|print| identity(fd) == Some(print)),
            _ => false,
        }
    }
}

/// The lock, held.
struct Lock;

impl Lock {
    /// Waits for the lock; `None` if this thread holds it already: a plan or a signal handler makes a call.
    fn acquire() -> Option<Lock> {
        // SAFETY: gettid takes no arguments and cannot fail. The system call, not glibc's cached value: right after vfork too.
        let thread = unsafe { libc::syscall(libc::SYS_gettid) } as i32;
        loop {
            // Acquire: pairs with the Release in `drop`.
            match OWNER.compare_exchange_weak(0, thread, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Some(Lock),
                Err(owner) if owner == thread => return None,
                Err(_) => hint::spin_loop(),
            }
        }
    }

    /// As `acquire`, for `with`, which a plan must not call.
    fn wait() -> Lock {
        Lock::acquire().expect("a plan installs or removes no plan")
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        OWNER.store(0, Ordering::Release);
    }
}

/// Restores errno when dropped: a hook must not change it unless the call fails.
struct KeptErrno(i32);

impl KeptErrno {
    fn new() -> KeptErrno {
        // SAFETY: __errno_location returns this thread's errno, always valid.
        KeptErrno(unsafe { *libc::__errno_location() })
    }
}

impl Drop for KeptErrno {
    fn drop(&mut self) {
        // SAFETY: as in `new`.
        unsafe { *libc::__errno_location() = self.0 };
    }
}
