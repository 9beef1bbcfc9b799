//! Memory that stays shared across `fork`: how workers meet, and how an oracle watches them.

use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Mutex;

use crate::observe::Label;

/// The regions that exist, for hang reports: name, start, length.
static REGIONS: Mutex<Vec<Label>> = Mutex::new(Vec::new());

/// The shared regions of this process, for naming a futex word in a report.
pub(crate) fn labels() -> Vec<Label> {
    REGIONS.lock().map(|regions| regions.clone()).unwrap_or_default()
}

/// A value in anonymous shared memory: a forked worker and the supervisor see the same bytes.
///
/// The value is never dropped; it must hold no pointers into a process's own heap that another
/// process would follow.
pub struct Shared<T: Sync> {
    value: NonNull<T>,
}

// SAFETY: a `Shared<T>` only hands out `&T`, and `T: Sync`.
unsafe impl<T: Sync> Sync for Shared<T> {}
// SAFETY: as above; the mapping belongs to no thread.
unsafe impl<T: Sync> Send for Shared<T> {}

impl<T: Sync> Shared<T> {
    /// Moves a value into shared memory.
    ///
    /// # Panics
    /// If the kernel has no memory left.
    pub fn new(value: T) -> Shared<T> {
        let place = map(size_of::<T>()).cast::<T>();
        // SAFETY: the mapping is fresh, page-aligned, large enough, and ours alone until we return.
        unsafe { place.write(value) };
        Shared { value: place }
    }

    /// A value of all zero bytes.
    ///
    /// # Safety
    /// All-zero bytes must be a valid `T`.
    pub unsafe fn zeroed() -> Shared<T> {
        Shared { value: map(size_of::<T>()).cast() }
    }

    /// The address of the value: the same in every worker.
    pub fn address(&self) -> usize {
        self.value.as_ptr() as usize
    }

    /// Gives the region a name for hang reports.
    pub fn named(self, name: &str) -> Shared<T> {
        if let Ok(mut regions) = REGIONS.lock() {
            let start = self.address();
            if let Some(region) = regions.iter_mut().find(|region| region.start == start) {
                region.name = name.to_string();
            }
        }
        self
    }

    pub(crate) fn as_ptr(&self) -> *mut T {
        self.value.as_ptr()
    }
}

impl<T: Sync> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the value was written by `new`, or is valid as zeroes by the caller's promise to `zeroed`.
        unsafe { self.value.as_ref() }
    }
}

impl<T: Sync> Drop for Shared<T> {
    fn drop(&mut self) {
        unmap(self.value.cast(), size_of::<T>());
    }
}

/// A slice in anonymous shared memory.
pub struct SharedSlice<T: Sync> {
    first: NonNull<T>,
    length: usize,
}

// SAFETY: only `&[T]` is handed out, and `T: Sync`.
unsafe impl<T: Sync> Sync for SharedSlice<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Send for SharedSlice<T> {}

impl<T: Sync> SharedSlice<T> {
    /// `length` items, each made by `item(index)`.
    ///
    /// # Panics
    /// If the kernel has no memory left.
    pub fn new(length: usize, mut item: impl FnMut(usize) -> T) -> SharedSlice<T> {
        let first = map(length * size_of::<T>()).cast::<T>();
        for index in 0..length {
            // SAFETY: the mapping is fresh and has room for `length` items.
            unsafe { first.add(index).write(item(index)) };
        }
        SharedSlice { first, length }
    }
}

impl<T: Sync> Deref for SharedSlice<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `new` wrote `length` items there.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.length) }
    }
}

impl<T: Sync> Drop for SharedSlice<T> {
    fn drop(&mut self) {
        unmap(self.first.cast(), self.length * size_of::<T>());
    }
}

impl Shared<()> {
    /// A slice of `length` items in shared memory, each made by `item(index)`.
    pub fn slice<T: Sync>(length: usize, item: impl FnMut(usize) -> T) -> SharedSlice<T> {
        SharedSlice::new(length, item)
    }
}

fn map(bytes: usize) -> NonNull<u8> {
    let length = bytes.max(1);
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    // SAFETY: an anonymous mapping at an address the kernel chooses touches no existing memory.
    let address = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, -1, 0) };
    let place = NonNull::new(address.cast::<u8>()).filter(|_| address != libc::MAP_FAILED);
    let Some(place) = place else {
        panic!("cannot map {length} bytes of shared memory: {}", std::io::Error::last_os_error());
    };
    if let Ok(mut regions) = REGIONS.lock() {
        let start = place.as_ptr() as usize;
        regions.push(Label { name: "shared memory".to_string(), start, len: length });
    }
    place
}

fn unmap(place: NonNull<u8>, bytes: usize) {
    if let Ok(mut regions) = REGIONS.lock() {
        regions.retain(|region| region.start != place.as_ptr() as usize);
    }
    // SAFETY: the mapping was made by `map` with this length, and its owner is being dropped.
    unsafe { libc::munmap(place.as_ptr().cast(), bytes.max(1)) };
}
