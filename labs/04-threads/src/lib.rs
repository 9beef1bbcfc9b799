//! Threads: made by `pthread_create(3)` and by `clone(2)`, told apart by the kernel's numbers, kept from
//! disturbing each other, put to work, and compared with processes.
//!
//! Replace each `todo!`. You may add private functions, types and fields, and change the `derive`s; the public
//! signatures stay. Parts 3, 4 and 6 may use `std::thread` or your own part 1, as you like.

#![allow(unused, reason = "the stubs do not use their parameters yet")]

use std::io;
use std::time::Duration;

// ---- Part 1: threads by pthread_create.

/// How a thread is made: `pthread_attr_init(3)`. The default is what `pthread_create` does with a null pointer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Bytes of stack, a multiple of the page size; `None` for the default (`ulimit -s`, usually 8 MiB).
    /// `pthread_attr_setstacksize(3)` refuses fewer than `PTHREAD_STACK_MIN`, 16 KiB, with `EINVAL`.
    pub stack_size: Option<usize>,
    /// Nobody will join the thread: `pthread_attr_setdetachstate(3)`.
    pub detached: bool,
}

/// Why [`Thread::join`] has no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinError {
    /// The start routine panicked, with this message (`"…"` when the payload is not text).
    Panicked(String),
    /// The errno of a join that cannot be: `EINVAL` for a detached thread, `EDEADLK` for a thread that would wait
    /// for itself. See `pthread_join(3)`.
    Errno(i32),
}

/// A thread whose start routine returns a `T`.
///
/// A `Thread` that is dropped without [`join`](Thread::join) detaches its thread: it runs on, and what it holds is given back
/// when it ends. It is `Send` (a thread may be joined by another than its creator), also when it has pointers inside.
#[derive(Debug)]
pub struct Thread<T> {
    // Your fields.
    value: std::marker::PhantomData<fn() -> T>,
}

impl<T: Send + 'static> Thread<T> {
    /// Part 1: starts a thread that runs `start_routine(argument)`.
    ///
    /// - It calls `libc::pthread_create` once, with an attribute object that says what `attributes` says (and is
    ///   destroyed afterwards).
    /// - `pthread_create` passes one pointer. Hand over a `Box` by `Box::into_raw`; the thread takes it back by
    ///   `Box::from_raw`, and so owns routine and argument. Each is dropped exactly once, also when no thread was made.
    /// - The value comes back as a pointer as well. It must not point to the thread's stack, which is gone
    ///   (unmapped or reused) when the thread has ended.
    /// - A panic must not leave the C function that runs in the thread (the process would be aborted): catch it there, keep its message
    ///   for `join`.
    ///
    /// # Errors
    /// The functions of pthreads return 0 or a *positive* errno number; they return no negative number and do not
    /// set `errno`. Turn it into an error by `io::Error::from_raw_os_error`: for example `EAGAIN` when there may
    /// be no more threads, `EINVAL` for a stack that is too small.
    ///
    /// See `pthread_create(3)`, `pthread_attr_setstacksize(3)`.
    ///
    /// ```no_run
    /// # use threads::{Attributes, Thread};
    /// let thread = Thread::create(&Attributes::default(), |text: String| text.len(), "seven..".to_string())?;
    /// assert_eq!(thread.join(), Ok(7));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn create<A, F>(attributes: &Attributes, start_routine: F, argument: A) -> io::Result<Thread<T>>
    where
        A: Send + 'static,
        F: FnOnce(A) -> T + Send + 'static,
    {
        todo!(
            "call pthread_create with a boxed routine and argument; the thread runs them and leaves its value where `join` finds it"
        )
    }

    /// Part 1: waits until the thread has ended, and returns what its start routine returned or gave to [`exit`].
    ///
    /// # Errors
    /// - `Panicked` when the start routine panicked.
    /// - `Errno(EINVAL)` at once when the thread was made detached. `pthread_join` must not even be called
    ///   then: the identifier may already belong to another thread, and using it is undefined.
    /// - `Errno` with whatever `pthread_join` returns otherwise, for example `EDEADLK`. The thread
    ///   is then detached, for the handle is gone.
    ///
    /// See `pthread_join(3)`.
    pub fn join(self) -> Result<T, JoinError> {
        todo!("call pthread_join and take the thread's value")
    }

    /// Part 1: lets the thread run on, joined by nobody.
    ///
    /// Its value is dropped, exactly once: by the thread if it ends later, else here. Its stack is given back.
    /// Nothing happens if the thread was made detached.
    ///
    /// # Errors
    /// What `pthread_detach` returns.
    ///
    /// See `pthread_detach(3)`.
    pub fn detach(self) -> io::Result<()> {
        todo!("call pthread_detach, unless the thread is detached already; its value must not be lost")
    }
}

