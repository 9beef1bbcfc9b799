//! What the explored code itself may call: starting and joining model threads. Generic code here is compiled into the
//! explored crates, so it is thin; the work is done behind `extern "C"` shims.

use std::marker::PhantomData;

use crate::engine::{self, Engine};
use crate::finding::Cause;
use crate::shim::{Frame, shims};
use crate::thread::{Kind, Operation, State};
use crate::trace::What;

/// The exploration, as the body sees it.
#[derive(Debug)]
pub struct Model {
    _only_inside: PhantomData<*const ()>,
}

impl Model {
    pub(crate) const fn new() -> Model {
        Model { _only_inside: PhantomData }
    }

    /// Starts a model thread with a name for the report.
    ///
    /// # Panics
    /// When there are already [`MAX_THREADS`](crate::MAX_THREADS).
    pub fn spawn<T: 'static>(&self, name: &str, body: impl FnOnce() -> T + 'static) -> JoinHandle<T> {
        start(name, body)
    }

    /// Puts a value where all threads can refer to it; it is gone, without being dropped, at the end of the execution.
    pub fn share<T>(&self, value: T) -> &'static T {
        Box::leak(Box::new(value))
    }
}

/// Starts a model thread.
///
/// # Panics
/// Outside an exploration, and when there are already [`MAX_THREADS`](crate::MAX_THREADS).
pub fn spawn<T: 'static>(body: impl FnOnce() -> T + 'static) -> JoinHandle<T> {
    start("", body)
}

/// A running model thread.
#[derive(Debug)]
pub struct JoinHandle<T> {
    thread: usize,
    result: *mut Option<T>,
}

impl<T> JoinHandle<T> {
    /// Waits for the thread's end and returns what it returned.
    ///
    /// # Panics
    /// When it was joined from outside the exploration.
    pub fn join(self) -> T {
        // SAFETY: the shim passes the number on; it returns once the thread is at its end, so that nobody else uses `result`.
        let result = unsafe {
            entry::explore_join(self.thread);
            (*self.result).take()
        };
        result.expect("a joined thread has a result")
    }

    /// The thread's number in reports.
    pub fn number(&self) -> usize {
        self.thread
    }
}

fn start<T: 'static>(name: &str, body: impl FnOnce() -> T + 'static) -> JoinHandle<T> {
    let result: *mut Option<T> = Box::into_raw(Box::new(None));
    let body: Box<dyn FnOnce()> = Box::new(move || {
        let value = body();
        // SAFETY: the handle looks at it only after this thread's end, and nothing of an execution is freed before its end.
        unsafe { *result = Some(value) };
    });
    let mut body = Some(body);
    // SAFETY: the shim takes the body out, and reads the name, before it returns.
    let thread = unsafe { entry::explore_spawn((&raw mut body).cast(), name.as_ptr(), name.len()) };
    JoinHandle { thread, result }
}

/// Adds a line to the report of a failing execution, at this point of it.
#[inline(never)]
pub fn note(text: &str) {
    let engine = engine::enter();
    if engine.is_null() {
        return;
    }
    // SAFETY: the engine is not borrowed while explored code runs.
    unsafe {
        let this = &mut *engine;
        this.note(this.running, Vec::new, What::Note { text: text.to_owned() });
    }
    engine::leave(engine);
}

/// Notes a number that this execution came to; [`Report::outcomes`](crate::Report::outcomes) has them for every execution.
#[inline(never)]
pub fn outcome(number: u64) {
    let engine = engine::enter();
    if engine.is_null() {
        return;
    }
    // SAFETY: the engine is not borrowed while explored code runs.
    unsafe { (*engine).outcome.push(number) };
    engine::leave(engine);
}

/// Whether this code runs inside an exploration.
#[inline(never)]
pub fn exploring() -> bool {
    !engine::current().is_null()
}

/// The shims below, with their signatures.
mod entry {
    use std::ffi::c_void;

    unsafe extern "C" {
        pub fn explore_spawn(body: *mut c_void, name: *const u8, length: usize) -> usize;
        pub fn explore_join(thread: usize);
    }
}

shims! {
    "rsi": explore_join => join;
    "rcx": explore_spawn => spawn_shim;
}

unsafe extern "C" fn spawn_shim(
    body: *mut Option<Box<dyn FnOnce()>>,
    name: *const u8,
    length: usize,
    frame: &Frame,
) -> usize {
    let engine = engine::enter();
    if engine.is_null() {
        eprintln_and_abort("explore::spawn was called outside an exploration");
    }
    // SAFETY: `start` passes valid pointers; each borrow of the engine ends before the coroutine may be suspended.
    let thread = unsafe {
        if Engine::unwinds(engine) {
            Engine::stop(engine, refused(engine, "starting a thread while a panic unwinds"));
        }
        Engine::step(engine, frame, Operation::without_memory(Kind::Spawn));
        let this = &mut *engine;
        let parent = this.running;
        let name = std::str::from_utf8_unchecked(std::slice::from_raw_parts(name, length));
        let default = format!("thread {}", this.count);
        let name = if name.is_empty() { &default } else { name };
        let clock = this.threads[parent].clock;
        let body = (*body).take().unwrap_or_else(|| Box::new(|| {}));
        match this.start(name, body, clock) {
            Some(thread) => {
                this.threads[parent].advance();
                this.record(frame, |_| What::Spawn { thread });
                thread
            }
            None => {
                Engine::stop(engine, refused(engine, "starting one more thread than the engine can manage"))
            }
        }
    };
    engine::leave(engine);
    thread
}

unsafe fn refused(engine: *mut Engine, call: &str) -> Cause {
    // SAFETY: the caller owns the engine.
    unsafe { Cause::Refused { thread: (*engine).running, call: call.to_owned() } }
}

#[expect(clippy::print_stderr, reason = "the program cannot go on")]
fn eprintln_and_abort(message: &str) -> ! {
    eprintln!("{message}");
    std::process::abort()
}

unsafe extern "C" fn join(thread: usize, frame: &Frame) {
    let engine = engine::enter();
    if engine.is_null() {
        eprintln_and_abort("a model thread was joined outside its exploration");
    }
    // SAFETY: each borrow of the engine ends before the coroutine may be suspended.
    unsafe {
        if !Engine::unwinds(engine) {
            Engine::step(engine, frame, Operation::without_memory(Kind::Join));
            if (&(*engine).threads)[thread].state != State::Finished {
                Engine::block(engine, State::Joining(thread));
            }
            let this = &mut *engine;
            let clock = this.threads[thread].clock;
            let joiner = this.running;
            this.threads[joiner].clock.join(&clock);
            this.threads[joiner].advance();
            this.record(frame, |_| What::Join { thread });
        }
    }
    engine::leave(engine);
}
