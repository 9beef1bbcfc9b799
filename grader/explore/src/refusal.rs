//! Calls that explored code must not make, because they reach past the model: starting and ending processes, and the locks
//! of pthreads, which really wait. Other libraries that put functions of their own before libc's say [`refuse`] for theirs.

use std::arch::global_asm;
use std::ffi::{CStr, c_int};

use crate::engine::{self, Engine};
use crate::finding::Cause;
use crate::process;
use crate::shim::{self, Frame, shims};
use crate::trace::What;

global_asm!(
    ".macro explore_refused name",
    ".weak \\name",
    ".type \\name, @function",
    "\\name: jmp explore_\\name",
    ".endm",
    "explore_refused fork",
    "explore_refused exit",
    "explore_refused _exit",
    "explore_refused pthread_mutex_lock",
    "explore_refused pthread_mutex_trylock",
    "explore_refused pthread_rwlock_rdlock",
    "explore_refused pthread_rwlock_wrlock",
    "explore_refused pthread_spin_lock",
    "explore_refused pthread_barrier_wait",
    "explore_refused sem_wait",
    "explore_refused pthread_once",
);

/// Calls that end, copy or replace the process: no matter how threads take turns, explored code must not make them.
const PROCESS: [&str; 9] =
    ["fork", "vfork", "clone", "clone3", "execve", "execveat", "exit", "_exit", "exit_group"];

/// Ends the execution if the caller is explored code: the function `call` has no model, and the report says so. Outside an
/// exploration it does nothing.
pub fn refuse(call: &str) {
    let engine = engine::enter();
    if engine.is_null() {
        return;
    }
    let here = 0_u8;
    // SAFETY: the engine is not borrowed while explored code runs; an execution that unwinds is at its end already.
    unsafe {
        if !Engine::unwinds(engine) {
            let top = (&(*engine).threads)[(*engine).running].top;
            stop(engine, call, shim::callers_by_calls((&raw const here) as usize, top));
        }
    }
    engine::leave(engine);
}

/// Ends the execution because of the running thread's call of `call`. It is not made again for the report, so its place is
/// written down at once.
///
/// # Safety
/// The engine is in charge and not borrowed.
pub unsafe fn stop(engine: *mut Engine, call: &str, callers: Vec<usize>) -> ! {
    // SAFETY: the caller keeps the contract; the borrow ends before the coroutine is suspended.
    unsafe {
        let this = &mut *engine;
        let thread = this.running;
        this.recorder.get_or_insert_default();
        this.note(thread, || callers, What::Note { text: format!("calls `{call}`") });
        let cause = if PROCESS.contains(&call) {
            Cause::Leaves { thread, call: call.to_owned() }
        } else {
            Cause::Refused { thread, call: format!("`{call}`") }
        };
        Engine::stop(engine, cause)
    }
}

/// What system call `number` is called in C.
pub fn name(number: i64) -> Option<&'static str> {
    CALLS.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
}

macro_rules! calls {
    ($($number:ident $name:literal,)+) => {
        /// Calls that may block, or that reach beyond this thread.
        const CALLS: &[(i64, &str)] = &[$((libc::$number, $name)),+];
    };
}

calls! {
    SYS_read "read",
    SYS_readv "readv",
    SYS_pread64 "pread",
    SYS_preadv "preadv",
    SYS_pwrite64 "pwrite",
    SYS_open "open",
    SYS_openat "openat",
    SYS_close "close",
    SYS_pipe "pipe",
    SYS_pipe2 "pipe2",
    SYS_poll "poll",
    SYS_ppoll "ppoll",
    SYS_select "select",
    SYS_pselect6 "pselect",
    SYS_epoll_wait "epoll_wait",
    SYS_epoll_pwait "epoll_pwait",
    SYS_pause "pause",
    SYS_rt_sigsuspend "sigsuspend",
    SYS_rt_sigtimedwait "sigtimedwait",
    SYS_rt_sigaction "sigaction",
    SYS_rt_sigprocmask "sigprocmask",
    SYS_nanosleep "nanosleep",
    SYS_clock_nanosleep "clock_nanosleep",
    SYS_clock_gettime "clock_gettime",
    SYS_alarm "alarm",
    SYS_setitimer "setitimer",
    SYS_kill "kill",
    SYS_tkill "tkill",
    SYS_tgkill "tgkill",
    SYS_wait4 "wait4",
    SYS_waitid "waitid",
    SYS_fork "fork",
    SYS_vfork "vfork",
    SYS_clone "clone",
    SYS_clone3 "clone3",
    SYS_execve "execve",
    SYS_execveat "execveat",
    SYS_exit "_exit",
    SYS_exit_group "exit_group",
    SYS_accept "accept",
    SYS_accept4 "accept4",
    SYS_connect "connect",
    SYS_recvfrom "recvfrom",
    SYS_recvmsg "recvmsg",
    SYS_sendto "sendto",
    SYS_sendmsg "sendmsg",
    SYS_flock "flock",
    SYS_fcntl "fcntl",
    SYS_fsync "fsync",
    SYS_semop "semop",
    SYS_semtimedop "semtimedop",
    SYS_msgsnd "msgsnd",
    SYS_msgrcv "msgrcv",
    SYS_mq_timedsend "mq_timedsend",
    SYS_mq_timedreceive "mq_timedreceive",
    SYS_mprotect "mprotect",
    SYS_madvise "madvise",
    SYS_membarrier "membarrier",
    SYS_futex_waitv "futex_waitv",
    SYS_sched_setaffinity "sched_setaffinity",
    SYS_ptrace "ptrace",
}