impl<T> Drop for Thread<T> {
    fn drop(&mut self) {
        todo!("detach the thread unless it was joined or detached")
    }
}

/// Part 1: ends the calling thread from any depth of calls: `join` returns `value`.
///
/// The caller is a thread made by [`Thread::create`], and `T` is the type its start routine returns.
/// All local variables of the functions on the way are dropped, as when those functions return.
///
/// `pthread_exit` unwinds the stack too, but as a foreign exception: in glibc, a `catch_unwind` on the way (and you have one in the
/// start routine) ends the whole process with "FATAL: exception not rethrown". So unwind in Rust's way, to your start routine
/// (`std::panic::resume_unwind` takes any payload and prints nothing), and end the thread there: returning from the start
/// routine is an implicit `pthread_exit(value)`.
///
/// See `pthread_exit(3)`.
///
/// ```no_run
/// # use threads::{exit, Attributes, Thread};
/// fn deep(n: u32) -> u32 {
///     if n == 0 { exit(42u32) } else { deep(n - 1) }
/// }
/// let thread = Thread::create(&Attributes::default(), deep, 100)?;
/// assert_eq!(thread.join(), Ok(42));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn exit<T: Send + 'static>(value: T) -> ! {
    todo!("unwind to the start routine, with the value as the payload")
}

// ---- Part 2: identities.

/// Part 2: the process that the caller belongs to: what users call PID and the kernel TGID (thread group id).
/// All threads of a process get the same answer. See `getpid(2)`.
pub fn process_id() -> i32 {
    todo!("the thread group id of the caller")
}

/// Part 2: the calling thread itself: TID, in `ps -eLf` the column LWP. The kernel calls just this number "pid".
///
/// It is right also in a child process made by `fork` from a thread: remember nothing. (A `pthread_t` is
/// something else, an address inside the process.) See `gettid(2)`.
pub fn thread_id() -> i32 {
    todo!("the kernel's number of the calling thread")
}

/// Part 2: whether the caller is the first thread of its process: the one whose TID is the PID.
pub fn is_main_thread() -> bool {
    todo!("compare the two numbers")
}

/// One task: what the kernel schedules, with a `task_struct` of its own. A line of `ps -eLf`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Its own number (`Pid:` in `/proc/PID/task/TID/status`).
    pub tid: i32,
    /// The number of its thread group, the user's PID (`Tgid:`).
    pub tgid: i32,
    /// Its name, at most 15 bytes, in which any byte may occur, also spaces and parentheses
    /// (`/proc/PID/task/TID/comm`, without the newline at the end). What is not UTF-8 is replaced.
    pub name: String,
    /// `R` running, `S` sleeping, `D` in an uninterruptible sleep, `T` stopped, `Z` ended but not yet reaped (`State:`).
    pub state: char,
}

/// Part 2: all tasks of a process, ascending by TID: the directories in `/proc/PID/task`.
///
/// - The main thread is one of them. `pid` may be the TID of any of them; the answer is the same.
/// - A thread may end between the moment its directory is listed and the moment its files are read:
///   then opening fails with `ENOENT`, or reading with `ESRCH`. Such a task is left out; that is no error.
///
/// # Errors
/// `ErrorKind::NotFound` when there is no such process. Whatever else opening or reading reports.
///
/// See `proc_pid_task(5)`, `proc_pid_status(5)`, `proc_pid_comm(5)`.
pub fn tasks_of(pid: i32) -> io::Result<Vec<Task>> {
    todo!("list /proc/PID/task and read status and comm of each task")
}

// ---- Part 3: thread safety.

/// Splits a text at delimiters: `strtok(3)`, with the state where it belongs.
///
/// C's `strtok` keeps its place in a `static` variable. Two threads that split two texts take each other's
/// tokens, and so do two loops in one thread. `strtok_r` is its reentrant form: the caller owns the state.
#[derive(Debug)]
pub struct Tokenizer<'t> {
    // Your fields.
    text: &'t str,
}

impl<'t> Tokenizer<'t> {
    /// Part 3: starts at the beginning of `text`.
    pub fn new(text: &'t str) -> Self {
        todo!("keep what is left of the text in the value itself")
    }

