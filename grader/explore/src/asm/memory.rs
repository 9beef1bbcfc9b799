//! What inline assembly does to the model's memory. A load sees the newest store and learns what its thread knew; a store
//! passes on what its thread knew when it made it; a locked instruction is a `SeqCst` read-modify-write between two fences.
//! So it meets C11's operations on the same location at least as strong as the processor makes it: never a wrong alarm.

use crate::engine::Engine;
use crate::memory::clock::Clock;
use crate::memory::event::EventKind;
use crate::memory::history::Store;
use crate::operations::Seen;
use crate::operations::order::SEQUENTIAL;
use crate::thread::Operation;

impl Engine {
    /// The running thread reads the newest store.
    pub fn read_newest(&mut self, mut operation: Operation) -> Seen {
        self.refresh(&mut operation);
        let index = self.memory.location(operation.location).last();
        let seen = self.read_store(&operation, index, true);
        let id = self.memory.location(operation.location).stores[index].id;
        self.event(EventKind::Read, operation.location, id, false);
        seen
    }

    /// A store of the running thread, made when it knew `clock`, reaches memory.
    pub fn commit(&mut self, mut operation: Operation, value: u128, clock: Clock) {
        self.refresh(&mut operation);
        let thread = self.running;
        let id = self.memory.new_store();
        let mut store = Store::initial(id, value, clock);
        store.initial = false;
        store.step = self.done;
        store.see(thread, clock.of(thread));
        let end = self.memory.location(operation.location).stores.len();
        self.put(&operation, end, store);
        self.event(EventKind::Write, operation.location, id, false);
    }

    /// A locked instruction of the running thread: what it reads goes to `change`, which returns what it writes, if it does.
    pub fn locked(
        &mut self,
        mut operation: Operation,
        change: impl FnOnce(u128) -> Option<u128>,
    ) -> (Seen, Option<u128>) {
        self.fence(SEQUENTIAL);
        self.refresh(&mut operation);
        let index = self.memory.location(operation.location).last();
        let seen = self.read_store(&operation, index, true);
        let written = change(seen.value);
        match written {
            Some(value) => {
                let id = self.memory.new_store();
                let read = self.memory.location(operation.location).stores[index].clone();
                let new = self.new_store(id, value, SEQUENTIAL, Some(&read));
                self.memory.location(operation.location).stores[index].taken = true;
                self.put(&operation, index + 1, new);
                self.event(EventKind::Update, operation.location, id, true);
            }
            None => {
                let id = self.memory.location(operation.location).stores[index].id;
                self.event(EventKind::Read, operation.location, id, true);
            }
        }
        self.fence(SEQUENTIAL);
        (seen, written)
    }
}
