//! Shared memory: one piece of memory in the address spaces of several processes.
//!
//! Five parts: System V segments, POSIX objects, a segment that many processes make together, how long memory stays,
//! and counters that keep out of each other's cache lines. Use the real calls, through `libc`, `nix` or `std`.
//!
//! Replace each `todo!`. You may add private functions, types and fields; the public signatures stay.

#![allow(unused, reason = "the stubs do not use their parameters yet")]

use std::io;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize};

/// What a process may do with shared memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Look only: a write ends the process with `SIGSEGV`.
    ReadOnly,
    /// Look and change.
    ReadWrite,
}

// ---------------------------------------------------------------- Part 1: System V

/// A System V shared memory segment, known by its identifier (the number that `shmget` returns).
///
/// The segment is the kernel's. It does not go away when this value does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    id: i32,
}

/// What the kernel knows about a segment (`struct shmid_ds`, see `shmctl(2)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Bytes asked for at its creation (`shm_segsz`): not rounded up to pages.
    pub size: usize,
    /// How many attachments there are, in all processes (`shm_nattch`).
    pub attached: u64,
    /// The nine permission bits, 0 to 0o777.
    pub mode: u32,
    /// The process that created it (`shm_cpid`).
    pub creator: i32,
    /// Whether it was removed and only waits for the last detach: bit `SHM_DEST` (0o1000) of `shm_perm.mode`.
    pub removed: bool,
}

impl Segment {
    /// Part 1: creates the segment of `key` with `size` zero bytes: `shmget(key, size, flags)`.
    ///
    /// - `key` is a number that the processes have agreed on. `libc::IPC_PRIVATE` (0) is no key: each call then makes
    ///   another segment, which can be found by its identifier only.
    /// - `mode` are the permission bits, 0 to 0o777. They share an argument with the flags: 0o1000 is `IPC_CREAT`,
    ///   0o2000 `IPC_EXCL`. So refuse anything beyond the nine bits.
    ///
    /// # Errors
    /// `AlreadyExists` if there is a segment with this key: the caller never gets somebody else's. `InvalidInput` for a
    /// `mode` beyond 0o777. What else `shmget` reports, for example `InvalidInput` for `size` 0.
    ///
    /// ```no_run
    /// # use shared_memory::{Access, Segment};
    /// let segment = Segment::create(0x5eed, 4096, 0o600)?;
    /// let memory = segment.attach(Access::ReadWrite)?;
    /// assert_eq!(segment.status()?.attached, 1);
    /// segment.remove()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn create(key: i32, size: usize, mode: u32) -> io::Result<Segment> {
        todo!("shmget: a new segment of `size` bytes with these permissions, never an existing one")
    }

    /// Part 1: finds the segment of `key`, whatever its size. Never creates one.
    ///
    /// # Errors
    /// `NotFound` if there is none; what else `shmget` reports.
    pub fn open(key: i32) -> io::Result<Segment> {
        todo!("shmget: the segment with this key, which must be there already")
    }

    /// Part 1: asks the kernel about the segment: `shmctl` with `IPC_STAT`.
    ///
    /// # Errors
    /// What `shmctl` reports: `EINVAL` or `EIDRM` when there is no such segment any more.
    pub fn status(self) -> io::Result<Status> {
        todo!("shmctl with IPC_STAT, and the five fields")
    }

    /// Part 1: changes the permission bits and nothing else: `shmctl` with `IPC_SET`.
    ///
    /// `IPC_SET` takes the user and group of the owner from the same structure; they stay as they are.
    ///
    /// # Errors
    /// `InvalidInput` for a `mode` beyond 0o777; what `shmctl` reports.
    pub fn set_mode(self, mode: u32) -> io::Result<()> {
        todo!("shmctl with IPC_SET: the new mode, the old owner")
    }

    /// Part 1: attaches the whole segment at an address that the kernel chooses: `shmat(id, NULL, flags)`.
    ///
    /// [`Access::ReadOnly`] is `SHM_RDONLY`; it needs permission to read only.
    ///
    /// # Errors
    /// What `shmat` and `shmctl` report. `shmat` says "error" by the address -1, not by NULL.
    pub fn attach(self, access: Access) -> io::Result<Attachment> {
        todo!("shmat, and the segment's size from the kernel")
    }

    /// Part 1: removes the segment: `shmctl` with `IPC_RMID`.
    ///
    /// The key is free at once. The memory stays until the last process has detached; those who are attached go on as before.
    ///
    /// # Errors
    /// What `shmctl` reports.
    pub fn remove(self) -> io::Result<()> {
        todo!("shmctl with IPC_RMID")
    }
}

