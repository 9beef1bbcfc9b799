//! Atomic operations and fences on the model's memory, with C11's orders.

use crate::engine::Engine;
use crate::memory::NONE;
use crate::memory::clock::Clock;
use crate::memory::event::{Candidate, Event, EventKind};
use crate::memory::history::Store;
use crate::schedule::{Decision, Deviation};
use crate::thread::{Kind, Operation};

/// C11's memory orders, as the compiler numbers them.
pub mod order {
    /// `Acquire` (and `Consume`), `AcqRel`, `SeqCst`.
    #[inline]
    pub fn acquires(order: i32) -> bool {
        matches!(order, 1 | 2 | 4 | 5 | 16..)
    }

    /// `Release`, `AcqRel`, `SeqCst`.
    #[inline]
    pub fn releases(order: i32) -> bool {
        matches!(order, 3..=5 | 16..)
    }

    /// `SeqCst`.
    #[inline]
    pub fn sequential(order: i32) -> bool {
        order == SEQUENTIAL
    }

    /// C11's number for `SeqCst`.
    pub const SEQUENTIAL: i32 = 5;

    /// No order of C11's: an instruction of inline assembly.
    pub const ASM: i32 = 16;

    /// The second half of a read-modify-write of inline assembly without `lock`.
    pub const UNLOCKED: i32 = 17;

    /// A volatile access: a plain `mov`.
    pub const VOLATILE: i32 = 18;

    /// As Rust writes it.
    pub fn name(order: i32) -> &'static str {
        match order {
            ASM | UNLOCKED => "asm",
            VOLATILE => "volatile",
            0 => "Relaxed",
            1 | 2 => "Acquire",
            3 => "Release",
            4 => "AcqRel",
            _ => "SeqCst",
        }
    }
}

/// A read is offered this many old values at the most, and a store this many older places.
const MOST_OLDER: usize = 15;

/// What a read saw.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// The value.
    pub value: u128,
    /// How many newer stores it did not see.
    pub behind: u8,
    /// The visible step of the store; 0 for an initial value.
    pub from: u32,
}

/// Reads memory as it is.
#[inline]
pub fn peek(address: usize, size: usize) -> u128 {
    // SAFETY: the explored code is about to access these bytes, aligned for the size, atomically.
    unsafe {
        match size {
            1 => u128::from(std::ptr::read_volatile(address as *const u8)),
            2 => u128::from(std::ptr::read_volatile(address as *const u16)),
            4 => u128::from(std::ptr::read_volatile(address as *const u32)),
            8 => u128::from(std::ptr::read_volatile(address as *const u64)),
            _ => std::ptr::read_volatile(address as *const u128),
        }
    }
}

/// Writes memory.
#[inline]
pub fn poke(address: usize, size: usize, value: u128) {
    // SAFETY: as for `peek`; and only one model thread runs.
    unsafe {
        match size {
            1 => std::ptr::write_volatile(address as *mut u8, value as u8),
            2 => std::ptr::write_volatile(address as *mut u16, value as u16),
            4 => std::ptr::write_volatile(address as *mut u32, value as u32),
            8 => std::ptr::write_volatile(address as *mut u64, value as u64),
            _ => std::ptr::write_volatile(address as *mut u128, value),
        }
    }
}

impl Engine {
    /// The operation on `size` bytes at `address`, with its location.
    #[inline]
    pub fn operation(&mut self, kind: Kind, address: usize, size: usize) -> Operation {
        let location = self.memory.find(address, size, || peek(address, size));
        Operation { kind, address, size: size as u8, location }
    }

    /// Code that is not instrumented may have written here since.
    #[inline]
    pub fn refresh(&mut self, operation: &mut Operation) {
        let (address, size) = (operation.address, operation.size as usize);
        let value = peek(address, size);
        // While this thread waited for its turn, a plain write may have dropped the location.
        operation.location = self.memory.find(address, size, || value);
        let location = self.memory.location(operation.location);
        if location.stores[location.last()].value != value {
            self.memory.restart(operation.location, value);
            // Whoever wrote it may have released: better to miss a race than to see one that is not there.
            let known = self.threads[..self.count].iter().fold(Clock::NONE, |mut all, thread| {
                all.join(&thread.clock);
                all
            });
            self.memory.location(operation.location).stores[0].message.join(&known);
        }
    }

