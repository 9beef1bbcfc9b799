//! libc functions that the explored code may call and that must not reach the kernel: futex, yielding, sleeping, clocks,
//! identity. They are weak symbols in front of libc's: outside an exploration each makes the system call itself.

use std::arch::{asm, global_asm};
use std::ptr;

use libc::{c_int, c_long, timespec};

use crate::engine::{self, Engine};
use crate::finding::Cause;
use crate::futex::{Waiter, WakeUp};
use crate::operations::order::SEQUENTIAL;
use crate::refusal;
use crate::schedule::{Decision, Deviation};
use crate::shim::{Frame, Place, shims, wide_shims};
use crate::thread::{Kind, Operation, State, Woken};
use crate::trace::What;

/// Stands for the place of a call that gives memory back.
pub const FREE: usize = 0;

/// Model threads' identities begin here.
const FIRST_ID: i64 = 4_000_001;

/// The virtual clock's start: some day, so that differences are what counts.
const EPOCH: u64 = 1_000_000_000_000_000;

global_asm!(
    ".macro explore_weak name",
    ".weak \\name",
    ".type \\name, @function",
    "\\name: jmp explore_\\name",
    ".endm",
    "explore_weak syscall",
    "explore_weak sched_yield",
    "explore_weak nanosleep",
    "explore_weak clock_nanosleep",
    "explore_weak usleep",
    "explore_weak sleep",
    "explore_weak clock_gettime",
    "explore_weak getpid",
    "explore_weak gettid",
    "explore_weak pthread_create",
);

shims! {
    "rdi": explore_sched_yield => sched_yield;
    "rsi": explore_usleep => usleep, explore_sleep => sleep_seconds;
    "rdx": explore_nanosleep => nanosleep, explore_clock_gettime => clock_gettime;
    "r8": explore_clock_nanosleep => clock_nanosleep, explore_pthread_create => pthread_create;
}

wide_shims! {
    explore_syscall => syscall,
}

#[unsafe(no_mangle)]
unsafe extern "C" fn explore_getpid() -> c_int {
    native(libc::SYS_getpid, [0; 6]) as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C" fn explore_gettid() -> c_int {
    identity() as c_int
}

fn identity() -> i64 {
    let engine = engine::current();
    if engine.is_null() {
        return native(libc::SYS_gettid, [0; 6]);
    }
    // SAFETY: the engine is not borrowed while explored code runs.
    unsafe { FIRST_ID + (*engine).running as i64 }
}

