//! A variant: thread and handle agree under a lock, `exit` leaves its value in a thread-local place, `Once` knows whether somebody
//! sleeps, tasks are read from `stat`, and the later parts stand on the lab's own threads.

use std::any::Any;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::{c_int, c_void};
use std::fs;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

// ---- Part 1: threads by pthread_create.

/// How a thread is made: `pthread_attr_init(3)`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Bytes of stack; `None` for the default.
    pub stack_size: Option<usize>,
    /// Nobody will join the thread.
    pub detached: bool,
}

/// Why [`Thread::join`] has no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinError {
    /// The start routine panicked, with this message.
    Panicked(String),
    /// The errno of a join that cannot be.
    Errno(i32),
}

/// What the thread leaves behind: its value, or the message of its panic.
type Left<T> = Result<T, String>;

/// A thread whose start routine returns a `T`.
#[derive(Debug)]
pub struct Thread<T> {
    id: libc::pthread_t,
    /// Whether this handle still has to join or detach the thread.
    attached: bool,
    end: Arc<End>,
    value: PhantomData<fn() -> T>,
}

/// Who drops what the thread leaves: a joiner, or the thread itself because nobody will join it.
#[derive(Debug)]
struct End(Mutex<u8>);

impl End {
    fn swap(&self, state: u8) -> u8 {
        std::mem::replace(&mut *lock(&self.0), state)
    }
}

const RUNNING: u8 = 0;
const DETACHED: u8 = 1;
const LEFT: u8 = 2;

/// What travels to the new thread, in a box.
struct Start<A, F> {
    routine: F,
    argument: A,
    end: Arc<End>,
}

/// The payload that unwinds a thread which called [`exit`].
struct Exit;

thread_local!(static EXIT: RefCell<Option<Box<dyn Any>>> = const { RefCell::new(None) });

impl<T: Send + 'static> Thread<T> {
    /// Part 1: starts a thread that runs `start_routine(argument)`.
    ///
    /// # Errors
    /// The errno that pthreads return.
    pub fn create<A, F>(attributes: &Attributes, start_routine: F, argument: A) -> io::Result<Thread<T>>
    where
        A: Send + 'static,
        F: FnOnce(A) -> T + Send + 'static,
    {
        let object = AttributeObject::new(attributes)?;
        let state = if attributes.detached { DETACHED } else { RUNNING };
        let end = Arc::new(End(Mutex::new(state)));
        let start =
            Box::into_raw(Box::new(Start { routine: start_routine, argument, end: Arc::clone(&end) }));
        let mut id = 0;
        // SAFETY: the attribute object is initialised; the box belongs to the thread if there is one.
        let error = unsafe { libc::pthread_create(&mut id, &object.0, run::<A, F, T>, start.cast()) };
        if error != 0 {
            // SAFETY: no thread has taken the box.
            drop(unsafe { Box::from_raw(start) });
            return Err(io::Error::from_raw_os_error(error));
        }
        Ok(Thread { id, attached: !attributes.detached, end, value: PhantomData })
    }

    /// Part 1: waits until the thread has ended, and returns its value.
    ///
    /// # Errors
    /// `Panicked`, or the errno of `pthread_join`.
    pub fn join(mut self) -> Result<T, JoinError> {
        if !self.attached {
            return Err(JoinError::Errno(libc::EINVAL));
        }
        let left = self.wait()?;
        left.map_err(JoinError::Panicked)
    }

    /// Part 1: lets the thread run on, joined by nobody.
    ///
    /// # Errors
    /// What `pthread_detach` returns.
    pub fn detach(mut self) -> io::Result<()> {
        self.let_go()
    }
}

impl<T> Thread<T> {
    fn wait(&mut self) -> Result<Left<T>, JoinError> {
        let mut value = ptr::null_mut();
        // SAFETY: the thread is neither joined nor detached.
        let error = unsafe { libc::pthread_join(self.id, &mut value) };
        if error != 0 {
            return Err(JoinError::Errno(error));
        }
        self.attached = false;
        // SAFETY: the pointer that `run` returned for a thread that is joined.
        Ok(*unsafe { Box::from_raw(value.cast::<Left<T>>()) })
    }