    /// Which store the running thread's read sees. `update`: whether a store right after one of that value follows.
    fn pick_store(
        &mut self,
        operation: &Operation,
        order: i32,
        failure: i32,
        update: impl Fn(u128) -> bool,
    ) -> usize {
        let thread = self.running;
        let locations = self.memory.locations();
        let location = &locations[operation.location as usize];
        let last = location.last();
        if self.count == 1 || !self.rules.weak || !self.search.affords() {
            return last;
        }
        let floor = location.floor(&self.threads[thread].clock);
        if floor == last {
            return last;
        }
        self.left_out |= last - floor > MOST_OLDER;
        let location = &self.memory.locations()[operation.location as usize];
        let mut options = 1u64;
        for back in 1..=(last - floor).min(MOST_OLDER) {
            let store = &location.stores[last - back];
            let updates = update(store.value);
            if updates && store.taken {
                continue;
            }
            options |= 1 << back;
        }
        if order::sequential(order) || self.memory.sequential > 0 {
            for back in 1..=(last - floor).min(MOST_OLDER) {
                if options & 1 << back != 0 {
                    let updates = update(self.memory.location(operation.location).stores[last - back].value);
                    let order = if updates { order } else { failure };
                    if !self.allowed(operation, last - back, order, updates) {
                        options &= !(1 << back);
                    }
                }
            }
        }
        last - usize::from(self.choose_oddity(Decision::Read, options))
    }

    /// Whether C11's rule for `SeqCst` lets the running thread read the store at `index` (and, for an update, store next to
    /// it).
    fn allowed(&mut self, operation: &Operation, index: usize, order: i32, updates: bool) -> bool {
        if self.memory.reordered {
            self.left_out = true;
            return false;
        }
        let kind = if updates { EventKind::Update } else { EventKind::Read };
        let store = &self.memory.location(operation.location).stores[index];
        let (read, message) = (store.id, store.message);
        let mut event = self.new_event(kind, operation.location, read, order::sequential(order));
        if order::acquires(order) {
            event.clock.join(&message);
        }
        self.memory.permits(&Candidate { event, later: index + 1 })
    }

    fn choose_oddity(&mut self, decision: Decision, options: u64) -> u8 {
        if options == 1 {
            return 0;
        }
        let (way, _) = self.search.choose(self.steps, decision, 0, options, false);
        if way != 0 {
            self.taken.push(Deviation { step: self.steps, decision, way });
            self.oddities += 1;
        }
        way
    }

    /// The running thread reads the store at `index`.
    pub fn read_store(&mut self, operation: &Operation, index: usize, acquires: bool) -> Seen {
        let thread = self.running;
        let epoch = self.threads[thread].clock.of(thread);
        let location = self.memory.location(operation.location);
        let last = location.last();
        let version = location.version;
        let store = &mut location.stores[index];
        store.see(thread, epoch);
        let this = &mut self.threads[thread];
        if acquires {
            this.clock.join(&store.message);
        } else {
            this.acquirable.join(&store.message);
        }
        let seen = Seen { value: store.value, behind: (last - index).min(255) as u8, from: store.step };
        if index == last {
            this.look(operation.location, version);
        } else {
            this.advance();
            self.memory.step_back(operation.location, index + 1, false);
        }
        seen
    }

    /// Remembers what the running thread does.
    pub fn event(&mut self, kind: EventKind, location: u32, store: u32, sequential: bool) {
        self.memory.sequential += u32::from(sequential);
        let event = self.new_event(kind, location, store, sequential);
        self.memory.events.push(event);
    }

    fn new_event(&self, kind: EventKind, location: u32, store: u32, sequential: bool) -> Event {
        let clock = self.threads[self.running].clock;
        let epoch = clock.of(self.running);
        Event { kind, thread: self.running as u8, epoch, sequential, location, store, clock }
    }

    /// An atomic read by the running thread.
    pub fn load(&mut self, mut operation: Operation, order: i32) -> Seen {
        self.refresh(&mut operation);
        let index = self.pick_store(&operation, order, order, |_| false);
        let seen = self.read_store(&operation, index, order::acquires(order));
        let id = self.memory.location(operation.location).stores[index].id;
        self.event(EventKind::Read, operation.location, id, order::sequential(order));
        seen
    }

    /// The newest value, as the kernel reads it for a futex call.
    pub fn load_newest(&mut self, mut operation: Operation) -> Seen {
        self.refresh(&mut operation);
        let index = self.memory.location(operation.location).last();
        let seen = self.read_store(&operation, index, false);
        let id = self.memory.location(operation.location).stores[index].id;
        self.event(EventKind::Read, operation.location, id, false);
        seen
    }