/// libc's own function of that name.
fn next(name: &CStr) -> *mut libc::c_void {
    // SAFETY: looks a symbol up.
    let address = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    if address.is_null() {
        std::process::abort();
    }
    address
}

#[unsafe(no_mangle)]
unsafe extern "C" fn explore_fork() -> c_int {
    refuse("fork");
    // SAFETY: libc's function of that name has that signature.
    unsafe { std::mem::transmute::<*mut libc::c_void, extern "C" fn() -> c_int>(next(c"fork"))() }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn explore_exit(code: c_int) -> ! {
    refuse("exit");
    // SAFETY: libc's function of that name has that signature.
    unsafe { std::mem::transmute::<*mut libc::c_void, extern "C" fn(c_int) -> !>(next(c"exit"))(code) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn explore__exit(code: c_int) -> ! {
    refuse("_exit");
    // SAFETY: libc's function of that name has that signature.
    unsafe { std::mem::transmute::<*mut libc::c_void, extern "C" fn(c_int) -> !>(next(c"_exit"))(code) }
}

/// Defines functions that refuse `name` when the explored code itself calls it: libc may wait inside, and what it
/// synchronises by is not instrumented. Other libraries' calls (the unwinder's) are passed on.
macro_rules! locks {
    ($($symbol:ident => $name:ident),+ $(,)?) => {
        shims! { "rsi": $($symbol => $name),+; }
        $(unsafe extern "C" fn $name(object: *mut libc::c_void, frame: &Frame) -> c_int {
            refuse_to(frame, stringify!($name));
            type Lock = unsafe extern "C" fn(*mut libc::c_void) -> c_int;
            let name = const { as_c_str(concat!(stringify!($name), "\0")) };
            // SAFETY: libc's function of that name has that signature; the caller's argument.
            unsafe { std::mem::transmute::<*mut libc::c_void, Lock>(next(name))(object) }
        })+
    };
}

locks! {
    explore_pthread_mutex_lock => pthread_mutex_lock,
    explore_pthread_mutex_trylock => pthread_mutex_trylock,
    explore_pthread_rwlock_rdlock => pthread_rwlock_rdlock,
    explore_pthread_rwlock_wrlock => pthread_rwlock_wrlock,
    explore_pthread_spin_lock => pthread_spin_lock,
    explore_pthread_barrier_wait => pthread_barrier_wait,
    explore_sem_wait => sem_wait,
}

shims! { "rdx": explore_pthread_once => pthread_once; }

unsafe extern "C" fn pthread_once(
    control: *mut libc::c_void,
    routine: *mut libc::c_void,
    frame: &Frame,
) -> c_int {
    refuse_to(frame, "pthread_once");
    type Once = unsafe extern "C" fn(*mut libc::c_void, *mut libc::c_void) -> c_int;
    // SAFETY: libc's function of that name has that signature; the caller's arguments.
    unsafe { std::mem::transmute::<*mut libc::c_void, Once>(next(c"pthread_once"))(control, routine) }
}

fn refuse_to(frame: &Frame, call: &str) {
    if !engine::current().is_null() && process::code().contains(&frame.pc) {
        refuse(call);
    }
}

const fn as_c_str(text: &'static str) -> &'static CStr {
    match CStr::from_bytes_with_nul(text.as_bytes()) {
        Ok(name) => name,
        Err(_) => panic!("no zero at the end"),
    }
}