    fn let_go(&mut self) -> io::Result<()> {
        if !self.attached {
            return Ok(());
        }
        if self.end.swap(DETACHED) == LEFT {
            // The thread is at its end, and has left a value that is ours to drop.
            return match self.wait() {
                Ok(_) => Ok(()),
                Err(JoinError::Errno(error)) => Err(io::Error::from_raw_os_error(error)),
                Err(JoinError::Panicked(message)) => Err(io::Error::other(message)),
            };
        }
        self.attached = false;
        // SAFETY: the thread is neither joined nor detached yet.
        check(unsafe { libc::pthread_detach(self.id) })
    }
}

impl<T> Drop for Thread<T> {
    fn drop(&mut self) {
        let _ = self.let_go();
    }
}

/// What runs in the new thread. Returning is an implicit `pthread_exit`.
extern "C" fn run<A, F: FnOnce(A) -> T, T: 'static>(start: *mut c_void) -> *mut c_void {
    // SAFETY: the box that `create` made for this thread.
    let start = *unsafe { Box::from_raw(start.cast::<Start<A, F>>()) };
    let Start { routine, argument, end } = start;
    let left = match catch_unwind(AssertUnwindSafe(|| routine(argument))) {
        Ok(value) => Ok(value),
        Err(payload) if payload.is::<Exit>() => {
            let value = EXIT.take().and_then(|value| value.downcast::<T>().ok());
            value.map(|value| *value).ok_or_else(|| "exit with another type".to_owned())
        }
        Err(payload) => Err(message_of(payload.as_ref())),
    };
    let left: *mut Left<T> = Box::into_raw(Box::new(left));
    if end.swap(LEFT) == DETACHED {
        // SAFETY: nobody will join, so nobody else gets the pointer.
        drop(unsafe { Box::from_raw(left) });
        return ptr::null_mut();
    }
    left.cast()
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "…".to_owned())
}

/// The functions of pthreads return 0 or a positive errno.
fn check(error: c_int) -> io::Result<()> {
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

/// An initialised attribute object; destroyed when dropped.
struct AttributeObject(libc::pthread_attr_t);

impl AttributeObject {
    fn new(attributes: &Attributes) -> io::Result<Self> {
        let mut object = MaybeUninit::uninit();
        // SAFETY: the place for the object.
        check(unsafe { libc::pthread_attr_init(object.as_mut_ptr()) })?;
        // SAFETY: just initialised.
        let mut object = Self(unsafe { object.assume_init() });
        if let Some(bytes) = attributes.stack_size {
            // SAFETY: an initialised object, here and below.
            check(unsafe { libc::pthread_attr_setstacksize(&mut object.0, bytes) })?;
        }
        if attributes.detached {
            // SAFETY: as above.
            check(unsafe {
                libc::pthread_attr_setdetachstate(&mut object.0, libc::PTHREAD_CREATE_DETACHED)
            })?;
        }
        Ok(object)
    }
}

impl Drop for AttributeObject {
    fn drop(&mut self) {
        // SAFETY: initialised, and not used any more.
        unsafe { libc::pthread_attr_destroy(&mut self.0) };
    }
}

/// Part 1: ends the calling thread from any depth of calls: `join` returns `value`.
pub fn exit<T: Send + 'static>(value: T) -> ! {
    EXIT.set(Some(Box::new(value)));
    resume_unwind(Box::new(Exit))
}

// ---- Part 2: identities.

/// Part 2: the process that the caller belongs to: PID for users, TGID for the kernel.
pub fn process_id() -> i32 {
    // SAFETY: takes nothing, cannot fail.
    unsafe { libc::syscall(libc::SYS_getpid) as i32 }
}

/// Part 2: the calling thread itself: TID.
pub fn thread_id() -> i32 {
    // SAFETY: takes nothing, cannot fail.
    unsafe { libc::syscall(libc::SYS_gettid) as i32 }
}

