//! Memory as one execution sees it: plain accesses checked for data races, and for each atomic location all stores that a
//! thread may still read. Real memory always holds the newest store, so code that is not instrumented sees that one.

pub mod clock;
pub mod consistency;
pub mod event;
pub mod history;
pub mod race;
mod table;

use clock::Clock;
use event::{Candidate, Event};
use history::{Location, Store, StoreId};
use race::{Access, Touch};
use table::Table;

/// No location.
pub const NONE: u32 = u32::MAX;

/// The eight bytes at one multiple of eight.
#[derive(Debug)]
struct Cell {
    key: usize,
    accesses: Vec<Access>,
    /// The first location that begins here, or [`NONE`].
    location: u32,
    /// Given back by this access.
    freed: bool,
    /// Will be put back, or needs not be.
    saved: bool,
}

/// What stood in a static before this execution changed it.
#[derive(Debug, Clone, Copy)]
struct Undo {
    address: usize,
    bytes: u64,
}

/// A thread's access found wrong.
#[derive(Debug, Clone, Copy)]
pub struct Clash {
    /// The earlier access.
    pub earlier: Access,
    /// How the later one touches it.
    pub touch: Touch,
    /// The first byte that both touch.
    pub address: usize,
}

/// The memory of one execution. Kept between executions only to reuse its allocations.
#[derive(Debug)]
pub struct Memory {
    table: Table,
    cells: Vec<Cell>,
    cells_used: usize,
    locations: Vec<Location>,
    locations_used: usize,
    /// Every atomic event so far.
    pub events: Vec<Event>,
    /// How many of them are `SeqCst`.
    pub sequential: u32,
    /// Which `SeqCst` events come before which.
    order: consistency::Order,
    next_store: StoreId,
    undo: Vec<Undo>,
    /// Some locations share bytes.
    mixed: bool,
    /// Some stores were made later than their place in the program: the order of `events` says less than it should.
    pub reordered: bool,
    statics: std::ops::Range<usize>,
    thread_locals: std::ops::Range<usize>,
}

impl Memory {
    /// Nothing touched yet; `statics` are put back at the end of each execution, `thread_locals` are never looked at.
    pub fn new(statics: std::ops::Range<usize>, thread_locals: std::ops::Range<usize>) -> Memory {
        Memory {
            table: Table::new(),
            cells: Vec::new(),
            cells_used: 0,
            locations: Vec::new(),
            locations_used: 0,
            events: Vec::new(),
            sequential: 0,
            order: consistency::Order::default(),
            next_store: 1,
            undo: Vec::new(),
            mixed: false,
            reordered: false,
            statics,
            thread_locals,
        }
    }

    /// Puts statics back and forgets everything.
    pub fn reset(&mut self) {
        while let Some(Undo { address, bytes }) = self.undo.pop() {
            // SAFETY: an aligned word of a writable static, which was accessible when it was saved.
            unsafe { std::ptr::write_volatile(address as *mut u64, bytes) };
        }
        self.table.clear();
        self.cells_used = 0;
        self.locations_used = 0;
        self.events.clear();
        self.sequential = 0;
        self.order.reset();
        self.next_store = 1;
        self.mixed = false;
        self.reordered = false;
    }

    /// The first location that shares bytes with `index`.
    #[inline]
    pub fn first_overlapping(&self, index: u32) -> u32 {
        if self.mixed { self.overlapping_from(0, index) } else { index }
    }

    /// The next location after `after` that shares bytes with `index`.
    #[inline]
    pub fn next_overlapping(&self, after: u32, index: u32) -> u32 {
        if self.mixed { self.overlapping_from(after + 1, index) } else { NONE }
    }

    #[cold]
    fn overlapping_from(&self, from: u32, index: u32) -> u32 {
        let (address, size) = {
            let location = &self.locations[index as usize];
            (location.address, location.size as usize)
        };
        let range = from as usize..self.locations_used;
        range
            .clone()
            .find(|&other| self.locations[other].overlaps(address, size))
            .map_or(NONE, |other| other as u32)
    }