/// Part 1: a segment in this process's address space; see [`Segment::attach`]. Dropped: detached (`shmdt`).
///
/// Detaching is not removing: the segment and its contents stay.
#[derive(Debug)]
pub struct Attachment {
    address: NonNull<u8>,
    len: usize,
}

impl Drop for Attachment {
    fn drop(&mut self) {
        todo!("shmdt")
    }
}

// ---------------------------------------------------------------- Part 2: POSIX

/// Shared memory in this process's address space, whatever it comes from. Parts 2 to 5 use it.
///
/// Part 2: dropped, it is unmapped (`munmap`), all of it. Neither the object nor its name goes away by that.
#[derive(Debug)]
pub struct Mapping {
    address: NonNull<u8>,
    len: usize,
}

impl Mapping {
    /// Part 2: creates the object `name` with `len` zero bytes, and maps all of it for reading and writing:
    /// `shm_open`, `ftruncate`, `mmap`.
    ///
    /// - `name` is a slash and up to 254 other characters without a slash: `shm_open(3)`.
    /// - `mode` are its permission bits, less the process's umask, as with `open(2)`.
    /// - No descriptor stays open: the mapping does not need it.
    ///
    /// # Errors
    /// `AlreadyExists` if there is an object of this name; it stays as it is. `InvalidInput` for `len` 0. What the three calls
    /// report. If one of them fails after the object was made, its name is removed again and the descriptor closed.
    ///
    /// ```no_run
    /// # use shared_memory::{Access, Mapping, unlink};
    /// # use std::sync::atomic::{AtomicU64, Ordering};
    /// let memory = Mapping::create("/hits", 4096, 0o600)?;
    /// memory.view::<AtomicU64>(0)?.fetch_add(1, Ordering::Relaxed);     // in another process as well
    /// unlink("/hits")?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn create(name: &str, len: usize, mode: u32) -> io::Result<Mapping> {
        todo!(
            "shm_open with O_CREAT and O_EXCL, ftruncate, mmap with MAP_SHARED; nothing stays behind on an error"
        )
    }

    /// Part 2: maps all of the object `name`, which must exist.
    ///
    /// The object knows its size (`fstat`). A mapping that is longer than its object can be made, and ends in `SIGBUS`
    /// when it is used.
    ///
    /// [`Access::ReadOnly`] needs permission to read only. No descriptor stays open.
    ///
    /// # Errors
    /// `NotFound` if there is no object of this name: none is created. An error of any kind if it has no bytes yet: its creator
    /// is still between `shm_open` and `ftruncate`. What the calls report.
    pub fn open(name: &str, access: Access) -> io::Result<Mapping> {
        todo!("shm_open, fstat for the size, mmap with MAP_SHARED")
    }

    /// Part 2: the `T` that begins `offset` bytes into the mapping.
    ///
    /// # Errors
    /// `InvalidInput` unless all of the `T` lies inside the mapping ([`Mapping::len`] bytes, not whole pages), at an address with the
    /// alignment of `T`. No `offset` panics or wraps around.
    pub fn view<T: Shareable>(&self, offset: usize) -> io::Result<&T> {
        todo!("check the end and the alignment, then make the reference")
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        todo!("munmap")
    }
}

/// Part 2: removes the name of a POSIX object: `shm_unlink`.
///
/// Who has the object mapped goes on as before; the memory is freed with the last mapping. A new object may take the name.
///
/// # Errors
/// `NotFound` if there is no object of this name; what else `shm_unlink` reports.
pub fn unlink(name: &str) -> io::Result<()> {
    todo!("shm_unlink")
}

// ---------------------------------------------------------------- Part 3: made once

