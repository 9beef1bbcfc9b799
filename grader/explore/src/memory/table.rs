//! A hash table from cell key to cell index that is emptied in no time.

/// Open addressing; an entry counts only in its own generation.
#[derive(Debug)]
pub struct Table {
    slots: Vec<Slot>,
    generation: u32,
    used: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    key: usize,
    generation: u32,
    cell: u32,
}

impl Table {
    /// An empty table.
    pub fn new() -> Table {
        Table { slots: vec![Slot::default(); 1 << 10], generation: 1, used: 0 }
    }

    /// Forgets every entry.
    pub fn clear(&mut self) {
        self.used = 0;
        match self.generation.checked_add(1) {
            Some(next) => self.generation = next,
            None => {
                self.slots.fill(Slot::default());
                self.generation = 1;
            }
        }
    }

    /// Where `key` is, or where it would go.
    #[inline]
    pub fn slot(&self, key: usize) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) & mask;
        loop {
            let entry = &self.slots[slot];
            if entry.generation != self.generation || entry.key == key {
                return slot;
            }
            slot = (slot + 1) & mask;
        }
    }

    /// The cell at `slot`, when it is taken.
    #[inline]
    pub fn get(&self, slot: usize) -> Option<u32> {
        let entry = &self.slots[slot];
        (entry.generation == self.generation).then_some(entry.cell)
    }

    /// Takes the free `slot` for `key`.
    pub fn set(&mut self, slot: usize, key: usize, cell: u32) {
        self.slots[slot] = Slot { key, generation: self.generation, cell };
        self.used += 1;
        if self.used * 2 > self.slots.len() {
            self.grow();
        }
    }

    #[cold]
    fn grow(&mut self) {
        let old = std::mem::take(&mut self.slots);
        self.slots = vec![Slot::default(); old.len() * 2];
        for entry in old.into_iter().filter(|entry| entry.generation == self.generation) {
            let slot = self.slot(entry.key);
            self.slots[slot] = entry;
        }
    }
}