    /// An atomic write by the running thread; returns before how many stores it went.
    pub fn store(&mut self, mut operation: Operation, value: u128, order: i32) -> u8 {
        self.refresh(&mut operation);
        let thread = self.running;
        let id = self.memory.new_store();
        let new = self.new_store(id, value, order, None);
        let place = self.pick_place(&operation, &new, order::sequential(order));
        let location = self.memory.location(operation.location);
        let before = location.stores.len() - place;
        self.put(&operation, place, new);
        self.event(EventKind::Write, operation.location, id, order::sequential(order));
        debug_assert!(thread == self.running);
        before as u8
    }

    pub fn new_store(&self, id: u32, value: u128, order: i32, continues: Option<&Store>) -> Store {
        let this = &self.threads[self.running];
        let mut message = if order::releases(order) { this.clock } else { this.released };
        if let Some(store) = continues {
            message.join(&store.message);
        }
        let mut store = Store::initial(id, value, message);
        store.initial = false;
        store.step = self.done;
        store.see(self.running, this.clock.of(self.running));
        store
    }

    /// Where in the modification order the running thread's store goes: normally last.
    fn pick_place(&mut self, operation: &Operation, new: &Store, sequential: bool) -> usize {
        let locations = self.memory.locations();
        let location = &locations[operation.location as usize];
        let end = location.stores.len();
        if self.count == 1 || !self.rules.weak || !self.search.affords() {
            return end;
        }
        let floor = location.floor(&self.threads[self.running].clock);
        if floor + 1 == end {
            return end;
        }
        self.left_out |= end - floor - 1 > MOST_OLDER;
        let location = &self.memory.locations()[operation.location as usize];
        let mut options = 1u64;
        for back in 1..=(end - floor - 1).min(MOST_OLDER) {
            if !location.stores[end - back - 1].taken {
                options |= 1 << back;
            }
        }
        if sequential || self.memory.sequential > 0 {
            for back in 1..=(end - floor - 1).min(MOST_OLDER) {
                if options & 1 << back != 0 && !self.allowed_at(operation, end - back, new, sequential) {
                    options &= !(1 << back);
                }
            }
        }
        end - usize::from(self.choose_oddity(Decision::Place, options))
    }

    fn allowed_at(&mut self, operation: &Operation, place: usize, new: &Store, sequential: bool) -> bool {
        if self.memory.reordered {
            self.left_out = true;
            return false;
        }
        let event = self.new_event(EventKind::Write, operation.location, new.id, sequential);
        self.memory.permits(&Candidate { event, later: place })
    }

    pub fn put(&mut self, operation: &Operation, place: usize, new: Store) {
        let value = new.value;
        let (address, size) = (operation.address, operation.size as usize);
        let location = self.memory.location(operation.location);
        if place < location.stores.len() {
            location.stores.insert(place, new);
            self.threads[self.running].advance();
            self.memory.step_back(operation.location, place, true);
            return;
        }
        let changes = location.stores[location.last()].value != value;
        location.stores.push(new);
        if changes {
            location.version += 1;
            poke(address, size, value);
            self.threads[self.running].advance();
            self.memory.spread(operation.location, peek);
        }
    }

    /// An atomic read-modify-write by the running thread: `change` gives the new value, or None to leave the old one, for
    /// which `failure` is the order.
    pub fn update(
        &mut self,
        mut operation: Operation,
        order: i32,
        failure: i32,
        change: impl Fn(u128) -> Option<u128>,
    ) -> (Seen, Option<u128>) {
        self.refresh(&mut operation);
        let sequential = order::sequential(order);
        let index = self.pick_store(&operation, order, failure, |value| change(value).is_some());
        let value = self.memory.location(operation.location).stores[index].value;
        let Some(written) = change(value) else {
            let seen = self.read_store(&operation, index, order::acquires(failure));
            let id = self.memory.location(operation.location).stores[index].id;
            self.event(EventKind::Read, operation.location, id, order::sequential(failure));
            return (seen, None);
        };
        let mut seen = self.read_store(&operation, index, order::acquires(order));
        let id = self.memory.new_store();
        let read = self.memory.location(operation.location).stores[index].clone();
        let new = self.new_store(id, written, order, Some(&read));
        self.memory.location(operation.location).stores[index].taken = true;
        self.put(&operation, index + 1, new);
        self.event(EventKind::Update, operation.location, id, sequential);
        seen.value = value;
        (seen, Some(written))
    }

    /// A fence by the running thread.
    pub fn fence(&mut self, order: i32) {
        let this = &mut self.threads[self.running];
        if order::acquires(order) {
            let acquirable = this.acquirable;
            this.clock.join(&acquirable);
        }
        if order::releases(order) {
            this.released = this.clock;
        }
        if order::sequential(order) {
            self.event(EventKind::Fence, NONE, 0, true);
        }
    }
}