    /// Part 3: the next token: the longest run of characters that are not in `delimiters`, after leading delimiters
    /// have been skipped. `None` at the end of the text. Never empty.
    ///
    /// As with `strtok_r`, the one delimiter that ends the token is used up, and the next call may bring others:
    ///
    /// ```no_run
    /// # use threads::Tokenizer;
    /// let mut words = Tokenizer::new("key=a, b");
    /// assert_eq!(words.next_token("="), Some("key"));
    /// assert_eq!(words.next_token(","), Some("a"));
    /// assert_eq!(words.next_token(","), Some(" b"));
    /// assert_eq!(words.next_token(","), None);
    /// ```
    ///
    /// It works in any thread, and any number of tokenizers may be in use at a time.
    pub fn next_token(&mut self, delimiters: &str) -> Option<&'t str> {
        todo!("skip delimiters, take up to the next delimiter, and remember the rest behind it")
    }
}

/// A global variable of which each thread has its own: thread-specific data, as `errno` is.
///
/// - On the first [`with`](ThreadSpecific::with) of a thread `make` is called, in that thread; later calls of that thread find the same value.
/// - When a thread ends, its value is dropped, in that thread.
/// - When the `ThreadSpecific` itself is dropped, the value of the dropping thread is dropped and the key is given back.
///   (Values of other threads that still run are then lost: let those threads end first.)
///
/// It stands on `pthread_key_create` with a destructor, `pthread_getspecific`, `pthread_setspecific` and
/// `pthread_key_delete` (which runs no destructors). A process has 1024 keys (`PTHREAD_KEYS_MAX`).
///
/// It is `Sync` for every `T`, for no thread ever sees another's value.
#[derive(Debug)]
pub struct ThreadSpecific<T: 'static> {
    // Your fields.
    make: fn() -> T,
}

impl<T: 'static> ThreadSpecific<T> {
    /// Part 3: makes the key.
    ///
    /// # Errors
    /// What `pthread_key_create` returns: `EAGAIN` when there are no more keys.
    ///
    /// See `pthread_key_create(3)`.
    pub fn new(make: fn() -> T) -> io::Result<Self> {
        todo!("pthread_key_create, with a destructor that drops the boxed value")
    }

    /// Part 3: calls `f` with the calling thread's value, which is made first if there is none. `f` may call `with` again.
    ///
    /// # Panics
    /// If the system has no memory to remember the value (`ENOMEM`).
    pub fn with<R>(&self, f: impl FnOnce(&T) -> R) -> R {
        todo!("pthread_getspecific; a null pointer means: make the value, box it, pthread_setspecific")
    }
}

impl<T: 'static> Drop for ThreadSpecific<T> {
    fn drop(&mut self) {
        todo!("drop the value of this thread, then pthread_key_delete")
    }
}

/// Initialises a global once, whoever comes first: `pthread_once(3)`. It is `Sync`, and can be a `static`.
#[derive(Debug)]
pub struct Once {
    // Your fields. Atomics and the futex system call are enough.
}

impl Once {
    /// Part 3: nothing has run yet.
    pub const fn new() -> Self {
        Self {}
    }

    /// Part 3: runs `f`, unless a call on this `Once` has run one before.
    ///
    /// - Of all calls, whenever and from whatever thread, exactly one runs its `f`.
    /// - Every call returns after that `f` has returned, and sees everything it wrote.
    /// - Who has to wait sleeps; he does not use the processor. (A `futex(2)` will do: `libc::SYS_futex`, `FUTEX_WAIT`,
    ///   `FUTEX_WAKE`. `std::sync::Once` itself would take the fun out of it.)
    /// - If `f` panics, the panic goes on to the caller, and the `Once` is as if that call had not been: one of
    ///   those that wait, or the next that comes, runs its `f`.
    /// - `f` must not call `call_once` on the same `Once`.
    pub fn call_once(&self, f: impl FnOnce()) {
        todo!("one caller claims it and runs `f`; the others wait until it is done")
    }

    /// Part 3: whether an `f` has run to its end.
    pub fn is_completed(&self) -> bool {
        todo!("whether the state is done")
    }
}

impl Default for Once {
    fn default() -> Self {
        Self::new()
    }
}

// ---- Part 4: work shared among threads.