/// Part 2: whether the caller is the first thread of its process.
pub fn is_main_thread() -> bool {
    thread_id() == process_id()
}

/// One task: what the kernel schedules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Its own number.
    pub tid: i32,
    /// The number of its thread group, the user's PID.
    pub tgid: i32,
    /// Its name.
    pub name: String,
    /// The state letter of `proc_pid_status(5)`.
    pub state: char,
}

/// Part 2: all tasks of a process, ascending by TID.
///
/// # Errors
/// `NotFound` when there is no such process. Whatever else opening or reading reports.
pub fn tasks_of(pid: i32) -> io::Result<Vec<Task>> {
    let directory = fs::File::open(format!("/proc/{pid}/task"))?;
    let path = format!("/proc/self/fd/{}", directory.as_raw_fd());
    let mut tids: Vec<i32> = fs::read_dir(&path)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok()?.parse().ok())
        .collect();
    tids.sort_unstable();
    let tasks = tids.into_iter().map(|tid| task(&format!("{path}/{tid}"), tid));
    tasks.filter_map(Result::transpose).collect()
}

/// One task, `None` if it is gone.
fn task(path: &str, tid: i32) -> io::Result<Option<Task>> {
    let (Some(stat), Some(mut name), Some(status)) =
        (file(&format!("{path}/stat"))?, file(&format!("{path}/comm"))?, file(&format!("{path}/status"))?)
    else {
        return Ok(None);
    };
    name.pop();
    let state = stat.rfind(')').and_then(|end| stat[end + 1..].trim_start().chars().next());
    let tgid = status.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok());
    match (state, tgid) {
        (Some(state), Some(tgid)) => Ok(Some(Task { tid, tgid, name, state })),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// A file's text, `None` if its task is gone.
fn file(path: &str) -> io::Result<Option<String>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if [Some(libc::ENOENT), Some(libc::ESRCH)].contains(&error.raw_os_error()) => Ok(None),
        Err(error) => Err(error),
    }
}

// ---- Part 3: thread safety.

/// Splits a text at delimiters: `strtok_r(3)`.
#[derive(Debug)]
pub struct Tokenizer<'t> {
    rest: &'t str,
}

impl<'t> Tokenizer<'t> {
    /// Part 3: starts at the beginning of `text`.
    pub fn new(text: &'t str) -> Self {
        Self { rest: text }
    }

    /// Part 3: the next token, `None` at the end.
    pub fn next_token(&mut self, delimiters: &str) -> Option<&'t str> {
        let text = self.rest.trim_start_matches(|c| delimiters.contains(c));
        let (token, rest) = text.split_once(|c| delimiters.contains(c)).unwrap_or((text, ""));
        self.rest = rest;
        (!token.is_empty()).then_some(token)
    }
}

/// A global variable of which each thread has its own.
#[derive(Debug)]
pub struct ThreadSpecific<T: 'static> {
    key: libc::pthread_key_t,
    make: fn() -> T,
}

impl<T: 'static> ThreadSpecific<T> {
    /// Part 3: makes the key.
    ///
    /// # Errors
    /// What `pthread_key_create` returns.
    pub fn new(make: fn() -> T) -> io::Result<Self> {
        let mut key = 0;
        // SAFETY: a place for the key; the destructor takes what `with` stores.
        check(unsafe { libc::pthread_key_create(&mut key, Some(drop_value::<T>)) })?;
        Ok(Self { key, make })
    }

    /// Part 3: calls `f` with the calling thread's value.
    ///
    /// # Panics
    /// If the system has no memory to remember the value.
    pub fn with<R>(&self, f: impl FnOnce(&T) -> R) -> R {
        // SAFETY: the key is ours until we are dropped.
        let mut value = unsafe { libc::pthread_getspecific(self.key) };
        if value.is_null() {
            value = Box::into_raw(Box::new((self.make)())).cast();
            // SAFETY: as above; the value is a box, as the destructor expects.
            let stored = check(unsafe { libc::pthread_setspecific(self.key, value) });
            assert!(stored.is_ok(), "cannot remember the value of this thread: {stored:?}");
        }
        // SAFETY: this thread's box, which only this thread drops, and not while it is in here.
        f(unsafe { &*value.cast::<T>() })
    }
}

