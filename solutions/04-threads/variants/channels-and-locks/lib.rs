//! A variant: values travel in shared packets and channels instead of raw pointers, `Once` and the pool stand on the
//! standard library's locks and channels, the task's word is set beforehand, and workers report by a pipe.

use std::any::Any;
use std::ffi::{c_int, c_void};
use std::fs;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
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
    /// `None` once it is joined or detached.
    id: Option<libc::pthread_t>,
    /// Where the thread leaves its value; whoever lets go last drops it.
    packet: Arc<Mutex<Option<Left<T>>>>,
}

/// The payload that unwinds a thread which called [`exit`].
struct Exit(Box<dyn Any + Send>);

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
        let packet = Arc::new(Mutex::new(None));
        let its_packet = Arc::clone(&packet);
        let body: Body = Box::new(move || {
            let left = match catch_unwind(AssertUnwindSafe(|| start_routine(argument))) {
                Ok(value) => Ok(value),
                Err(payload) => match payload.downcast::<Exit>().map(|exit| exit.0.downcast::<T>()) {
                    Ok(Ok(value)) => Ok(*value),
                    Ok(Err(_)) => Err("exit with a value of another type".to_owned()),
                    Err(payload) => Err(message_of(payload.as_ref())),
                },
            };
            *lock(&its_packet) = Some(left);
        });
        let body = Box::into_raw(Box::new(body));
        let mut id = 0;
        // SAFETY: the attribute object is initialised; the box belongs to the thread if there is one.
        match unsafe { libc::pthread_create(&mut id, &object.0, run, body.cast()) } {
            0 => Ok(Thread { id: (!attributes.detached).then_some(id), packet }),
            error => {
                // SAFETY: no thread has taken the box.
                drop(unsafe { Box::from_raw(body) });
                Err(io::Error::from_raw_os_error(error))
            }
        }
    }

    /// Part 1: waits until the thread has ended, and returns its value.
    ///
    /// # Errors
    /// `Panicked`, or the errno of `pthread_join`.
    pub fn join(mut self) -> Result<T, JoinError> {
        let id = self.id.ok_or(JoinError::Errno(libc::EINVAL))?;
        // SAFETY: the thread is neither joined nor detached.
        let error = unsafe { libc::pthread_join(id, ptr::null_mut()) };
        if error != 0 {
            return Err(JoinError::Errno(error));
        }
        self.id = None;
        let left = lock(&self.packet).take();
        left.unwrap_or_else(|| Err("no value".to_owned())).map_err(JoinError::Panicked)
    }

    /// Part 1: lets the thread run on, joined by nobody.
    ///
    /// # Errors
    /// What `pthread_detach` returns.
    pub fn detach(mut self) -> io::Result<()> {
        // SAFETY: the thread is neither joined nor detached yet.
        self.id.take().map_or(Ok(()), |id| check(unsafe { libc::pthread_detach(id) }))
    }
}

impl<T> Drop for Thread<T> {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            // SAFETY: as in `detach`.
            unsafe { libc::pthread_detach(id) };
        }
    }
}

type Body = Box<dyn FnOnce() + Send>;

/// What runs in the new thread.
extern "C" fn run(body: *mut c_void) -> *mut c_void {
    // SAFETY: the box that `create` made for this thread.
    let body = *unsafe { Box::from_raw(body.cast::<Body>()) };
    body();
    ptr::null_mut()
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
    resume_unwind(Box::new(Exit(Box::new(value))))
}

// ---- Part 2: identities.

/// Part 2: the process that the caller belongs to: PID for users, TGID for the kernel.
pub fn process_id() -> i32 {
    // SAFETY: takes nothing, cannot fail.
    unsafe { libc::getpid() }
}

/// Part 2: the calling thread itself: TID.
pub fn thread_id() -> i32 {
    // SAFETY: takes nothing, cannot fail.
    unsafe { libc::gettid() }
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
    let mut tasks = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        let directory = entry?.path();
        let task = fs::read_to_string(directory.join("status")).and_then(|status| {
            let name = fs::read(directory.join("comm"))?;
            parse_task(&status, &name).ok_or_else(|| io::ErrorKind::InvalidData.into())
        });
        match task {
            Ok(task) => tasks.push(task),
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => {}
            Err(error) => return Err(error),
        }
    }
    tasks.sort_by_key(|task| task.tid);
    Ok(tasks)
}