/// Part 4: the sum of `f(item)` over all items, computed by min(`threads`, `items.len()`) threads at the same time.
///
/// - The sum is exact: it never overflows.
/// - The items are dealt in advance: each thread has at least one, and none has more than ⌈items / threads⌉. The caller may be one
///   of the threads.
/// - All threads made here have ended when the function returns.
/// - A panic in `f` goes on to the caller, after all threads have ended.
///
/// # Errors
/// `ErrorKind::InvalidInput` when `threads` is 0. What creating a thread reports; the threads made before have ended by then.
///
/// ```no_run
/// # use threads::parallel_sum;
/// assert_eq!(parallel_sum(&["a", "bcd"], 2, |word| word.len() as u64)?, 4);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn parallel_sum<T: Sync>(items: &[T], threads: usize, f: impl Fn(&T) -> u64 + Sync) -> io::Result<u128> {
    todo!("deal the items to scoped threads; each adds up its own, and the caller adds up their sums")
}

/// A fixed number of threads that run jobs from one queue.
///
/// Dropping it is [`shutdown`](Pool::shutdown).
#[derive(Debug)]
pub struct Pool {
    // Your fields.
}

/// The job panicked, with this message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobPanicked(pub String);

/// A job that was given to a [`Pool`]. Dropping it changes nothing: the job runs.
#[derive(Debug)]
pub struct Job<R> {
    // Your fields.
    result: std::marker::PhantomData<fn() -> R>,
}

impl Pool {
    /// Part 4: starts `workers` threads that wait for jobs, asleep.
    ///
    /// # Errors
    /// `ErrorKind::InvalidInput` when `workers` is 0. What creating a thread reports; the threads made before have ended by then.
    pub fn new(workers: usize) -> io::Result<Pool> {
        todo!("a queue in memory that all workers share, and the workers")
    }

    /// Part 4: puts a job at the end of the queue, and returns at once.
    ///
    /// - Jobs are started in the order of submission, each exactly once, as soon as a worker is free. As many run at the same time
    ///   as there are workers.
    /// - A job that panics costs nobody else anything: its worker goes on with the next job.
    pub fn submit<R, F>(&self, job: F) -> Job<R>
    where
        R: Send + 'static,
        F: FnOnce() -> R + Send + 'static,
    {
        todo!("queue the job, boxed, together with the place for its result; wake a worker")
    }

    /// Part 4: waits until every job submitted so far has run, and until the workers have ended.
    pub fn shutdown(self) {
        todo!("say that no more jobs come, then join the workers")
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        todo!("the same as `shutdown`, unless that has been called")
    }
}

impl<R> Job<R> {
    /// Part 4: waits until the job has run, and returns what it returned.
    ///
    /// # Errors
    /// `JobPanicked` when it panicked.
    pub fn wait(self) -> Result<R, JobPanicked> {
        todo!("wait until the result is there, and take it")
    }
}

// ---- Part 5: a task by clone.

/// Two kinds of task. To the kernel they differ in what they share with their creator, and in nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Same thread group, same memory, files, directory and signal handlers: `CLONE_THREAD | CLONE_SIGHAND | CLONE_VM | CLONE_FS | CLONE_FILES |
    /// CLONE_SYSVSEM`.
    Thread,
    /// A process of its own: none of these flags, `SIGCHLD` when it ends. Just a `fork` on another stack.
    Process,
}

/// A task made by [`spawn_task`]. Dropping it waits for the task: its stack cannot go before it does.
#[derive(Debug)]
pub struct KernelTask {
    // Your fields.
}

/// Part 5: makes a task that runs `body(argument)` on a stack of its own, by `clone(2)`.
///
/// - The stack has `stack_size` bytes (a multiple of the page size, at least 4 pages), fresh from `mmap`. Below it lies a page that
///   cannot be accessed, so that an overflow faults instead of overwriting something. A stack grows down: `clone` gets
///   its upper end.
/// - For [`Kind::Thread`] the kernel shall write 0 into a word of yours, and wake a futex waiter there, when the task is
///   off its stack for good: `CLONE_CHILD_CLEARTID`. No code that runs *on* the stack could say that.
///   The word must not be 0 before (`CLONE_PARENT_SETTID` into the same word does that, early enough).
/// - The body's value must be kept in memory for `join`. For [`Kind::Process`] it is the exit code.
///
/// # Errors
/// What `mmap`, `mprotect` or `clone` report. Then nothing is left mapped.
///
/// # Safety
/// A task of kind `Thread` made without `CLONE_SETTLS` shares its creator's thread-local storage, which glibc and Rust
/// need for `errno`, `malloc`, panics and `thread_local!`. So `body` may do arithmetic, use atomics, and make system calls by
/// `libc::syscall`; it must not allocate, print, panic or use the standard library beyond that. (Making a complete thread needs
/// help from the dynamic linker; that is what `pthread_create` is for.) `argument` must mean something to `body` in that task.
///
/// See `clone(2)`, `set_tid_address(2)`, `futex(2)`, `mmap(2)`.
pub unsafe fn spawn_task(
    kind: Kind,
    stack_size: usize,
    body: extern "C" fn(usize) -> u8,
    argument: usize,
) -> io::Result<KernelTask> {
    todo!("map a stack with a guard page, call clone with the flags of the kind, keep what `join` needs")
}