/// Part 3: maps `len` bytes of the object `name` for reading and writing. If it does not exist yet, or is not initialised, creates
/// and initialises it. Any number of processes may call this at the same time.
///
/// - **One initialises.** While nobody dies or fails, `initialise` runs in exactly one process. It gets `len` zero bytes and
///   writes what the segment holds in the beginning.
/// - **Nobody is early.** No call returns before `initialise` has returned `Ok`, and who returns sees all that it wrote.
/// - **All get the same memory**, those who come later too, without running `initialise` again.
/// - **A dead initialiser holds up nobody.** If the process is killed (`SIGKILL`, no time to clean up), wherever it was, another
///   caller that waits or comes later takes its place, and its `initialise` gets zero bytes again. A process counts as dead
///   when it has ended, waited for or not (a zombie is dead).
/// - **A living one is not robbed**, however long it takes: waiting has no time limit.
/// - If `initialise` returns an error or panics, that is what its caller gets, and another caller takes its place.
/// - The object may be larger than `len`, if you need room of your own; the `Mapping` shows `len` bytes. Permissions
///   0o600. Nothing but `name` stays behind, and no descriptor stays open.
///
/// # Errors
/// `InvalidInput` for `len` 0. An error of any kind if the object exists, initialised with another `len`. What `initialise` or the system
/// calls report. An interrupted wait (`EINTR`) is no error.
///
/// See `flock(2)`, `fcntl_locking(2)`, `futex(2)`, `pidfd_open(2)`, `linkat(2)`: there is more than one way.
///
/// ```no_run
/// # use shared_memory::open_or_create;
/// let table = open_or_create("/primes", 4, |bytes| {
///     bytes.copy_from_slice(&[2, 3, 5, 7]);
///     Ok(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn open_or_create(
    name: &str,
    len: usize,
    initialise: impl FnOnce(&mut [u8]) -> io::Result<()>,
) -> io::Result<Mapping> {
    todo!(
        "one of many processes initialises the segment, the others wait; whoever dies in the middle is replaced"
    )
}

// ---------------------------------------------------------------- Part 4: persistence

/// How long memory and its contents stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    /// Until the last process that has it lets go: nothing else leads to it.
    Process,
    /// Until it is removed, or the system goes down.
    Kernel,
    /// Until it is removed: it survives a restart.
    FileSystem,
}

impl Mapping {
    /// Part 4: `len` zero bytes without a name: `mmap` with `MAP_ANONYMOUS`.
    ///
    /// The children forked from now on share them with this process, and nobody else can. They are gone with the last of
    /// these processes.
    ///
    /// # Errors
    /// `InvalidInput` for `len` 0; what `mmap` reports.
    pub fn anonymous(len: usize) -> io::Result<Mapping> {
        todo!("mmap: shared and anonymous")
    }

    /// Part 4: maps the first `len` bytes of the file at `path` for reading and writing, shared.
    ///
    /// A missing file is created. A file shorter than `len` is made longer, by zero bytes. What it holds stays, also beyond `len`.
    /// What is written to the mapping is in the file, whatever becomes of the processes. No descriptor stays open.
    ///
    /// # Errors
    /// `InvalidInput` for `len` 0; what `open`, `ftruncate` and `mmap` report.
    pub fn of_file(path: &Path, len: usize) -> io::Result<Mapping> {
        todo!("open or create the file without cutting it, make it long enough, mmap with MAP_SHARED")
    }

    /// Part 4: returns when everything written to the mapping so far is in the file on the disk: `msync(2)`.
    ///
    /// Surviving the death of a process needs no `sync`. Surviving a power cut does.
    ///
    /// # Errors
    /// What `msync` reports.
    pub fn sync(&self) -> io::Result<()> {
        todo!("msync, and wait for it")
    }
}

/// Part 4: how long the memory at `address` stays, by the kernel's list of this process's mappings, `/proc/self/maps`.
///
/// Each line is `start-end permissions offset device inode path`, the end not included, the path possibly empty or with blanks.
///
/// | line | memory | persistence |
/// |---|---|---|
/// | permissions end in `p` | private: heap, stack, program, `MAP_PRIVATE` | `Process` |
/// | path `/SYSV…` | System V; the inode number is the segment's identifier | `Kernel`; `Process` once it is removed |
/// | no path, or it ends in ` (deleted)` | anonymous, or the name is gone | `Process` |
/// | path in a file system that lives in memory | POSIX object, file on tmpfs | `Kernel` |
/// | any other path | file | `FileSystem` |
///
/// System V lines always say ` (deleted)`. `statfs(2)` tells which file system a path is in: `TMPFS_MAGIC` is one in memory.
///
/// # Errors
/// `NotFound` if nothing is mapped at `address`; what reading the list or asking about the object reports.
///
/// See `proc_pid_maps(5)` (or `proc(5)`).
pub fn persistence_of(address: *const u8) -> io::Result<Persistence> {
    todo!("find the line of `address` in /proc/self/maps and classify it")
}

