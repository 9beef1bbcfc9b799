//! Store buffers. A plain store of inline assembly (and a volatile one) goes to memory at once, unless the search decides
//! that it waits in its thread's buffer, first in, first out. Its own thread reads it there; the others do not see it.
//!
//! Buffers are emptied by locked instructions, fences, system calls, atomic stores and updates, when a thread waits or
//! goes round in circles, and at its end; before a load the search may empty a part. Real memory holds what all see.
//!
//! To delay a store makes a difference only if its thread reads something else before the buffer is emptied (all other
//! orders are those of threads), so only then is it tried.

use crate::engine::Engine;
use crate::memory::clock::{Clock, MAX_THREADS};
use crate::operations::{order, peek, poke};
use crate::schedule::{Decision, Deviation};
use crate::shim::Place;
use crate::thread::{Kind, Operation, Spin};
use crate::trace::{Event, What};

/// A store on its way.
#[derive(Debug, Clone, Copy)]
struct Delayed {
    operation: Operation,
    value: u128,
    /// What its thread knew when it made it.
    clock: Clock,
    /// Where in the program.
    pc: usize,
}

/// A volatile store that the compiled code makes right after it was announced.
#[derive(Debug, Clone, Copy)]
struct Announced {
    operation: Operation,
    old: u128,
    pc: usize,
    /// Its event's place in the record; the value is put in later.
    event: usize,
}

#[derive(Debug, Default)]
struct Buffer {
    queue: Vec<Delayed>,
    announced: Option<Announced>,
    /// Stores that were not delayed: the decision, and where.
    undelayed: Vec<(u32, usize)>,
}

/// What the thread's own buffer has for a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forward {
    /// Nothing.
    Nothing,
    /// This.
    Value(u128),
    /// A part.
    Part,
}

/// The buffers of all threads.
#[derive(Debug)]
pub struct Buffers {
    buffers: Vec<Buffer>,
    /// A bit for each thread that is to be looked after here.
    busy: u16,
}

impl Buffers {
    /// All empty.
    pub fn new() -> Buffers {
        Buffers { buffers: (0..MAX_THREADS).map(|_| Buffer::default()).collect(), busy: 0 }
    }

    /// All empty again.
    pub fn reset(&mut self) {
        if self.busy != 0 {
            self.busy = 0;
            for buffer in &mut self.buffers {
                buffer.queue.clear();
                buffer.announced = None;
                buffer.undelayed.clear();
            }
        }
    }

    /// Whether anything is to be done for `thread`.
    #[inline]
    pub fn busy(&self, thread: usize) -> bool {
        self.busy & 1 << thread != 0
    }

    /// Whether a store of `thread` waits.
    pub fn waits(&self, thread: usize) -> bool {
        self.busy(thread)
            && (!self.buffers[thread].queue.is_empty() || self.buffers[thread].announced.is_some())
    }

    fn settled(&mut self, thread: usize) {
        let Buffer { queue, announced, undelayed } = &self.buffers[thread];
        if queue.is_empty() && announced.is_none() && undelayed.is_empty() {
            self.busy &= !(1 << thread);
        } else {
            self.busy |= 1 << thread;
        }
    }

    /// What `thread` would read from its own buffer.
    pub fn forward(&self, thread: usize, address: usize, size: usize) -> Forward {
        if !self.busy(thread) {
            return Forward::Nothing;
        }
        let overlaps = |operation: &Operation| {
            operation.address < address + size && address < operation.address + operation.size as usize
        };
        let Buffer { queue, announced, .. } = &self.buffers[thread];
        if announced.is_some_and(|announced| overlaps(&announced.operation)) {
            return Forward::Part;
        }
        match queue.iter().rev().find(|delayed| overlaps(&delayed.operation)) {
            None => Forward::Nothing,
            Some(Delayed { operation, value, .. })
                if operation.address == address && operation.size as usize == size =>
            {
                Forward::Value(*value)
            }
            Some(_) => Forward::Part,
        }
    }
}

impl Engine {
    /// The running thread's volatile store follows.
    pub fn announce(&mut self, operation: Operation, place: &impl Place) {
        let thread = self.running;
        let Operation { address, size, .. } = operation;
        let old = peek(address, size as usize);
        let order = order::VOLATILE;
        self.record(place, |_| What::Store { address, size, value: 0, order, before: 0 });
        let event = self.recorder.as_ref().map_or(0, |recorder| recorder.events.len());
        self.buffers.buffers[thread].announced = Some(Announced { operation, old, pc: place.spot(), event });
        self.buffers.settled(thread);
    }

    /// The volatile store that was announced has been made: it is taken back, and issued.
    pub fn settle(&mut self) {
        let thread = self.running;
        let Some(Announced { operation, old, pc, event }) = self.buffers.buffers[thread].announced.take()
        else {
            return;
        };
        let (address, size) = (operation.address, operation.size as usize);
        let value = peek(address, size);
        let recorded =
            self.recorder.as_mut().and_then(|recorder| recorder.events.get_mut(event.wrapping_sub(1)));
        if let Some(Event { what: What::Store { value: stored, .. }, .. }) = recorded {
            *stored = value;
        }
        if value != old {
            poke(address, size, old);
        }
        self.issue(operation, value, pc);
    }