impl KernelTask {
    /// Part 5: the kernel's number of the task (TID; for a process also its PID). Right for as long as the task is not joined.
    pub fn tid(&self) -> i32 {
        todo!("what clone returned")
    }

    /// Part 5: waits until the task has ended, unmaps its stack, returns the body's value.
    ///
    /// A thread: sleeps by `FUTEX_WAIT` on the word that the kernel will clear, until it is 0, however often the wait is interrupted.
    /// The kernel wakes by a *shared* futex operation; a waiter with `FUTEX_PRIVATE_FLAG` is not found and sleeps for ever.
    /// A process: `waitpid`.
    ///
    /// # Errors
    /// An error (of any kind) when a process was killed by a signal. What `waitpid` reports.
    pub fn join(self) -> io::Result<u8> {
        todo!("wait on the cleared word (a thread) or by waitpid (a process)")
    }
}

impl Drop for KernelTask {
    fn drop(&mut self) {
        todo!("wait for the task unless `join` has done so; unmap the stack")
    }
}

// ---- Part 6: processes and threads side by side.

/// What separates the workers of part 6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Nothing: they are threads of one process.
    Threads,
    /// They are processes, each with its own address space.
    Processes,
}

/// Part 6: runs `work(0)`, `work(1)` … `work(count - 1)` at the same time, and says which of them returned. The caller survives every crash.
///
/// - `Isolation::Processes`: each call runs in a child process of its own. One that crashes costs itself only.
/// - `Isolation::Threads`: each call runs in a thread of its own, all of them in *one* child process (made by `fork`), so that
///   the caller is out of danger. A crash (a fatal signal) ends them all: those that had returned by then are `true`, the others `false`.
/// - A panic is no crash: it costs its own worker only, in both cases, and its child goes on to its regular end.
/// - No call runs in the caller's process. The results come back through memory shared with the children (`mmap` with
///   `MAP_SHARED | MAP_ANONYMOUS`), pipes or exit codes, as you like.
/// - On return no child, descriptor or mapping of this function is left.
///
/// The caller has one thread.
///
/// # Errors
/// What `mmap` or `fork` report; no child is left then.
pub fn run_workers(count: usize, isolation: Isolation, work: impl Fn(usize) + Sync) -> io::Result<Vec<bool>> {
    todo!(
        "children or threads inside one child; each leaves a mark in shared memory when its work has returned"
    )
}

/// Part 6: the mean time of creating a thread or process that does nothing, and waiting for its end, over `rounds` rounds, one
/// after the other.
///
/// Processes by `libc::fork`, `_exit` and `waitpid`; threads by `pthread_create` and `pthread_join`, directly or through `std` or part 1.
///
/// # Errors
/// What creating or waiting reports. `InvalidInput` when `rounds` is 0.
pub fn creation_time(isolation: Isolation, rounds: u32) -> io::Result<Duration> {
    todo!("time `rounds` times create and wait")
}

/// Part 6: the mean time of one switch between two threads, or two processes.
///
/// - The caller and one partner hand a byte to and fro over two pipes, `rounds` times there and back. As each must block until the
///   other has written, that is 2 * `rounds` switches, if both are on *one* processor: otherwise you measure how
///   long it takes to wake another processor, which is ten times as much. So both are bound to one processor (`sched_setaffinity(2)`; the partner
///   inherits it) while they do so.
/// - Only the exchange is timed, not the making of the partner.
/// - On return the caller may run on the same processors as before; no thread, child or descriptor is left.
///
/// # Errors
/// What `pipe`, `fork`, the creation of a thread or `sched_setaffinity` report. `InvalidInput` when `rounds` is 0.
pub fn switch_time(isolation: Isolation, rounds: u32) -> io::Result<Duration> {
    todo!("bind to one processor, start a partner, exchange a byte `rounds` times, put everything back")
}