// ---------------------------------------------------------------- Part 5: counters

/// Part 5: counters in shared memory, by default one for each process, that anybody can add up at any time.
///
/// - Every counter has a cache line (64 bytes) of its own: a process that adds to one never takes another's line away.
/// - The memory holds all there is: processes that map it at different addresses use the same counters. Memory of zero
///   bytes is counters that are 0.
/// - Any process may add to any counter, several at once too; no addition is lost.
pub struct SharedCounters<'a> {
    memory: &'a Mapping,
    slots: usize,
}

impl<'a> SharedCounters<'a> {
    /// Part 5: the bytes of memory that `slots` counters need: no more than 256 each.
    pub fn size_for(slots: usize) -> usize {
        todo!("a cache line each")
    }

    /// Part 5: the counters that lie at the start of `memory`. Their values stay as they are.
    ///
    /// # Errors
    /// `InvalidInput` if the memory is smaller than `size_for(slots)`, or does not begin at a multiple of 64.
    pub fn over(memory: &'a Mapping, slots: usize) -> io::Result<SharedCounters<'a>> {
        todo!("check size and alignment; nothing is written")
    }

    /// Part 5: adds `amount` to counter `slot`, wrapping around at 2^64. No system call.
    ///
    /// # Panics
    /// If there is no such counter.
    pub fn add(&self, slot: usize, amount: u64) {
        todo!("one atomic addition")
    }

    /// Part 5: the value of counter `slot`.
    ///
    /// # Panics
    /// If there is no such counter.
    pub fn get(&self, slot: usize) -> u64 {
        todo!("one atomic load")
    }

    /// Part 5: the sum of all counters, wrapping around at 2^64. Exact when nobody is adding; otherwise each addition under way
    /// is in it or not.
    pub fn total(&self) -> u64 {
        todo!("add up the counters")
    }
}

// ---------------------------------------------------------------- Given

/// Types that may lie in memory which other processes change.
///
/// # Safety
/// Any bytes are a valid value; it holds no pointers or references; it is changed only by atomic operations.
pub unsafe trait Shareable: Sync {}

macro_rules! shareable {
    ($($atomic:ty),+) => {$(
        // SAFETY: an atomic number: any bytes are valid, and every change is atomic.
        unsafe impl Shareable for $atomic {}
    )+};
}

shareable!(AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, AtomicI32, AtomicI64);

// SAFETY: as many of what may lie there.
unsafe impl<T: Shareable, const N: usize> Shareable for [T; N] {}

impl Segment {
    /// The segment with this identifier.
    pub const fn from_id(id: i32) -> Segment {
        Segment { id }
    }

    /// The identifier, which other processes can use as well.
    pub const fn id(self) -> i32 {
        self.id
    }
}

impl Attachment {
    /// The first byte.
    pub fn as_ptr(&self) -> *mut u8 {
        self.address.as_ptr()
    }

    /// How many bytes there are.
    #[expect(clippy::len_without_is_empty, reason = "no segment is empty")]
    pub fn len(&self) -> usize {
        self.len
    }
}

impl Mapping {
    /// The mapping of `len` bytes at `address`.
    ///
    /// # Safety
    /// They are a shared mapping of their own, and nobody else will unmap it.
    pub const unsafe fn from_raw(address: NonNull<u8>, len: usize) -> Mapping {
        Mapping { address, len }
    }

    /// The first byte.
    pub fn as_ptr(&self) -> *mut u8 {
        self.address.as_ptr()
    }

    /// How many bytes there are.
    #[expect(clippy::len_without_is_empty, reason = "no mapping is empty")]
    pub fn len(&self) -> usize {
        self.len
    }
}
