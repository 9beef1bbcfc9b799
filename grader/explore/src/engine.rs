//! One execution at a time: model threads as coroutines in one OS thread, of which exactly one runs. Before each visible
//! operation the running thread asks here who goes on.
//!
//! The thread-local `CURRENT` points to the engine while explored code runs and is null while the engine runs, so that the
//! entry points act natively outside an exploration and inside the engine itself.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};

use crate::arena;
use crate::asm::buffer::Buffers;
use crate::finding::{Blocked, Cause, Site, Waker};
use crate::futex::Futexes;
use crate::memory::clock::{Clock, MAX_THREADS};
use crate::memory::race::{Access, Touch};
use crate::memory::{Clash, Memory, NONE};
use crate::schedule::{Decision, Deviation, Schedule};
use crate::search::Search;
use crate::shim::{self, Place};
use crate::thread::{Kind, Operation, Spin, State, Thread, Woken};
use crate::trace::{Recorder, What};

/// Bytes of stack of a model thread.
pub const STACK: usize = 256 << 10;

/// A thread that unwinds may make this many calls into the engine before it is given up.
const MOST_UNWOUND: u32 = 100_000;

thread_local! {
    static CURRENT: Cell<*mut Engine> = const { Cell::new(ptr::null_mut()) };
    static RUNNING: Cell<*mut Engine> = const { Cell::new(ptr::null_mut()) };
}

/// The engine of the model thread that runs, also while it runs in the engine itself; null between executions.
pub fn running() -> *mut Engine {
    RUNNING.get()
}

/// The engine of the explored code that calls; null outside an exploration and inside the engine.
#[inline(always)]
pub fn current() -> *mut Engine {
    CURRENT.get()
}

/// Puts the engine in charge and returns it; null when there is none.
#[inline(always)]
pub fn enter() -> *mut Engine {
    let engine = CURRENT.get();
    if !engine.is_null() {
        CURRENT.set(ptr::null_mut());
    }
    engine
}

/// Lets the explored code go on.
#[inline(always)]
pub fn leave(engine: *mut Engine) {
    CURRENT.set(engine);
}

/// How an execution ended.
#[derive(Debug)]
pub enum Ended {
    /// Every thread came to its end.
    Finished,
    /// It would only have repeated an equivalent one.
    Redundant,
    /// Something is wrong.
    Stopped(Cause),
}

/// Limits that do not change during an exploration.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Futex waits may end for no reason, or by a signal, once in an execution.
    pub spurious: bool,
    /// Reads may take old values.
    pub weak: bool,
    /// Steps after which every thread is made to take turns.
    pub patience: u32,
}

/// Why the running coroutine gave up control.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signal {
    Switch,
    Abandon,
}

type Routine = Coroutine<(), (), (), DefaultStack>;

/// The state of one execution, and what is kept between executions to save time.
pub struct Engine {
    /// Model threads; the first `count` are in use.
    pub threads: Vec<Thread>,
    /// How many threads were started.
    pub count: usize,
    /// Which one runs.
    pub running: usize,
    /// Memory as the threads see it.
    pub memory: Memory,
    /// Who sleeps where.
    pub futexes: Futexes,
    /// Stores that are not in memory yet.
    pub buffers: Buffers,
    /// Who decides.
    pub search: Search,
    /// The limits.
    pub rules: Rules,
    /// What happened, when somebody wants to know.
    pub recorder: Option<Recorder>,
    /// Decisions about who goes on so far: what schedules count.
    pub steps: u32,
    /// Visible operations done so far: what reports count.
    pub done: u32,
    /// What was not the default.
    pub taken: Vec<Deviation>,
    /// Switches away from a thread that could have run on.
    pub preemptions: u32,
    /// Old values read, stores put before older ones, waits that ended without a cause, wake-ups out of order.
    pub oddities: u32,
    /// In some execution, a read was not offered every old value that it may see, or a store not every place.
    pub left_out: bool,
    /// Virtual nanoseconds since the execution began.
    pub now: u64,
    /// What the execution came to, by `outcome`.
    pub outcome: Vec<u64>,
    /// What a panic hook, a signal handler or a check found.
    pub cause: Option<Cause>,
    routines: Vec<Option<Routine>>,
    yielders: [*const Yielder<(), ()>; MAX_THREADS],
    stacks: Vec<DefaultStack>,
    runnable: u16,
    yielded: u16,
    spinning: u16,
    asleep: u16,
    spurious_left: bool,
    signal: Signal,
    redundant: bool,
    thread_locals: crate::process::Image,
}