    /// The locations in use.
    pub fn locations(&self) -> &[Location] {
        &self.locations[..self.locations_used]
    }

    /// One location.
    #[inline]
    pub fn location(&mut self, index: u32) -> &mut Location {
        &mut self.locations[index as usize]
    }

    /// Whether C11's rule for `SeqCst` lets `candidate` be the next event.
    pub fn permits(&mut self, candidate: &Candidate) -> bool {
        self.order.permits(&self.events, &self.locations[..self.locations_used], candidate)
    }

    /// The next event, at `location`, reads the store before place `later`, or stores at that place, which is not the end.
    pub fn step_back(&mut self, location: u32, later: usize, stores: bool) {
        self.order.step_back(location, later, stores);
    }

    /// A number for a new store.
    pub fn new_store(&mut self) -> StoreId {
        self.next_store += 1;
        self.next_store
    }

    /// Whether the engine looks at this address at all.
    #[inline]
    pub fn watches(&self, address: usize) -> bool {
        !self.thread_locals.contains(&address)
    }

    #[inline]
    fn cell(&mut self, key: usize) -> usize {
        let slot = self.table.slot(key);
        if let Some(cell) = self.table.get(slot) {
            return cell as usize;
        }
        let index = self.cells_used;
        self.cells_used += 1;
        self.table.set(slot, key, index as u32);
        match self.cells.get_mut(index) {
            Some(cell) => {
                cell.key = key;
                cell.accesses.clear();
                cell.location = NONE;
                cell.freed = false;
                cell.saved = false;
            }
            None => {
                let accesses = Vec::with_capacity(4);
                self.cells.push(Cell { key, accesses, location: NONE, freed: false, saved: false });
            }
        }
        index
    }

    /// The location of an atomic access, made on first use from what memory holds (`value`).
    #[inline]
    pub fn find(&mut self, address: usize, size: usize, value: impl FnOnce() -> u128) -> u32 {
        let cell = self.cell(address >> 3);
        let mut index = self.cells[cell].location;
        while index != NONE {
            let location = &self.locations[index as usize];
            if location.address == address && location.size as usize == size {
                return index;
            }
            index = location.next;
        }
        self.make(cell, address, size, value())
    }

    #[cold]
    fn make(&mut self, cell: usize, address: usize, size: usize, value: u128) -> u32 {
        let id = self.new_store();
        let index = self.locations_used as u32;
        self.locations_used += 1;
        if self.locations.len() <= index as usize {
            self.locations.push(Location::default());
        }
        // An access of another size may have carried a message here.
        let mut message = Clock::NONE;
        for key in (address >> 3).saturating_sub(1)..=(address + size - 1) >> 3 {
            let cell = self.cell(key);
            let mut other = self.cells[cell].location;
            while other != NONE {
                let location = &self.locations[other as usize];
                if location.overlaps(address, size) {
                    location.stores.iter().for_each(|store| message.join(&store.message));
                    self.mixed = true;
                }
                other = location.next;
            }
        }
        let next = self.cells[cell].location;
        let location = &mut self.locations[index as usize];
        location.address = address;
        location.size = size as u8;
        location.version = 0;
        location.next = next;
        location.decisions.clear();
        location.stores.clear();
        location.stores.push(Store::initial(id, value, message));
        self.cells[cell].location = index;
        index
    }

    /// Something that the engine did not see put `value` there: history starts anew, with all that was said kept.
    #[cold]
    pub fn restart(&mut self, index: u32, value: u128) {
        let id = self.new_store();
        self.order.step_back(index, 0, true);
        let location = &mut self.locations[index as usize];
        let mut message = Clock::NONE;
        location.stores.iter().for_each(|store| message.join(&store.message));
        location.version += 1;
        location.stores.clear();
        location.stores.push(Store::initial(id, value, message));
    }