impl<T: 'static> Drop for ThreadSpecific<T> {
    fn drop(&mut self) {
        // SAFETY: nobody uses the key after this; the value, if there is one, is this thread's own.
        unsafe {
            let value = libc::pthread_getspecific(self.key);
            libc::pthread_key_delete(self.key);
            if !value.is_null() {
                drop_value::<T>(value);
            }
        }
    }
}

/// Drops a boxed value: called by pthreads at the end of each thread that has one.
unsafe extern "C" fn drop_value<T>(value: *mut c_void) {
    // SAFETY: the box that `with` stored.
    drop(unsafe { Box::from_raw(value.cast::<T>()) });
}

/// Initialises a global once, whoever comes first.
#[derive(Debug)]
pub struct Once {
    /// [`NEW`], [`BUSY`], [`AWAITED`]: busy and somebody sleeps, [`DONE`].
    state: AtomicU32,
}

const NEW: u32 = 0;
const BUSY: u32 = 1;
const AWAITED: u32 = 2;
const DONE: u32 = 3;

impl Once {
    /// Part 3: nothing has run yet.
    pub const fn new() -> Self {
        Self { state: AtomicU32::new(NEW) }
    }

    /// Part 3: runs `f`, unless a call has run one before.
    pub fn call_once(&self, f: impl FnOnce()) {
        while self.state.load(Ordering::Acquire) != DONE {
            if self.state.compare_exchange(NEW, BUSY, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                let outcome = catch_unwind(AssertUnwindSafe(f));
                let end = if outcome.is_ok() { DONE } else { NEW };
                if self.state.swap(end, Ordering::AcqRel) == AWAITED {
                    futex_wake_all(&self.state);
                }
                return outcome.unwrap_or_else(|panic| resume_unwind(panic));
            }
            let _ = self.state.compare_exchange(BUSY, AWAITED, Ordering::AcqRel, Ordering::Acquire);
            if self.state.load(Ordering::Acquire) == AWAITED {
                futex_wait(&self.state, AWAITED, libc::FUTEX_PRIVATE_FLAG);
            }
        }
    }

    /// Part 3: whether an `f` has run to its end.
    pub fn is_completed(&self) -> bool {
        self.state.load(Ordering::Acquire) == DONE
    }
}

impl Default for Once {
    fn default() -> Self {
        Self::new()
    }
}

/// Sleeps while the word has this value, or shorter.
fn futex_wait(word: &AtomicU32, value: u32, flags: c_int) {
    let timeout = ptr::null::<libc::timespec>();
    // SAFETY: the word outlives the call; no timeout.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT | flags, value, timeout) };
}

fn futex_wake_all(word: &AtomicU32) {
    let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: only the address of the word is used.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, i32::MAX) };
}

// ---- Part 4: work shared among threads.

/// Part 4: the sum of `f(item)` over all items, computed by min(`threads`, `items.len()`) threads.
///
/// # Errors
/// `InvalidInput` when `threads` is 0. What creating a thread reports.
pub fn parallel_sum<T: Sync>(items: &[T], threads: usize, f: impl Fn(&T) -> u64 + Sync) -> io::Result<u128> {
    if threads == 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no threads"));
    }
    let threads = threads.min(items.len());
    let f = &f;
    thread::scope(|scope| {
        let mut running = Vec::with_capacity(threads);
        for index in 0..threads {
            // Borders at multiples of items / threads: no thread is without work.
            let mine = &items[index * items.len() / threads..(index + 1) * items.len() / threads];
            let sum = move || mine.iter().map(|item| u128::from(f(item))).sum::<u128>();
            running.push(thread::Builder::new().spawn_scoped(scope, sum)?);
        }
        let sums: Vec<_> = running.into_iter().map(thread::ScopedJoinHandle::join).collect();
        Ok(sums.into_iter().map(|sum| sum.unwrap_or_else(|panic| resume_unwind(panic))).sum())
    })
}