/// The system call itself; -errno on failure.
pub fn native(number: i64, arguments: [i64; 6]) -> i64 {
    let result: i64;
    // SAFETY: the caller's arguments, passed on; the kernel changes rcx and r11 only.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") arguments[0],
            in("rsi") arguments[1],
            in("rdx") arguments[2],
            in("r10") arguments[3],
            in("r8") arguments[4],
            in("r9") arguments[5],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// As libc returns: -1 and `errno`.
fn as_libc(result: i64) -> c_long {
    if (-4095..0).contains(&result) {
        // SAFETY: this thread's errno.
        unsafe { *libc::__errno_location() = -result as c_int };
        return -1;
    }
    result
}

fn nanoseconds(time: *const timespec) -> Option<u64> {
    // SAFETY: the explored code passed it to a call that reads it.
    let time = unsafe { time.as_ref()? };
    Some((time.tv_sec.max(0) as u64).saturating_mul(1_000_000_000).saturating_add(time.tv_nsec.max(0) as u64))
}

unsafe extern "C" fn syscall(
    number: i64,
    a: i64,
    b: i64,
    c: i64,
    d: i64,
    e: i64,
    f: i64,
    frame: &Frame,
) -> c_long {
    let engine = engine::current();
    if engine.is_null() {
        return as_libc(native(number, [a, b, c, d, e, f]));
    }
    engine::enter();
    // SAFETY: the engine is not borrowed while explored code runs.
    let result = unsafe {
        if number == libc::SYS_futex && crate::process::is_std(frame.pc) {
            // Its atomics are not instrumented, so the model would go wrong.
            refuse(
                engine,
                "waiting in one of the standard library's own locks, whose code is not instrumented".into(),
            );
        }
        call(engine, frame, number, [a, b, c, d, e, f])
    };
    engine::leave(engine);
    as_libc(result)
}

/// A system call of explored code; -errno on failure.
///
/// # Safety
/// The engine is in charge and not borrowed.
pub unsafe fn call(engine: *mut Engine, place: &impl Place, number: i64, arguments: [i64; 6]) -> i64 {
    // SAFETY: the caller keeps the contract.
    unsafe {
        match number {
            libc::SYS_gettid => FIRST_ID + (*engine).running as i64,
            libc::SYS_sched_yield => {
                give_way(engine, place);
                0
            }
            libc::SYS_futex => futex(engine, place, arguments),
            libc::SYS_getpid
            | libc::SYS_getrandom
            | libc::SYS_write
            | libc::SYS_writev
            | libc::SYS_mmap
            | libc::SYS_munmap => native(number, arguments),
            libc::SYS_nanosleep | libc::SYS_clock_nanosleep if !Engine::unwinds(engine) => {
                let clock = number == libc::SYS_clock_nanosleep;
                let [_, flags, time, _, _, _] = arguments;
                let (flags, time) = if clock { (flags, time) } else { (0, arguments[0]) };
                let Some(length) = nanoseconds(time as *const timespec) else {
                    return -i64::from(libc::EFAULT);
                };
                let absolute = flags & i64::from(libc::TIMER_ABSTIME) != 0;
                sleep(engine, place, |now| end_of_sleep(now, length, absolute));
                engine::enter();
                0
            }
            _ => {
                let top = (&(*engine).threads)[(*engine).running].top;
                let unnamed = || format!("system call number {number}");
                let name = refusal::name(number).map_or_else(unnamed, str::to_owned);
                refusal::stop(engine, &name, place.callers(top))
            }
        }
    }
}

/// # Safety
/// The engine is in charge and not borrowed.
unsafe fn refuse(engine: *mut Engine, call: String) -> ! {
    // SAFETY: the caller keeps the contract.
    unsafe {
        let thread = (*engine).running;
        Engine::stop(engine, Cause::Refused { thread, call })
    }
}

/// # Safety
/// The engine is in charge and not borrowed.
unsafe fn futex(engine: *mut Engine, frame: &impl Place, arguments: [i64; 6]) -> i64 {
    let [word, operation, value, fourth, second, third] = arguments;
    let address = word as usize;
    let flags = operation as i32;
    let private = flags & libc::FUTEX_PRIVATE_FLAG != 0;
    let command = flags & !(libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME);
    if address == 0 {
        return -i64::from(libc::EFAULT);
    }
    if !address.is_multiple_of(4) {
        return -i64::from(libc::EINVAL);
    }
    // SAFETY: the caller keeps the contract.
    unsafe {
        if Engine::unwinds(engine) {
            return 0;
        }
        let timeout = fourth as *const timespec;
        match command {
            libc::FUTEX_WAIT => {
                let deadline = nanoseconds(timeout).map(|time| (*engine).now.saturating_add(time));
                wait(
                    engine,
                    frame,
                    Wait { address, private, expected: value as u32, bits: u32::MAX, deadline },
                )
            }
            libc::FUTEX_WAIT_BITSET => {
                if third as u32 == 0 {
                    return -i64::from(libc::EINVAL);
                }
                let deadline = nanoseconds(timeout).map(|time| time.saturating_sub(EPOCH));
                wait(
                    engine,
                    frame,
                    Wait { address, private, expected: value as u32, bits: third as u32, deadline },
                )
            }
            libc::FUTEX_WAKE => wake(engine, frame, address, private, value, u32::MAX),
            libc::FUTEX_WAKE_BITSET if third as u32 == 0 => -i64::from(libc::EINVAL),
            libc::FUTEX_WAKE_BITSET => wake(engine, frame, address, private, value, third as u32),
            libc::FUTEX_REQUEUE => requeue(
                engine,
                frame,
                Requeue {
                    from: address,
                    to: second as usize,
                    private,
                    wake: value,
                    moved: fourth,
                    expected: None,
                },
            ),
            libc::FUTEX_CMP_REQUEUE => {
                let expected = Some(third as u32);
                requeue(
                    engine,
                    frame,
                    Requeue {
                        from: address,
                        to: second as usize,
                        private,
                        wake: value,
                        moved: fourth,
                        expected,
                    },
                )
            }
            _ => refuse(engine, format!("futex operation {command}")),
        }
    }
}

struct Wait {
    address: usize,
    private: bool,
    expected: u32,
    bits: u32,
    deadline: Option<u64>,
}

/// # Safety
/// The engine is in charge and not borrowed.
unsafe fn wait(engine: *mut Engine, frame: &impl Place, wait: Wait) -> i64 {
    let Wait { address, private, expected, bits, deadline } = wait;
    // SAFETY: each borrow ends before the coroutine may be suspended.
    unsafe {
        let operation = (*engine).operation(Kind::Wait, address, 4);
        Engine::step(engine, frame, operation);
        let this = &mut *engine;
        let thread = this.running;
        this.kernel_barrier();
        let found = this.load_newest(operation).value as u32;
        this.record(frame, |_| What::Wait { address, expected, found });
        if found != expected {
            return -i64::from(libc::EAGAIN);
        }
        let step = this.done;
        this.futexes.waiters.push(Waiter { thread, address, private, bits, expected, step });
        this.threads[thread].deadline = deadline;
        Engine::block(engine, State::Waiting);
        let this = &mut *engine;
        let how = this.threads[thread].woken;
        this.record(frame, |_| What::Woke { how });
        match how {
            Woken::Asked | Woken::Spurious => 0,
            Woken::TimedOut => -i64::from(libc::ETIMEDOUT),
            Woken::Interrupted => -i64::from(libc::EINTR),
        }
    }
}

/// # Safety
/// The engine is in charge and not borrowed.
unsafe fn wake(
    engine: *mut Engine,
    frame: &impl Place,
    address: usize,
    private: bool,
    most: i64,
    bits: u32,
) -> i64 {
    let most = (most as i32).max(1) as u32;
    // SAFETY: each borrow ends before the coroutine may be suspended.
    unsafe {
        let operation = (*engine).operation(Kind::Wake, address, 4);
        Engine::step(engine, frame, operation);
        let this = &mut *engine;
        this.kernel_barrier();
        let woken = this.wake_some(address, private, bits, most);
        let count = woken.len() as u32;
        let (thread, step) = (this.running, this.done);
        this.futexes.calls.push(WakeUp { thread, address, private, woken: count, step });
        this.record(frame, |_| What::Wake { address, most, woken });
        i64::from(count)
    }
}

struct Requeue {
    from: usize,
    to: usize,
    private: bool,
    wake: i64,
    moved: i64,
    expected: Option<u32>,
}

/// # Safety
/// The engine is in charge and not borrowed.
unsafe fn requeue(engine: *mut Engine, frame: &impl Place, requeue: Requeue) -> i64 {
    let Requeue { from, to, private, wake, moved, expected } = requeue;
    // SAFETY: each borrow ends before the coroutine may be suspended.
    unsafe {
        let operation = (*engine).operation(Kind::Wake, from, 4);
        Engine::step(engine, frame, operation);
        let this = &mut *engine;
        this.kernel_barrier();
        if let Some(expected) = expected {
            let found = this.load_newest(operation).value as u32;
            if found != expected {
                this.record(frame, |_| What::Wait { address: from, expected, found });
                return -i64::from(libc::EAGAIN);
            }
        }
        let mut woken = this.wake_some(from, private, u32::MAX, wake.clamp(0, 1 << 20) as u32);
        let count = woken.len() as u32;
        let (thread, step) = (this.running, this.done);
        this.futexes.calls.push(WakeUp { thread, address: from, private, woken: count, step });
        let target = this.operation(Kind::Wake, to, 4);
        for _ in 0..moved.clamp(0, 1 << 20) {
            let Some(first) = this.futexes.reached(from, private, u32::MAX).next() else { break };
            let mut waiter = this.futexes.waiters.remove(first);
            waiter.address = to;
            waiter.step = step;
            this.threads[waiter.thread].pending = target;
            this.futexes.waiters.push(waiter);
            woken.push(waiter.thread);
        }
        let total = woken.len() as i64;
        this.record(frame, |_| What::Wake { address: from, most: u32::MAX, woken });
        if expected.is_some() { total } else { i64::from(count) }
    }
}

impl Engine {
    /// Linux counts a waiter before it looks at the word, and stores come before the look at that count in a wake-up call,
    /// with a full barrier between in both (kernel/futex/waitwake.c): so every call is a `SeqCst` fence, and comes before what
    /// it reads.
    fn kernel_barrier(&mut self) {
        self.fence(SEQUENTIAL);
        self.threads[self.running].clock.tick(self.running);
    }

    /// Wakes up to `most` waiters, the first ones unless the search decides otherwise.
    fn wake_some(&mut self, address: usize, private: bool, bits: u32, most: u32) -> Vec<usize> {
        let mut woken = Vec::new();
        while (woken.len() as u32) < most {
            let reached: Vec<usize> = self.futexes.reached(address, private, bits).collect();
            let all = (woken.len() + reached.len()) as u32 <= most;
            let Some(&first) = reached.first() else { break };
            let mut chosen = first;
            if !all && self.search.affords() {
                self.steps += 1;
                let options = (1u64 << reached.len()) - 1;
                let (way, _) = self.search.choose(self.steps, Decision::Waiter, 0, options, false);
                if way != 0 {
                    self.taken.push(Deviation { step: self.steps, decision: Decision::Waiter, way });
                    self.oddities += 1;
                }
                chosen = reached[way as usize];
            }
            let waiter = self.futexes.waiters.remove(chosen);
            self.wake(waiter.thread, Woken::Asked);
            // The kernel's barriers order the wake-up before the return from the wait.
            let clock = self.threads[self.running].clock;
            self.threads[waiter.thread].clock.join(&clock);
            woken.push(waiter.thread);
        }
        if !woken.is_empty() {
            let thread = self.running;
            self.threads[thread].advance();
        }
        woken
    }
}

unsafe extern "C" fn sched_yield(frame: &Frame) -> c_int {
    let engine = engine::enter();
    if engine.is_null() {
        return as_libc(native(libc::SYS_sched_yield, [0; 6])) as c_int;
    }
    // SAFETY: the engine is not borrowed while explored code runs.
    unsafe { give_way(engine, frame) };
    engine::leave(engine);
    0
}

/// # Safety
/// The engine is in charge and not borrowed.
unsafe fn give_way(engine: *mut Engine, place: &impl Place) {
    // SAFETY: the caller keeps the contract.
    unsafe {
        if !Engine::unwinds(engine) {
            Engine::step(engine, place, Operation::without_memory(Kind::Yield));
            (*engine).record(place, |_| What::Yield);
        }
    }
}

fn end_of_sleep(now: u64, time: u64, absolute: bool) -> u64 {
    if absolute { time.saturating_sub(EPOCH) } else { now.saturating_add(time) }
}

/// # Safety
/// `engine` is the current one.
unsafe fn sleep(engine: *mut Engine, frame: &impl Place, deadline: impl FnOnce(u64) -> u64) {
    engine::enter();
    // SAFETY: the engine is not borrowed while explored code runs.
    unsafe {
        if !Engine::unwinds(engine) {
            Engine::step(engine, frame, Operation::without_memory(Kind::Sleep));
            let this = &mut *engine;
            let until = deadline(this.now);
            let nanoseconds = until.saturating_sub(this.now);
            this.record(frame, |_| What::Sleep { nanoseconds });
            if until > this.now {
                let thread = this.running;
                this.threads[thread].deadline = Some(until);
                Engine::block(engine, State::Sleeping);
            }
        }
    }
    engine::leave(engine);
}

unsafe extern "C" fn nanosleep(time: *const timespec, left: *mut timespec, frame: &Frame) -> c_int {
    let engine = engine::current();
    if engine.is_null() {
        return as_libc(native(libc::SYS_nanosleep, [time as i64, left as i64, 0, 0, 0, 0])) as c_int;
    }
    let Some(length) = nanoseconds(time) else { return as_libc(-i64::from(libc::EFAULT)) as c_int };
    // SAFETY: called by explored code.
    unsafe { sleep(engine, frame, |now| now.saturating_add(length)) };
    0
}

unsafe extern "C" fn clock_nanosleep(
    clock: c_int,
    flags: c_int,
    time: *const timespec,
    left: *mut timespec,
    frame: &Frame,
) -> c_int {
    let engine = engine::current();
    if engine.is_null() {
        let arguments = [i64::from(clock), i64::from(flags), time as i64, left as i64, 0, 0];
        return -native(libc::SYS_clock_nanosleep, arguments) as c_int;
    }
    let Some(length) = nanoseconds(time) else { return libc::EFAULT };
    let absolute = flags & libc::TIMER_ABSTIME != 0;
    // SAFETY: called by explored code.
    unsafe { sleep(engine, frame, |now| end_of_sleep(now, length, absolute)) };
    0
}

unsafe extern "C" fn usleep(microseconds: u32, frame: &Frame) -> c_int {
    let time = timespec {
        tv_sec: i64::from(microseconds / 1_000_000),
        tv_nsec: i64::from(microseconds % 1_000_000) * 1_000,
    };
    // SAFETY: a valid time, and no wish to know what is left.
    unsafe { nanosleep(&time, ptr::null_mut(), frame) }
}

unsafe extern "C" fn sleep_seconds(seconds: u32, frame: &Frame) -> u32 {
    let time = timespec { tv_sec: i64::from(seconds), tv_nsec: 0 };
    let mut left = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: valid times.
    unsafe { nanosleep(&time, &raw mut left, frame) };
    left.tv_sec as u32
}

unsafe extern "C" fn clock_gettime(clock: c_int, time: *mut timespec, _frame: &Frame) -> c_int {
    let engine = engine::enter();
    if engine.is_null() {
        return as_libc(native(libc::SYS_clock_gettime, [i64::from(clock), time as i64, 0, 0, 0, 0]))
            as c_int;
    }
    // SAFETY: the engine is not borrowed while explored code runs; `time` is the caller's.
    unsafe {
        let this = &mut *engine;
        this.now += 1_000;
        let thread = this.running;
        this.threads[thread].advance();
        let now = EPOCH + this.now;
        *time = timespec { tv_sec: (now / 1_000_000_000) as i64, tv_nsec: (now % 1_000_000_000) as i64 };
    }
    engine::leave(engine);
    0
}

unsafe extern "C" fn pthread_create(
    thread: *mut libc::pthread_t,
    attributes: *const libc::pthread_attr_t,
    start: extern "C" fn(*mut libc::c_void) -> *mut libc::c_void,
    argument: *mut libc::c_void,
    _frame: &Frame,
) -> c_int {
    let engine = engine::enter();
    if engine.is_null() {
        type Create = unsafe extern "C" fn(
            *mut libc::pthread_t,
            *const libc::pthread_attr_t,
            extern "C" fn(*mut libc::c_void) -> *mut libc::c_void,
            *mut libc::c_void,
        ) -> c_int;
        // SAFETY: libc's own function of that name has that signature.
        unsafe {
            let create = libc::dlsym(libc::RTLD_NEXT, c"pthread_create".as_ptr());
            if create.is_null() {
                return libc::EAGAIN;
            }
            let create: Create = std::mem::transmute(create);
            return create(thread, attributes, start, argument);
        }
    }
    // SAFETY: the engine is not borrowed while explored code runs.
    unsafe { refuse(engine, "starting an operating system thread (use `explore::spawn`)".to_owned()) }
}