fn parse_task(status: &str, name: &[u8]) -> Option<Task> {
    let field = |label: &str| status.lines().find_map(|line| line.strip_prefix(label)).map(str::trim);
    let name = String::from_utf8_lossy(name.strip_suffix(b"\n").unwrap_or(name)).into_owned();
    Some(Task {
        tid: field("Pid:")?.parse().ok()?,
        tgid: field("Tgid:")?.parse().ok()?,
        name,
        state: field("State:")?.chars().next()?,
    })
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
        let is_delimiter = |c: &char| delimiters.contains(*c);
        let start =
            self.rest.char_indices().find(|(_, c)| !is_delimiter(c)).map_or(self.rest.len(), |(at, _)| at);
        let text = &self.rest[start..];
        let end = text.char_indices().find(|(_, c)| is_delimiter(c));
        let (token, behind) = end.map_or((text.len(), text.len()), |(at, c)| (at, at + c.len_utf8()));
        self.rest = &text[behind..];
        if token == 0 { None } else { Some(&text[..token]) }
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
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Busy,
    Done,
}

impl Once {
    /// Part 3: nothing has run yet.
    pub const fn new() -> Self {
        Self { state: Mutex::new(State::New), changed: Condvar::new() }
    }

    /// Part 3: runs `f`, unless a call has run one before.
    pub fn call_once(&self, f: impl FnOnce()) {
        let state = lock(&self.state);
        let mut state = self
            .changed
            .wait_while(state, |state| *state == State::Busy)
            .unwrap_or_else(PoisonError::into_inner);
        if *state == State::Done {
            return;
        }
        *state = State::Busy;
        drop(state);
        let outcome = catch_unwind(AssertUnwindSafe(f));
        *lock(&self.state) = if outcome.is_ok() { State::Done } else { State::New };
        self.changed.notify_all();
        if let Err(panic) = outcome {
            resume_unwind(panic);
        }
    }

    /// Part 3: whether an `f` has run to its end.
    pub fn is_completed(&self) -> bool {
        *lock(&self.state) == State::Done
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

// ---- Part 4: work shared among threads.

/// Part 4: the sum of `f(item)` over all items; the caller is one of the threads.
///
/// # Errors
/// `InvalidInput` when `threads` is 0. What creating a thread reports.
pub fn parallel_sum<T: Sync>(items: &[T], threads: usize, f: impl Fn(&T) -> u64 + Sync) -> io::Result<u128> {
    if threads == 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let threads = threads.min(items.len()).max(1);
    let share = |first: usize| {
        items.iter().skip(first).step_by(threads).map(|item| u128::from(f(item))).sum::<u128>()
    };
    let share = &share;
    thread::scope(|scope| {
        let others = (1..threads)
            .map(|first| thread::Builder::new().spawn_scoped(scope, move || share(first)))
            .collect::<io::Result<Vec<_>>>()?;
        let mut sum = share(0);
        for other in others {
            sum += other.join().unwrap_or_else(|panic| resume_unwind(panic));
        }
        Ok(sum)
    })
}

/// A fixed number of threads that run jobs from one channel.
#[derive(Debug)]
pub struct Pool {
    jobs: Option<mpsc::Sender<Body>>,
    workers: Vec<thread::JoinHandle<()>>,
}

/// The job panicked, with this message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobPanicked(pub String);

/// A job that was given to a [`Pool`].
#[derive(Debug)]
pub struct Job<R> {
    result: mpsc::Receiver<Result<R, JobPanicked>>,
}

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
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let (sender, receiver) = mpsc::channel::<Body>();
        let receiver = Arc::new(Mutex::new(receiver));
        let mut pool = Pool { jobs: Some(sender), workers: Vec::new() };
        for _ in 0..workers {
            let receiver = Arc::clone(&receiver);
            let life = move || {
                loop {
                    // The lock is given back at the end of this line.
                    let job = lock(&receiver).recv();
                    let Ok(job) = job else { return };
                    job();
                }
            };
            pool.workers.push(thread::Builder::new().spawn(life)?);
        }
        Ok(pool)
    }