impl Engine {
    /// An engine with nothing to do.
    pub fn new(search: Search, rules: Rules) -> Engine {
        Engine {
            threads: (0..MAX_THREADS).map(|_| Thread::new()).collect(),
            count: 0,
            running: 0,
            memory: Memory::new(crate::process::statics(), crate::process::thread_locals()),
            futexes: Futexes::default(),
            buffers: Buffers::new(),
            search,
            rules,
            recorder: None,
            steps: 0,
            done: 0,
            taken: Vec::new(),
            preemptions: 0,
            oddities: 0,
            left_out: false,
            now: 0,
            outcome: Vec::new(),
            cause: None,
            routines: (0..MAX_THREADS).map(|_| None).collect(),
            yielders: [ptr::null(); MAX_THREADS],
            stacks: Vec::new(),
            runnable: 0,
            yielded: 0,
            spinning: 0,
            asleep: 0,
            spurious_left: false,
            signal: Signal::Switch,
            redundant: false,
            thread_locals: crate::process::Image::default(),
        }
    }

    /// Runs `body` as the first thread, and all that it starts, to the end.
    pub fn execute(&mut self, body: &dyn Fn()) -> Ended {
        self.count = 0;
        self.running = 0;
        self.futexes.reset();
        self.buffers.reset();
        self.steps = 0;
        self.done = 0;
        self.taken.clear();
        self.preemptions = 0;
        self.oddities = 0;
        self.now = 0;
        self.outcome.clear();
        self.cause = None;
        self.runnable = 0;
        self.yielded = 0;
        self.spinning = 0;
        self.asleep = 0;
        self.spurious_left = self.rules.spurious;
        self.redundant = false;
        // SAFETY: the coroutine is driven to its end or reset before this function returns.
        let body: Box<dyn FnOnce() + 'static> =
            unsafe { std::mem::transmute::<Box<dyn FnOnce() + '_>, Box<dyn FnOnce()>>(Box::new(body)) };
        self.start("main", body, Clock::NONE);
        self.thread_locals.take();
        let engine = ptr::from_mut(self);
        // SAFETY: `engine` is this engine; nobody else holds a reference while a coroutine runs.
        unsafe { Engine::drive(engine) };
        self.clean_up();
        match self.cause.take() {
            Some(cause) => Ended::Stopped(cause),
            None if self.search.diverged() => Ended::Stopped(Cause::Diverged),
            None if self.redundant => Ended::Redundant,
            None => Ended::Finished,
        }
    }

    /// # Safety
    /// `engine` is valid and not borrowed.
    unsafe fn drive(engine: *mut Engine) {
        loop {
            // SAFETY: short borrows, none of which is alive while the coroutine runs.
            let routine: *mut Routine = unsafe {
                let running = (*engine).running;
                (&mut (*engine).threads)[running].forget_visits();
                match (&mut (*engine).routines)[running].as_mut() {
                    Some(routine) => routine,
                    None => return,
                }
            };
            RUNNING.set(engine);
            // SAFETY: the routine stays where it is while it runs.
            let result = unsafe { (*routine).resume(()) };
            RUNNING.set(ptr::null_mut());
            // SAFETY: no coroutine runs.
            let engine = unsafe { &mut *engine };
            match result {
                CoroutineResult::Yield(()) if engine.signal == Signal::Abandon => return,
                CoroutineResult::Yield(()) => {}
                CoroutineResult::Return(()) => {
                    let running = engine.running;
                    engine.finish(running);
                    if engine.cause.is_some() || engine.runnable == 0 && engine.all_finished() {
                        return;
                    }
                    match engine.pick(None) {
                        Some(next) => engine.running = next,
                        None => return,
                    }
                }
            }
        }
    }

    fn all_finished(&self) -> bool {
        self.threads[..self.count].iter().all(|thread| thread.state == State::Finished)
    }

    fn clean_up(&mut self) {
        if self.threads[..self.count].iter().any(|thread| thread.panic.is_some()) {
            // std counts a thread's panics in a thread-local; of a panic that was given up half-way nothing may be left.
            self.thread_locals.restore();
        }
        for routine in self.routines[..self.count].iter_mut() {
            if let Some(mut routine) = routine.take() {
                // Only now: a stack that another thread of this execution used again would look like a race.
                // SAFETY: what the abandoned frames own lies in the arena, which is emptied below, or is leaked.
                unsafe { routine.force_reset() };
                self.stacks.push(routine.into_stack());
            }
        }
        self.memory.reset();
        arena::reset();
    }

    /// Gives the execution up when the running thread has used nearly all of its stack: the engine needs some itself.
    ///
    /// # Safety
    /// As for [`step`](Engine::step).
    #[inline]
    pub unsafe fn mind_the_stack(engine: *mut Engine) {
        // SAFETY: the borrow ends at once; the caller keeps the contract.
        unsafe {
            let thread = (*engine).running;
            let used = (&(*engine).threads)[thread].top.wrapping_sub(shim::stack_pointer());
            if used > STACK - crate::crash::RESERVE && used < STACK {
                Engine::stop(engine, Cause::StackOverflow { thread });
            }
        }
    }

    /// Starts a model thread; None when there are too many.
    pub fn start(&mut self, name: &str, body: Box<dyn FnOnce()>, clock: Clock) -> Option<usize> {
        let index = self.count;
        if index == MAX_THREADS {
            return None;
        }
        self.count += 1;
        let mut known = clock;
        known.tick(index);
        self.threads[index].begin(name, known);
        self.runnable |= 1 << index;
        let stack = self.stacks.pop().unwrap_or_else(|| {
            DefaultStack::new(STACK).expect("address space for the stack of a model thread")
        });
        let engine = ptr::from_mut(self);
        let routine = Coroutine::with_stack(stack, move |yielder: &Yielder<(), ()>, ()| {
            // SAFETY: the engine outlives its coroutines and is not borrowed while they run.
            unsafe {
                (&mut (*engine).yielders)[index] = yielder;
                (&mut (*engine).threads)[index].top = shim::stack_pointer() & !15;
            }
            leave(engine);
            let result = catch_unwind(AssertUnwindSafe(body));
            enter();
            // SAFETY: as above.
            unsafe {
                if result.is_ok() && (*engine).buffers.busy(index) {
                    Engine::drain(engine);
                }
            }
            if let Err(payload) = result {
                // SAFETY: as above.
                unsafe { (*engine).panicked(index) };
                drop(payload);
            }
        });
        self.routines[index] = Some(routine);
        Some(index)
    }

    fn finish(&mut self, thread: usize) {
        self.threads[thread].clock.tick(thread);
        self.threads[thread].state = State::Finished;
        self.runnable &= !(1 << thread);
        self.asleep &= !(1 << thread);
        self.yielded = 0;
        for other in 0..self.count {
            if self.threads[other].state == State::Joining(thread) {
                self.threads[other].state = State::Runnable;
                self.runnable |= 1 << other;
            }
        }
        self.note(thread, Vec::new, What::Finish);
    }

    /// The running thread's code panics; it may still catch it.
    pub fn caught_panic(&mut self, message: String, place: String) {
        let thread = self.running;
        self.note(thread, Vec::new, What::Panic { message: message.clone() });
        self.threads[thread].panic.get_or_insert((message, place));
    }

    fn panicked(&mut self, thread: usize) {
        if let Some((message, place)) = self.threads[thread].panic.take() {
            self.cause = Some(Cause::Panic { thread, message, place });
        }
    }

    /// Remembers an event for the report.
    #[inline]
    pub fn note(&mut self, thread: usize, callers: impl FnOnce() -> Vec<usize>, what: What) {
        if let Some(recorder) = &mut self.recorder {
            recorder.note(self.done, thread, callers(), what);
        }
    }

    /// Remembers that the running thread gives memory back. The callers are found by what looks like return addresses
    /// above `frame`, for the allocator's entry point is not compiled with frame pointers.
    pub fn note_free(&mut self, address: usize, size: usize, frame: usize) {
        if self.recorder.is_some() {
            let top = self.threads[self.running].top;
            self.note(self.running, || shim::callers_by_calls(frame, top), What::Free { address, size });
        }
    }

    /// Remembers an event of the running thread, which stands at `frame`.
    #[inline]
    pub fn record(&mut self, frame: &impl Place, what: impl FnOnce(&mut Engine) -> What) {
        if self.recorder.is_some() {
            let top = self.threads[self.running].top;
            let what = what(self);
            self.note(self.running, || frame.callers(top), what);
        }
    }

    // ---- who goes on ----

    /// Decides which thread goes on; `current` could. None: nobody, and why is in `self`.
    fn pick(&mut self, current: Option<usize>) -> Option<usize> {
        // Every decision about threads has a number of its own, for schedules.
        self.steps += 1;
        let mut enabled = self.runnable & !self.yielded;
        if self.spinning != 0 {
            self.look_for_changes();
            enabled &= !self.spinning;
        }
        if enabled == 0 && self.yielded & self.runnable & !self.spinning != 0 {
            self.yielded = 0;
            enabled = self.runnable & !self.spinning;
        }
        if self.steps > self.rules.patience {
            return self.take_turns(enabled);
        }
        let awake = enabled & !self.asleep;
        // When only sleepers could go on, going on would repeat an equivalent execution; ending a wait would not.
        let candidates = if awake == 0 { enabled } else { awake };
        let default = match current {
            Some(thread) if candidates & 1 << thread != 0 => thread,
            _ if candidates != 0 => self.next_after(candidates),
            _ => match self.first_timer() {
                Some(thread) => thread + 16,
                None => return self.nobody(),
            },
        };
        let mut options = u64::from(awake) | 1 << default;
        if self.count > 1 && self.search.affords() {
            options |= self.unasked();
        }
        let preempts = current == Some(default);
        // A schedule names what differs from the default of a replay, which knows of no thread that is asleep.
        let replayed = match current {
            Some(thread) if enabled & 1 << thread != 0 => thread,
            _ if enabled != 0 => self.next_after(enabled),
            _ => default,
        };
        let (way, node) = if options == 1 << default {
            (default as u8, u32::MAX)
        } else {
            self.search.choose(self.steps, Decision::Thread, default as u8, options, preempts)
        };
        let way = way as usize;
        if self.search.diverged_now() {
            self.cause = Some(Cause::Diverged);
            return None;
        }
        if awake == 0 && way < 16 && enabled != 0 {
            self.redundant = true;
            return None;
        }
        self.take(way, replayed);
        if way != default {
            if way >= 16 {
                self.oddities += 1;
            } else if preempts {
                self.preemptions += 1;
            }
        }
        if preempts && self.search.reduces() {
            let pending = self.threads[default].pending;
            if way != default {
                self.asleep |= 1 << default;
            } else if node != u32::MAX && pending.location != NONE {
                let decision = (node, default as u8, pending.writes());
                self.memory.location(pending.location).decisions.push(decision);
            }
        }
        Some(self.resume_as(way))
    }

    /// Puts a decision into the schedule unless a replay would make it by itself.
    fn take(&mut self, way: usize, replayed: usize) {
        if way != replayed {
            self.taken.push(Deviation { step: self.steps, decision: Decision::Thread, way: way as u8 });
        }
    }

    /// Everybody takes turns: an execution that is far too long gets a fair chance to end.
    fn take_turns(&mut self, enabled: u16) -> Option<usize> {
        if self.steps > self.rules.patience.saturating_mul(3) {
            self.cause = Some(Cause::Endless { steps: self.steps });
            return None;
        }
        if enabled != 0 {
            return Some(self.next_after(enabled));
        }
        match self.first_timer() {
            Some(thread) => Some(self.resume_as(thread + 16)),
            None => self.nobody(),
        }
    }

    fn next_after(&self, mask: u16) -> usize {
        let later = mask & !((2u32 << self.running) - 1) as u16;
        if later != 0 { later.trailing_zeros() as usize } else { mask.trailing_zeros() as usize }
    }

    fn first_timer(&self) -> Option<usize> {
        let waits = |thread: &Thread| matches!(thread.state, State::Waiting | State::Sleeping);
        (0..self.count)
            .filter(|&thread| waits(&self.threads[thread]))
            .filter_map(|thread| self.threads[thread].deadline.map(|deadline| (deadline, thread)))
            .min()
            .map(|(_, thread)| thread)
    }

    /// Waits that may end although nobody ended them.
    fn unasked(&self) -> u64 {
        let mut options = 0;
        for index in 0..self.count {
            let thread = &self.threads[index];
            let waiting = thread.state == State::Waiting;
            if (waiting || thread.state == State::Sleeping) && thread.deadline.is_some() {
                options |= 1 << (16 + index);
            }
            if waiting && self.spurious_left {
                options |= 1 << (32 + index) | 1 << (48 + index);
            }
        }
        options
    }

    /// A thread whose loop looks at something that changed spins no longer.
    fn look_for_changes(&mut self) {
        for index in 0..self.count {
            if self.spinning & 1 << index == 0 {
                continue;
            }
            let locations = self.memory.locations();
            let watched = &mut self.threads[index].watched;
            let before = watched.len();
            // What changed is forgotten: a loop that no longer looks there would never be seen to spin again.
            watched.retain(|&(location, version)| locations[location as usize].version == version);
            let changed = watched.len() != before;
            if changed {
                self.spinning &= !(1 << index);
                // It looks at everything anew: what it saw before it went in circles must not keep it awake.
                self.threads[index].advance();
            }
        }
    }

    fn resume_as(&mut self, way: usize) -> usize {
        let index = way % 16;
        let woken = match way / 16 {
            0 => return index,
            1 => Woken::TimedOut,
            2 => Woken::Spurious,
            _ => Woken::Interrupted,
        };
        if let Some(deadline) = self.threads[index].deadline
            && woken == Woken::TimedOut
        {
            self.now = self.now.max(deadline);
        }
        if woken != Woken::TimedOut {
            self.spurious_left = false;
        }
        let waiter = self.futexes.remove(index);
        self.wake(index, woken);
        if let Some(waiter) = waiter {
            let operation = Operation { kind: Kind::Wait, ..self.threads[index].pending };
            debug_assert_eq!(operation.address, waiter.address);
            self.touches(index, &operation);
        }
        index
    }

    /// Ends a thread's wait.
    pub fn wake(&mut self, thread: usize, woken: Woken) {
        self.threads[thread].state = State::Runnable;
        self.threads[thread].deadline = None;
        self.threads[thread].woken = woken;
        self.threads[thread].advance();
        self.runnable |= 1 << thread;
    }

    /// No thread can go on.
    #[cold]
    fn nobody(&mut self) -> Option<usize> {
        if self.all_finished() {
            return None;
        }
        let spins = (0..self.count).any(|thread| self.spinning & 1 << thread != 0);
        let blocked: Vec<Blocked> = (0..self.count).filter_map(|thread| self.blocked(thread)).collect();
        self.cause = Some(if spins {
            Cause::Livelock { blocked }
        } else if blocked.iter().any(Blocked::missed_a_wake_up) {
            Cause::LostWakeUp { blocked }
        } else {
            Cause::Deadlock { blocked }
        });
        None
    }

    fn blocked(&mut self, index: usize) -> Option<Blocked> {
        let thread = &self.threads[index];
        match thread.state {
            State::Finished | State::Sleeping => None,
            State::Joining(target) => Some(Blocked::Joining { thread: index, target }),
            State::Waiting => {
                let waiter = *self.futexes.waiters.iter().find(|waiter| waiter.thread == index)?;
                // SAFETY: the word was read when the thread fell asleep.
                let now = unsafe { ptr::read_volatile(waiter.address as *const u32) };
                let waker = |call: &crate::futex::WakeUp| Waker {
                    thread: call.thread,
                    step: call.step,
                    woken: call.woken,
                    private: call.private,
                };
                let calls = self.futexes.calls.iter().filter(|call| call.address == waiter.address);
                Some(Blocked::Waiting {
                    thread: index,
                    address: waiter.address,
                    expected: waiter.expected,
                    now,
                    private: waiter.private,
                    step: waiter.step,
                    calls: calls.map(waker).collect(),
                })
            }
            State::Runnable => {
                let place = thread.watched.last().copied();
                let locations = self.memory.locations();
                let watches = place.map(|(location, _)| {
                    let location = &locations[location as usize];
                    (location.address, location.stores[location.last()].value)
                });
                Some(Blocked::Spinning { thread: index, watches })
            }
        }
    }

    // ---- visible operations ----

    /// A thread's access takes place: whoever slept until then wakes, and earlier decisions are seen to matter.
    #[inline]
    fn touches(&mut self, thread: usize, operation: &Operation) {
        self.yielded = 0;
        let mut asleep = self.asleep;
        while asleep != 0 {
            let other = asleep.trailing_zeros() as usize;
            asleep &= asleep - 1;
            if self.threads[other].pending.conflicts(operation) {
                self.asleep &= !(1 << other);
            }
        }
        if operation.location == NONE {
            return;
        }
        let mut index = self.memory.first_overlapping(operation.location);
        while index != NONE {
            let next = self.memory.next_overlapping(index, operation.location);
            let decisions = &mut self.memory.location(index).decisions;
            if !decisions.is_empty() {
                let search = &mut self.search;
                decisions.retain(|&(node, by, writes)| {
                    let matters = by as usize != thread && (writes || operation.writes());
                    if matters {
                        search.matters(node);
                    }
                    !matters
                });
            }
            index = next;
        }
        if let Search::Random(_) = self.search {
            for other in 0..self.count {
                if other == thread || self.threads[other].pending.conflicts(operation) {
                    self.search.redraw(other);
                }
            }
        }
    }

    /// The running thread is about to do `operation`: returns once it is its turn. The engine must not be borrowed.
    ///
    /// # Safety
    /// `engine` was returned by [`enter`] in a model thread and is not borrowed.
    #[inline]
    pub unsafe fn step(engine: *mut Engine, place: &impl Place, operation: Operation) {
        // SAFETY: the caller keeps the contract.
        unsafe { Engine::mind_the_stack(engine) };
        // SAFETY: the caller keeps the contract; the borrow ends at once.
        unsafe {
            if (*engine).buffers.busy((*engine).running) {
                Engine::before(engine, operation);
            }
            Engine::approach(engine, place, operation);
        }
    }

    /// As [`step`](Engine::step), for an operation that goes through the store buffer.
    ///
    /// # Safety
    /// As for [`step`](Engine::step).
    #[inline]
    pub unsafe fn approach(engine: *mut Engine, place: &impl Place, operation: Operation) {
        // SAFETY: the caller keeps the contract; each borrow ends before the coroutine is suspended.
        unsafe {
            let thread = (*engine).running;
            let mut spin = (&mut (*engine).threads)[thread].visit(place);
            if spin != Spin::No && (*engine).buffers.waits(thread) {
                // What it stored is on its way in any case.
                Engine::drain(engine);
                spin = Spin::No;
            }
            Engine::turn(engine, operation, spin);
        }
    }

    /// As [`step`](Engine::step), for a part of an instruction: the place has been visited already.
    ///
    /// # Safety
    /// As for [`step`](Engine::step).
    #[inline]
    pub unsafe fn turn(engine: *mut Engine, operation: Operation, spin: Spin) {
        // SAFETY: the borrow ends before the coroutine is suspended.
        let (go_on, thread) = unsafe {
            let this = &mut *engine;
            let thread = this.running;
            this.threads[thread].makes(operation);
            match spin {
                Spin::No => {}
                Spin::Stuck => this.spinning |= 1 << thread,
                Spin::Long => this.yielded |= 1 << thread,
            }
            if operation.kind == Kind::Yield {
                this.yielded |= 1 << thread;
            }
            let alone = this.count == 1 && this.spinning == 0 && this.steps < this.rules.patience;
            this.steps += u32::from(alone);
            (alone || this.give_way(), thread)
        };
        if !go_on {
            // SAFETY: the caller keeps the contract.
            unsafe { Engine::suspend(engine, thread) };
        }
        // SAFETY: as above.
        unsafe {
            let this = &mut *engine;
            this.done += 1;
            this.threads[thread].clock.tick(thread);
            this.touches(thread, &operation);
        }
    }

    /// Picks who goes on; true when it is the running thread.
    #[inline]
    fn give_way(&mut self) -> bool {
        self.give_way_from(Some(self.running))
    }

    fn give_way_from(&mut self, current: Option<usize>) -> bool {
        let thread = self.running;
        match self.pick(current) {
            Some(next) => {
                self.signal = Signal::Switch;
                self.running = next;
                next == thread
            }
            None => {
                self.signal = Signal::Abandon;
                false
            }
        }
    }

    /// The running thread cannot go on before somebody wakes it: returns when that happened.
    ///
    /// # Safety
    /// As for [`step`](Engine::step).
    pub unsafe fn block(engine: *mut Engine, state: State) {
        // SAFETY: the borrow ends before the coroutine is suspended.
        let (go_on, thread) = unsafe {
            let this = &mut *engine;
            let thread = this.running;
            this.threads[thread].state = state;
            this.threads[thread].advance();
            this.runnable &= !(1 << thread);
            (this.give_way_from(None), thread)
        };
        if !go_on {
            // SAFETY: the caller keeps the contract.
            unsafe { Engine::suspend(engine, thread) };
        }
    }

    /// Gives the execution up because of `cause`; does not return.
    ///
    /// # Safety
    /// As for [`step`](Engine::step).
    pub unsafe fn stop(engine: *mut Engine, cause: Cause) -> ! {
        // SAFETY: the borrow ends before the coroutine is suspended.
        unsafe {
            (*engine).cause.get_or_insert(cause);
            (*engine).signal = Signal::Abandon;
            let thread = (*engine).running;
            Engine::suspend(engine, thread);
        }
        unreachable!("an abandoned thread was resumed")
    }

    /// # Safety
    /// As for [`step`](Engine::step); `thread` is the one whose code runs.
    unsafe fn suspend(engine: *mut Engine, thread: usize) {
        // SAFETY: the yielder lives at the bottom of the running coroutine's stack.
        unsafe { (*(&(*engine).yielders)[thread]).suspend(()) };
    }

    /// The thread whose code calls is unwinding: it acts natively, to its end.
    ///
    /// # Safety
    /// As for [`step`](Engine::step).
    #[inline]
    pub unsafe fn unwinds(engine: *mut Engine) -> bool {
        // SAFETY: the borrow ends at once.
        let thread = unsafe { &mut (&mut (*engine).threads)[(*engine).running] };
        if thread.panic.is_none() {
            return false;
        }
        if !std::thread::panicking() {
            // The explored code caught it.
            thread.panic = None;
            return false;
        }
        thread.unwound += 1;
        if thread.unwound > MOST_UNWOUND
            && let Some((message, place)) = thread.panic.take()
        {
            // SAFETY: the caller keeps the contract.
            unsafe {
                let thread = (*engine).running;
                Engine::stop(engine, Cause::Panic { thread, message, place })
            };
        }
        true
    }

    // ---- plain accesses ----

    /// A plain access, or an atomic one as far as races go; the cause of an end, if it is wrong.
    #[inline]
    pub fn touch(&mut self, touch: Touch, address: usize, size: usize, pc: usize) -> Option<Cause> {
        let index = self.running;
        let clock = &self.threads[index].clock;
        let atomic = matches!(touch, Touch::AtomicRead | Touch::AtomicWrite);
        let epoch = clock.of(index) + u16::from(!atomic);
        let access = Access { epoch, thread: index as u8, mask: 0, touch, pc, step: self.done };
        let clash = self.memory.touch(access, address, size, clock)?;
        Some(self.clash(clash, pc))
    }

    #[cold]
    fn clash(&self, clash: Clash, pc: usize) -> Cause {
        let Clash { earlier, touch, address } = clash;
        let site = |thread: usize, touch, pc, step| Site { thread, touch, pc, step };
        let earlier_site = site(earlier.thread as usize, earlier.touch, earlier.pc, earlier.step);
        let later_site = site(self.running, touch, pc, self.done);
        if earlier.touch == Touch::Free {
            Cause::UseAfterFree { freed: earlier_site, used: later_site, address }
        } else {
            Cause::Race { earlier: earlier_site, later: later_site, address }
        }
    }

    /// What was not the default in this execution.
    pub fn schedule(&self) -> Schedule {
        Schedule(self.taken.clone())
    }
}