    /// The running thread stores: into memory, or into its buffer.
    pub fn issue(&mut self, operation: Operation, value: u128, pc: usize) {
        let thread = self.running;
        let clock = self.threads[thread].clock;
        let delayed = Delayed { operation, value, clock, pc };
        if !self.buffers.buffers[thread].queue.is_empty() || self.delays(operation.address) {
            self.memory.reordered = true;
            self.buffers.buffers[thread].queue.push(delayed);
            let (address, size) = (operation.address, operation.size);
            self.note(thread, || vec![pc], What::Delayed { address, size, value });
        } else {
            self.commit(delayed.operation, value, clock);
        }
        self.buffers.settled(thread);
    }

    fn delays(&mut self, address: usize) -> bool {
        if self.count == 1 || !self.rules.weak || !self.search.affords() {
            return false;
        }
        self.steps += 1;
        let (way, node) = self.search.choose(self.steps, Decision::Delay, 0, 0b11, false);
        if way != 0 {
            self.deviate(Decision::Delay, way);
            return true;
        }
        if node != u32::MAX {
            let thread = self.running;
            self.buffers.buffers[thread].undelayed.push((node, address));
        }
        false
    }

    fn deviate(&mut self, decision: Decision, way: u8) {
        self.taken.push(Deviation { step: self.steps, decision, way });
        self.oddities += 1;
    }

    /// The running thread reads: earlier stores of its own could have been later.
    fn passes(&mut self, address: usize) {
        let buffer = &mut self.buffers.buffers[self.running];
        let search = &mut self.search;
        buffer.undelayed.retain(|&(node, stored)| {
            if stored != address {
                search.matters(node);
            }
            stored == address
        });
    }

    /// Before the running thread does `operation`, its buffer is emptied as far as it must be, or as the search decides.
    ///
    /// # Safety
    /// As for [`step`](Engine::step).
    #[cold]
    pub unsafe fn before(engine: *mut Engine, operation: Operation) {
        // SAFETY: each borrow ends before the coroutine may be suspended.
        unsafe {
            (*engine).settle();
            if operation.kind != Kind::Load {
                Engine::drain(engine);
                return;
            }
            let this = &mut *engine;
            let thread = this.running;
            this.passes(operation.address);
            this.buffers.settled(thread);
            let waiting = this.buffers.buffers[thread].queue.len().min(15);
            if waiting > 0 && this.count > 1 && this.search.affords() {
                this.steps += 1;
                let options = (2 << waiting) - 1;
                let (way, _) = this.search.choose(this.steps, Decision::Arrive, 0, options, false);
                if way != 0 {
                    this.deviate(Decision::Arrive, way);
                    Engine::arrive(engine, way as usize);
                }
            }
        }
    }

    /// All stores of the running thread reach memory, each as a step of its own.
    ///
    /// # Safety
    /// As for [`step`](Engine::step).
    pub unsafe fn drain(engine: *mut Engine) {
        // SAFETY: each borrow ends before the coroutine may be suspended.
        unsafe {
            (*engine).settle();
            Engine::arrive(engine, usize::MAX);
            let this = &mut *engine;
            let thread = this.running;
            this.buffers.buffers[thread].undelayed.clear();
            this.buffers.settled(thread);
        }
    }

    /// The oldest `count` stores of the running thread reach memory.
    ///
    /// # Safety
    /// As for [`step`](Engine::step).
    unsafe fn arrive(engine: *mut Engine, count: usize) {
        // SAFETY: each borrow ends before the coroutine may be suspended.
        unsafe {
            let thread = (*engine).running;
            for _ in 0..count {
                let Some(first) = (&(*engine).buffers.buffers)[thread].queue.first().copied() else { break };
                Engine::turn(engine, first.operation, Spin::No);
                (*engine).arrive_first();
            }
        }
    }

    fn arrive_first(&mut self) {
        let thread = self.running;
        let Delayed { operation, value, clock, pc } = self.buffers.buffers[thread].queue.remove(0);
        self.commit(operation, value, clock);
        let (address, size) = (operation.address, operation.size);
        self.note(thread, || vec![pc], What::Arrives { address, size, value });
        self.buffers.settled(thread);
    }

    /// The running thread's compiled code touches memory: what its buffer has for it goes there first.
    #[cold]
    pub fn flush_for(&mut self, address: usize, size: usize) {
        let thread = self.running;
        if self.buffers.forward(thread, address, size) == Forward::Nothing {
            return;
        }
        self.settle();
        while !self.buffers.buffers[thread].queue.is_empty() {
            self.arrive_first();
        }
    }
}