    /// Part 4: puts a job at the end of the queue, and returns at once.
    pub fn submit<R, F>(&self, job: F) -> Job<R>
    where
        R: Send + 'static,
        F: FnOnce() -> R + Send + 'static,
    {
        let (sender, result) = mpsc::channel();
        let job = move || {
            let outcome = catch_unwind(AssertUnwindSafe(job));
            let _ = sender.send(outcome.map_err(|payload| JobPanicked(message_of(payload.as_ref()))));
        };
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(Box::new(job));
        }
        Job { result }
    }

    /// Part 4: waits until every job submitted so far has run, and until the workers have ended.
    pub fn shutdown(self) {}
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.jobs = None;
        self.workers.drain(..).for_each(|worker| drop(worker.join()));
    }
}

impl<R> Job<R> {
    /// Part 4: waits until the job has run, and returns what it returned.
    ///
    /// # Errors
    /// `JobPanicked` when it panicked.
    pub fn wait(self) -> Result<R, JobPanicked> {
        self.result.recv().unwrap_or_else(|_| Err(JobPanicked("the job was lost".to_owned())))
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
    let control = Arc::new(Control { alive: AtomicU32::new(1), value: AtomicU8::new(0), body, argument });
    let alive = control.alive.as_ptr();
    let flags = match kind {
        Kind::Thread => {
            libc::CLONE_THREAD
                | libc::CLONE_SIGHAND
                | libc::CLONE_VM
                | libc::CLONE_FS
                | libc::CLONE_FILES
                | libc::CLONE_SYSVSEM
                | libc::CLONE_CHILD_CLEARTID
        }
        Kind::Process => libc::SIGCHLD,
    };
    let shared = Arc::as_ptr(&control).cast_mut().cast();
    let none = ptr::null_mut::<c_void>();
    // SAFETY: the stack and the control block live until the task has ended; the caller vouches for `body`.
    let tid = unsafe { libc::clone(enter, stack.top(), flags, shared, none, none, alive) };
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
                    // Not private: the kernel wakes by a shared operation.
                    futex_wait(&self.control.alive, alive, 0);
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
        // SAFETY: a fresh mapping.
        let start =
            unsafe { libc::mmap(ptr::null_mut(), length, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let stack = Self { start, length };
        // SAFETY: the lowest page of the mapping.
        let error = unsafe { libc::mprotect(start, page, libc::PROT_NONE) };
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
/// Whoever has finished writes his number into a pipe, which ends when the last child has.
///
/// # Errors
/// What `pipe` or `fork` report.
pub fn run_workers(count: usize, isolation: Isolation, work: impl Fn(usize) + Sync) -> io::Result<Vec<bool>> {
    let (mut reader, writer) = io::pipe()?;
    let run = |index: usize| {
        if catch_unwind(AssertUnwindSafe(|| work(index))).is_ok() {
            let _ = (&writer).write_all(&(index as u64).to_ne_bytes());
        }
    };
    let run = &run;
    let mut children = Children(Vec::new());
    if isolation == Isolation::Processes {
        for index in 0..count {
            children.0.push(fork_child(|| run(index))?);
        }
    } else {
        children.0.push(fork_child(|| {
            let threads: Vec<_> = (0..count).map(|_| ()).collect();
            thread::scope(|scope| {
                for (index, ()) in threads.into_iter().enumerate() {
                    scope.spawn(move || run(index));
                }
            });
        })?);
    }
    drop(writer);
    let mut finished = vec![false; count];
    let mut number = [0; 8];
    while reader.read_exact(&mut number).is_ok() {
        if let Some(mark) = finished.get_mut(u64::from_ne_bytes(number) as usize) {
            *mark = true;
        }
    }
    for pid in children.0.drain(..) {
        wait_for(pid)?;
    }
    Ok(finished)
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
            Isolation::Threads => drop(thread::Builder::new().spawn(|| {})?.join()),
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
            let partner = thread::Builder::new().spawn(partner)?;
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