/// A fixed number of threads that run jobs from one queue.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<Thread<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Box<dyn FnOnce() + Send>>,
    closed: bool,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("jobs", &self.jobs.len()).field("closed", &self.closed).finish()
    }
}

/// The job panicked, with this message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobPanicked(pub String);

/// A job that was given to a [`Pool`].
#[derive(Debug)]
pub struct Job<R> {
    place: Arc<Place<R>>,
}

/// Where a job leaves its result.
#[derive(Debug)]
struct Place<R> {
    result: Mutex<Option<Result<R, JobPanicked>>>,
    filled: Condvar,
}

/// No code of others runs while these locks are held, so a poisoned one is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    /// Part 4: starts `workers` threads that wait for jobs, asleep.
    ///
    /// # Errors
    /// `InvalidInput` when `workers` is 0. What creating a thread reports.
    pub fn new(workers: usize) -> io::Result<Pool> {
        if workers == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no workers"));
        }
        // Dropped on an error: then the threads made so far are joined.
        let mut pool = Pool { shared: Arc::default(), workers: Vec::with_capacity(workers) };
        for _ in 0..workers {
            let shared = Arc::clone(&pool.shared);
            pool.workers.push(Thread::create(
                &Attributes::default(),
                |shared: Arc<Shared>| shared.work(),
                shared,
            )?);
        }
        Ok(pool)
    }

    /// Part 4: puts a job at the end of the queue, and returns at once.
    pub fn submit<R, F>(&self, job: F) -> Job<R>
    where
        R: Send + 'static,
        F: FnOnce() -> R + Send + 'static,
    {
        let place = Arc::new(Place { result: Mutex::new(None), filled: Condvar::new() });
        let its_place = Arc::clone(&place);
        let job = move || {
            let result = catch_unwind(AssertUnwindSafe(job));
            let result = result.map_err(|payload| JobPanicked(message_of(payload.as_ref())));
            *lock(&its_place.result) = Some(result);
            its_place.filled.notify_all();
        };
        lock(&self.shared.queue).jobs.push_back(Box::new(job));
        self.shared.changed.notify_one();
        Job { place }
    }

    /// Part 4: waits until every job submitted so far has run, and until the workers have ended.
    pub fn shutdown(self) {
        drop(self);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        lock(&self.shared.queue).closed = true;
        self.shared.changed.notify_all();
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

impl Shared {
    /// The life of a worker: jobs until the queue is closed and empty.
    fn work(&self) {
        while let Some(job) = self.next_job() {
            job();
        }
    }

    fn next_job(&self) -> Option<Box<dyn FnOnce() + Send>> {
        let mut queue = lock(&self.queue);
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            if queue.closed {
                return None;
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<R> Job<R> {
    /// Part 4: waits until the job has run, and returns what it returned.
    ///
    /// # Errors
    /// `JobPanicked` when it panicked.
    pub fn wait(self) -> Result<R, JobPanicked> {
        let mut result = lock(&self.place.result);
        loop {
            if let Some(result) = result.take() {
                return result;
            }
            result = self.place.filled.wait(result).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

// ---- Part 5: a task by clone.

/// Two kinds of task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Shares everything with its creator.
    Thread,
    /// Shares nothing.
    Process,
}

/// A task made by [`spawn_task`]. Dropping it waits for the task.
#[derive(Debug)]
pub struct KernelTask {
    kind: Kind,
    tid: i32,
    joined: bool,
    control: Arc<Control>,
    stack: Stack,
}

/// What the task and its creator both look at (a process looks at a copy).
#[derive(Debug)]
struct Control {
    /// The task's number until the kernel writes 0: then the task is off its stack.
    alive: AtomicU32,
    value: AtomicU8,
    body: extern "C" fn(usize) -> u8,
    argument: usize,
}

/// Part 5: makes a task that runs `body(argument)` on a stack of its own, by `clone(2)`.
///
/// # Errors
/// What `mmap`, `mprotect` or `clone` report.
///
/// # Safety
/// `body` keeps away from thread-local storage, which it shares with the caller; `argument` suits it.
pub unsafe fn spawn_task(
    kind: Kind,
    stack_size: usize,
    body: extern "C" fn(usize) -> u8,
    argument: usize,
) -> io::Result<KernelTask> {
    let stack = Stack::map(stack_size)?;
    let control = Arc::new(Control { alive: AtomicU32::new(0), value: AtomicU8::new(0), body, argument });
    let alive = control.alive.as_ptr();
    let flags = match kind {
        Kind::Thread => {
            libc::CLONE_THREAD
                | libc::CLONE_SIGHAND
                | libc::CLONE_VM
                | libc::CLONE_FS
                | libc::CLONE_FILES
                | libc::CLONE_SYSVSEM
                | libc::CLONE_PARENT_SETTID
                | libc::CLONE_CHILD_CLEARTID
        }
        Kind::Process => libc::SIGCHLD,
    };
    let shared = Arc::as_ptr(&control).cast_mut().cast();
    let none = ptr::null_mut::<c_void>();
    // SAFETY: the stack and the control block live until the task has ended; the caller vouches for `body`.
    let tid = unsafe { libc::clone(enter, stack.top(), flags, shared, alive, none, alive) };
    if tid == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(KernelTask { kind, tid, joined: false, control, stack })
}

/// The first function on the new stack. glibc's `clone` ends the task with what it returns.
extern "C" fn enter(control: *mut c_void) -> c_int {
    // SAFETY: the control block of this task, which its creator keeps until the task has ended.
    let control = unsafe { &*control.cast::<Control>() };
    let value = (control.body)(control.argument);
    // Release: before the kernel clears `alive`; pairs with the Acquire in `wait`.
    control.value.store(value, Ordering::Release);
    value.into()
}

impl KernelTask {
    /// Part 5: the kernel's number of the task.
    pub fn tid(&self) -> i32 {
        self.tid
    }

    /// Part 5: waits until the task has ended, unmaps its stack, returns the body's value.
    ///
    /// # Errors
    /// When a process was killed by a signal; what `waitpid` reports.
    pub fn join(mut self) -> io::Result<u8> {
        self.wait()
    }

    fn wait(&mut self) -> io::Result<u8> {
        self.joined = true;
        match self.kind {
            Kind::Thread => {
                loop {
                    // Acquire: the value was stored before the kernel cleared the word.
                    let alive = self.control.alive.load(Ordering::Acquire);
                    if alive == 0 {
                        return Ok(self.control.value.load(Ordering::Acquire));
                    }
                    // Not private: the kernel wakes by a shared operation. An absolute form of the same wait.
                    let operation = libc::FUTEX_WAIT_BITSET;
                    let (word, none) = (self.control.alive.as_ptr(), ptr::null::<libc::timespec>());
                    // SAFETY: the word lives as long as we do.
                    unsafe { libc::syscall(libc::SYS_futex, word, operation, alive, none, none, u32::MAX) };
                }
            }
            Kind::Process => match wait_for(self.tid)? {
                status if libc::WIFEXITED(status) => Ok(libc::WEXITSTATUS(status) as u8),
                status => Err(io::Error::other(format!("killed by signal {}", libc::WTERMSIG(status)))),
            },
        }
    }
}

impl Drop for KernelTask {
    fn drop(&mut self) {
        if !self.joined {
            let _ = self.wait();
        }
        self.stack.unmap();
    }
}

/// Waits until the child has ended, however often a signal interrupts; its status word.
fn wait_for(pid: i32) -> io::Result<c_int> {
    let mut status = 0;
    // SAFETY: a place for the status.
    while unsafe { libc::waitpid(pid, &mut status, 0) } == -1 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    Ok(status)
}

/// Memory for a stack, with a guard page below.
#[derive(Debug)]
struct Stack {
    start: *mut c_void,
    length: usize,
}

impl Stack {
    fn map(bytes: usize) -> io::Result<Self> {
        // SAFETY: takes a number.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let length = bytes + page;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
        // SAFETY: a fresh mapping, all of it without access.
        let start = unsafe { libc::mmap(ptr::null_mut(), length, libc::PROT_NONE, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let stack = Self { start, length };
        // SAFETY: all of the mapping but its lowest page.
        let error =
            unsafe { libc::mprotect(start.byte_add(page), bytes, libc::PROT_READ | libc::PROT_WRITE) };
        if error == -1 {
            let error = io::Error::last_os_error();
            stack.unmap();
            return Err(error);
        }
        Ok(stack)
    }

    fn top(&self) -> *mut c_void {
        // SAFETY: the end of the mapping.
        unsafe { self.start.byte_add(self.length) }
    }

    fn unmap(&self) {
        // SAFETY: nobody is on the stack any more.
        unsafe { libc::munmap(self.start, self.length) };
    }
}

// ---- Part 6: processes and threads side by side.

/// What separates the workers of part 6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// They are threads of one process.
    Threads,
    /// They are processes.
    Processes,
}

/// Part 6: runs `work(0)` … `work(count - 1)` at the same time, and says which of them returned.
///
/// # Errors
/// What `mmap` or `fork` report.
pub fn run_workers(count: usize, isolation: Isolation, work: impl Fn(usize) + Sync) -> io::Result<Vec<bool>> {
    let marks = Marks::map(count)?;
    let run = |index| {
        if catch_unwind(AssertUnwindSafe(|| work(index))).is_ok() {
            marks.get(index).store(1, Ordering::Release);
        }
    };
    let mut children = Children(Vec::new());
    match isolation {
        Isolation::Processes => {
            for index in 0..count {
                children.0.push(fork_child(|| run(index))?);
            }
        }
        Isolation::Threads => children.0.push(fork_child(|| {
            let run = &run;
            thread::scope(|scope| (0..count).for_each(|index| drop(scope.spawn(move || run(index)))));
        })?),
    }
    for pid in children.0.drain(..) {
        wait_for(pid)?;
    }
    Ok((0..count).map(|index| marks.get(index).load(Ordering::Acquire) == 1).collect())
}

/// Forks a child that runs `f` and ends; never returns in the child.
fn fork_child(f: impl FnOnce()) -> io::Result<libc::pid_t> {
    // SAFETY: the caller has one thread, so no lock stays locked in the child.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let code = if catch_unwind(AssertUnwindSafe(f)).is_ok() { 0 } else { 101 };
            // SAFETY: ends the child without running the caller's exit handlers.
            unsafe { libc::_exit(code) }
        }
        pid => Ok(pid),
    }
}

/// Children to be waited for; killed first if nobody has done so when this is dropped.
struct Children(Vec<libc::pid_t>);

impl Drop for Children {
    fn drop(&mut self) {
        for &pid in &self.0 {
            // SAFETY: a child that has not been waited for.
            unsafe { libc::kill(pid, libc::SIGKILL) };
            let _ = wait_for(pid);
        }
    }
}

/// One byte for each worker, in memory that stays shared across `fork`.
struct Marks {
    start: *mut AtomicU8,
    length: usize,
}

// SAFETY: only hands out references to atomics.
unsafe impl Sync for Marks {}

impl Marks {
    fn map(count: usize) -> io::Result<Self> {
        let length = count.max(1);
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a fresh mapping.
        let start = unsafe { libc::mmap(ptr::null_mut(), length, access, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { start: start.cast(), length })
    }

    fn get(&self, index: usize) -> &AtomicU8 {
        assert!(index < self.length);
        // SAFETY: inside the mapping, which starts as zeros.
        unsafe { &*self.start.add(index) }
    }
}

impl Drop for Marks {
    fn drop(&mut self) {
        // SAFETY: mapped by `map`, with this length; no reference is left.
        unsafe { libc::munmap(self.start.cast(), self.length) };
    }
}

fn at_least_one(rounds: u32) -> io::Result<()> {
    if rounds == 0 { Err(io::Error::new(io::ErrorKind::InvalidInput, "no rounds")) } else { Ok(()) }
}

/// Part 6: the mean time of creating a thread or process and waiting for its end.
///
/// # Errors
/// What creating or waiting reports. `InvalidInput` when `rounds` is 0.
pub fn creation_time(isolation: Isolation, rounds: u32) -> io::Result<Duration> {
    at_least_one(rounds)?;
    let start = Instant::now();
    for _ in 0..rounds {
        match isolation {
            Isolation::Threads => drop(Thread::create(&Attributes::default(), |()| (), ())?.join()),
            Isolation::Processes => drop(wait_for(fork_child(|| {})?)?),
        }
    }
    Ok(start.elapsed() / rounds)
}

/// Part 6: the mean time of one switch between two threads, or two processes.
///
/// # Errors
/// What the system calls report. `InvalidInput` when `rounds` is 0.
pub fn switch_time(isolation: Isolation, rounds: u32) -> io::Result<Duration> {
    at_least_one(rounds)?;
    let _here = OneProcessor::bind()?;
    let (mut its_reader, mut my_writer) = io::pipe()?;
    let (mut my_reader, mut its_writer) = io::pipe()?;
    let mut partner = move || answer(&mut its_reader, &mut its_writer);
    let taken = match isolation {
        Isolation::Threads => {
            let partner = Thread::create(
                &Attributes::default(),
                |mut partner: Box<dyn FnMut() + Send>| partner(),
                Box::new(partner) as Box<dyn FnMut() + Send>,
            )?;
            let taken = exchange(rounds, &mut my_writer, &mut my_reader);
            // The partner sees the end of its pipe.
            drop(my_writer);
            let _ = partner.join();
            taken
        }
        Isolation::Processes => {
            let mine = my_writer;
            let pid = fork_child(|| partner_process(&mut partner, &mine))?;
            drop(partner);
            let mut mine = mine;
            let taken = exchange(rounds, &mut mine, &mut my_reader);
            drop(mine);
            wait_for(pid)?;
            taken
        }
    }?;
    Ok(taken / rounds / 2)
}

/// The child's side: it must not hold the write end whose closing ends it.
fn partner_process(partner: &mut impl FnMut(), writer: &PipeWriter) {
    use std::os::fd::AsRawFd;
    // SAFETY: the child's copy of the descriptor; the child ends by `_exit`, so nobody closes it again.
    unsafe { libc::close(writer.as_raw_fd()) };
    partner();
}

/// Hands each byte back, until the pipe ends.
fn answer(reader: &mut PipeReader, writer: &mut PipeWriter) {
    let mut token = [0];
    while reader.read_exact(&mut token).is_ok() && writer.write_all(&token).is_ok() {}
}

fn exchange(rounds: u32, writer: &mut PipeWriter, reader: &mut PipeReader) -> io::Result<Duration> {
    let mut token = [1];
    let start = Instant::now();
    for _ in 0..rounds {
        writer.write_all(&token)?;
        reader.read_exact(&mut token)?;
    }
    Ok(start.elapsed())
}

/// The calling thread is bound to one processor; dropped, it has those that it had before.
struct OneProcessor {
    before: libc::cpu_set_t,
}

impl OneProcessor {
    fn bind() -> io::Result<Self> {
        // SAFETY: a bit set, for which all zeros is the empty set.
        let (mut before, mut one) = unsafe { std::mem::zeroed::<(libc::cpu_set_t, libc::cpu_set_t)>() };
        let size = size_of::<libc::cpu_set_t>();
        // SAFETY: sets of the size that is told.
        unsafe {
            if libc::sched_getaffinity(0, size, &mut before) == -1 {
                return Err(io::Error::last_os_error());
            }
            let cpu = libc::sched_getcpu();
            if cpu < 0 {
                return Err(io::Error::last_os_error());
            }
            libc::CPU_SET(cpu as usize, &mut one);
            if libc::sched_setaffinity(0, size, &one) == -1 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(Self { before })
    }
}

impl Drop for OneProcessor {
    fn drop(&mut self) {
        // SAFETY: a set of the size that is told.
        unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &self.before) };
    }
}