    /// `index` was just written: locations of another size that share bytes with it start anew.
    #[inline]
    pub fn spread(&mut self, index: u32, read: impl Fn(usize, usize) -> u128) {
        if !self.mixed {
            return;
        }
        let mut message = Clock::NONE;
        self.locations[index as usize].stores.iter().for_each(|store| message.join(&store.message));
        let mut other = self.first_overlapping(index);
        while other != NONE {
            let next = self.next_overlapping(other, index);
            if other != index {
                let location = &self.locations[other as usize];
                let value = read(location.address, location.size as usize);
                self.restart(other, value);
                self.locations[other as usize].stores[0].message.join(&message);
            }
            other = next;
        }
    }

    /// Checks an access to `[address, address + size)` against all earlier ones; the first that races is returned. A plain
    /// write [overwrites](Memory::overwrite) as well.
    #[inline]
    pub fn touch(&mut self, access: Access, address: usize, size: usize, clock: &Clock) -> Option<Clash> {
        let end = address + size;
        let mut found = None;
        let mut from = address;
        while from < end {
            let key = from >> 3;
            let to = end.min((key + 1) << 3);
            let mask = (((1u16 << (to - from)) - 1) << (from & 7)) as u8;
            let index = self.cell(key);
            if access.touch == Touch::Write && self.cells[index].location != NONE {
                self.forget(index, address, size);
            }
            let cell = &mut self.cells[index];
            if !cell.saved && access.touch.writes() {
                cell.saved = true;
                if self.statics.contains(&(key << 3)) {
                    // SAFETY: an aligned word of the executable's data, all of which is mapped.
                    let bytes = unsafe { std::ptr::read_volatile((key << 3) as *const u64) };
                    self.undo.push(Undo { address: key << 3, bytes });
                }
            }
            if cell.freed {
                let earlier = cell
                    .accesses
                    .iter()
                    .find(|access| access.touch == Touch::Free && access.mask & mask != 0);
                if let Some(&earlier) = earlier {
                    return Some(Clash { earlier, touch: access.touch, address: from });
                }
            }
            cell.freed |= access.touch == Touch::Free;
            if let Some(earlier) = race::record(&mut cell.accesses, Access { mask, ..access }, clock) {
                let both = earlier.mask & mask;
                let address = (key << 3) + both.trailing_zeros() as usize;
                found = found.or(Some(Clash { earlier, touch: access.touch, address }));
            }
            from = to;
        }
        found
    }

    /// A plain write of a byte that atomics live in: what it leaves there is read when they are used next.
    #[inline]
    pub fn overwrite(&mut self, address: usize, size: usize) {
        for key in address >> 3..=(address + size - 1) >> 3 {
            let slot = self.table.slot(key);
            let Some(cell) = self.table.get(slot) else { continue };
            if self.cells[cell as usize].location != NONE {
                self.forget(cell as usize, address, size);
            }
        }
    }

    #[cold]
    fn forget(&mut self, cell: usize, address: usize, size: usize) {
        let mut kept = NONE;
        let mut index = self.cells[cell].location;
        while index != NONE {
            let location = &mut self.locations[index as usize];
            let next = location.next;
            if location.overlaps(address, size) {
                location.version += 1;
            } else {
                location.next = kept;
                kept = index;
            }
            index = next;
        }
        self.cells[cell].location = kept;
    }

    /// A block given out anew: who used these bytes before does not matter.
    pub fn fresh(&mut self, address: usize, size: usize) {
        for key in address >> 3..=(address + size.max(1) - 1) >> 3 {
            let slot = self.table.slot(key);
            if let Some(cell) = self.table.get(slot) {
                let cell = &mut self.cells[cell as usize];
                cell.accesses.clear();
                cell.location = NONE;
                cell.freed = false;
            }
        }
    }
}
