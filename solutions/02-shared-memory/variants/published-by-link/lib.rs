//! Differs from the reference in how the segment appears: it is initialised without a name (`O_TMPFILE`) and linked when it is complete
//! (`linkat`), so that there is no flag and nothing to clean up after a death. Part 2 goes through files in `/dev/shm` and the
//! plain `libc` calls.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::atomic::{
    AtomicI32, AtomicI64, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering,
};

use nix::sys::mman::{self, MapFlags, MsFlags, ProtFlags};

/// What a process may do with shared memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Look only: a write ends the process with `SIGSEGV`.
    ReadOnly,
    /// Look and change.
    ReadWrite,
}

// ---------------------------------------------------------------- Part 1: System V

/// A System V shared memory segment, known by its identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    id: i32,
}

/// What the kernel knows about a segment (`struct shmid_ds`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Bytes asked for at its creation (`shm_segsz`).
    pub size: usize,
    /// How many attachments there are, in all processes (`shm_nattch`).
    pub attached: u64,
    /// The nine permission bits.
    pub mode: u32,
    /// The process that created it (`shm_cpid`).
    pub creator: i32,
    /// Whether it was removed and only waits for the last detach (`SHM_DEST`).
    pub removed: bool,
}

/// In `shm_perm.mode`: goes with the last detach.
const SHM_DEST: u32 = 0o1000;

/// A system call's answer: -1 means that errno says why.
fn checked(answer: i32) -> io::Result<i32> {
    if answer == -1 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

impl Segment {
    /// Creates the segment of `key`, which must not exist yet.
    ///
    /// # Errors
    /// `InvalidInput` for mode bits beyond 0o777, which `shmget` would take for flags; what `shmget` reports.
    pub fn create(key: i32, size: usize, mode: u32) -> io::Result<Segment> {
        if mode & !0o777 != 0 {
            return Err(invalid("more than permission bits"));
        }
        let flags = libc::IPC_CREAT | libc::IPC_EXCL | mode.cast_signed();
        // SAFETY: takes numbers only.
        checked(unsafe { libc::shmget(key, size, flags) }).map(Segment::from_id)
    }

    /// Finds the segment of `key`.
    ///
    /// # Errors
    /// What `shmget` reports.
    pub fn open(key: i32) -> io::Result<Segment> {
        // SAFETY: takes numbers only. Size 0: any size will do.
        checked(unsafe { libc::shmget(key, 0, 0) }).map(Segment::from_id)
    }

    /// Asks the kernel about the segment.
    ///
    /// # Errors
    /// What `shmctl` reports.
    pub fn status(self) -> io::Result<Status> {
        let raw = self.stat()?;
        let mode = u32::from(raw.shm_perm.mode);
        Ok(Status {
            size: raw.shm_segsz,
            attached: raw.shm_nattch,
            mode: mode & 0o777,
            creator: raw.shm_cpid,
            removed: mode & SHM_DEST != 0,
        })
    }

    fn stat(self) -> io::Result<libc::shmid_ds> {
        // SAFETY: all-zero bytes are a valid `shmid_ds`.
        let mut raw: libc::shmid_ds = unsafe { std::mem::zeroed() };
        // SAFETY: IPC_STAT writes one `shmid_ds`.
        checked(unsafe { libc::shmctl(self.id, libc::IPC_STAT, &raw mut raw) })?;
        Ok(raw)
    }

    /// Changes the permission bits and nothing else.
    ///
    /// # Errors
    /// `InvalidInput` for bits beyond 0o777; what `shmctl` reports.
    pub fn set_mode(self, mode: u32) -> io::Result<()> {
        if mode & !0o777 != 0 {
            return Err(invalid("more than permission bits"));
        }
        // IPC_SET writes the owner as well, so it has to be the one who is there.
        let mut raw = self.stat()?;
        raw.shm_perm.mode = mode as _;
        // SAFETY: IPC_SET reads one `shmid_ds`.
        checked(unsafe { libc::shmctl(self.id, libc::IPC_SET, &raw mut raw) })?;
        Ok(())
    }

    /// Attaches the whole segment.
    ///
    /// # Errors
    /// What `shmctl` and `shmat` report.
    pub fn attach(self, access: Access) -> io::Result<Attachment> {
        let len = self.status()?.size;
        let flags = match access {
            Access::ReadOnly => libc::SHM_RDONLY,
            Access::ReadWrite => 0,
        };
        // SAFETY: at an address that the kernel chooses, so nothing of ours is replaced.
        let address = unsafe { libc::shmat(self.id, ptr::null(), flags) };
        if address.addr() == usize::MAX {
            return Err(io::Error::last_os_error());
        }
        let address = NonNull::new(address.cast()).ok_or_else(|| invalid("attached at address 0"))?;
        Ok(Attachment { address, len })
    }

    /// Removes the segment: key and all, as soon as nobody is attached.
    ///
    /// # Errors
    /// What `shmctl` reports.
    pub fn remove(self) -> io::Result<()> {
        // SAFETY: IPC_RMID reads no third argument.
        checked(unsafe { libc::shmctl(self.id, libc::IPC_RMID, ptr::null_mut()) })?;
        Ok(())
    }
}

/// A segment in this process's address space. Dropped: detached.
#[derive(Debug)]
pub struct Attachment {
    address: NonNull<u8>,
    len: usize,
}

impl Drop for Attachment {
    fn drop(&mut self) {
        // SAFETY: `shmat` returned this address, and whoever borrowed from `self` is gone.
        unsafe { libc::shmdt(self.address.as_ptr().cast()) };
    }
}

// ---------------------------------------------------------------- Part 2: POSIX

/// Shared memory in this process's address space. Dropped: unmapped.
#[derive(Debug)]
pub struct Mapping {
    address: NonNull<u8>,
    len: usize,
}

/// Maps `len` bytes of `object`, shared, from `offset` on.
fn map(object: impl AsFd, offset: usize, len: usize, access: Access) -> io::Result<Mapping> {
    let len = to_map(len)?;
    let offset = offset.try_into().map_err(|_| invalid("too far"))?;
    // SAFETY: at an address that the kernel chooses, so nothing of ours is replaced.
    let address = unsafe { mman::mmap(None, len, protection(access), MapFlags::MAP_SHARED, object, offset) }?;
    Ok(Mapping { address: address.cast(), len: len.get() })
}

fn to_map(len: usize) -> io::Result<std::num::NonZeroUsize> {
    std::num::NonZeroUsize::new(len).ok_or_else(|| invalid("a mapping has at least one byte"))
}

fn protection(access: Access) -> ProtFlags {
    match access {
        Access::ReadOnly => ProtFlags::PROT_READ,
        Access::ReadWrite => ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
    }
}

impl Mapping {
    /// Creates the object `name` with `len` zero bytes and maps it. It must not exist yet.
    ///
    /// # Errors
    /// What `shm_open`, `ftruncate` and `mmap` report; the name is gone again then.
    pub fn create(name: &str, len: usize, mode: u32) -> io::Result<Mapping> {
        to_map(len)?;
        let object =
            OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(path_of(name))?;
        let made = object.set_len(len as u64).and_then(|()| map(&object, 0, len, Access::ReadWrite));
        if made.is_err() {
            // The first error is the one to report.
            let _ = unlink(name);
        }
        made
    }

    /// Maps all of the object `name`, which must exist.
    ///
    /// # Errors
    /// What `shm_open` and `mmap` report; an error too if the object has no bytes yet.
    pub fn open(name: &str, access: Access) -> io::Result<Mapping> {
        let object = OpenOptions::new().read(true).write(access == Access::ReadWrite).open(path_of(name))?;
        let len = object.metadata()?.len() as usize;
        map(&object, 0, len, access)
    }

    /// The `T` at `offset`.
    ///
    /// # Errors
    /// `InvalidInput` unless all of it lies in the mapping, aligned.
    pub fn view<T: Shareable>(&self, offset: usize) -> io::Result<&T> {
        let end = offset.checked_add(size_of::<T>());
        if end.is_none_or(|end| end > self.len) {
            return Err(invalid("reaches beyond the end of the mapping"));
        }
        let place = self.address.as_ptr().wrapping_add(offset).cast::<T>();
        if !place.is_aligned() {
            return Err(invalid("not aligned"));
        }
        // SAFETY: inside the mapping and aligned; any bytes are a valid `T`, and `T` copes with other writers.
        Ok(unsafe { &*place })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the whole of our own mapping, and whoever borrowed from `self` is gone.
        let _ = unsafe { mman::munmap(self.address.cast(), self.len) };
    }
}

/// Removes the name of a POSIX object; the memory stays as long as somebody maps it.
///
/// # Errors
/// What `shm_unlink` reports.
pub fn unlink(name: &str) -> io::Result<()> {
    std::fs::remove_file(path_of(name))
}

// ---------------------------------------------------------------- Part 3: made once

/// Maps `len` bytes of the object `name`, which appears complete or not at all: it is made without a name, initialised, and
/// linked. One process at a time tries, under a lock on the directory.
///
/// # Errors
/// What the system calls or `initialise` report; `InvalidInput` if the object was made with another length.
pub fn open_or_create(
    name: &str,
    len: usize,
    initialise: impl FnOnce(&mut [u8]) -> io::Result<()>,
) -> io::Result<Mapping> {
    to_map(len)?;
    if let Some(mapping) = existing(name, len)? {
        return Ok(mapping);
    }
    let directory = File::open(DIRECTORY)?;
    let _lock = Lock::take(&directory)?;
    if let Some(mapping) = existing(name, len)? {
        return Ok(mapping);
    }
    let object = OpenOptions::new()
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags(libc::O_TMPFILE)
        .open(DIRECTORY)?;
    object.set_len(len as u64)?;
    let data = map(&object, 0, len, Access::ReadWrite)?;
    // SAFETY: the object has no name, so nobody else has it.
    initialise(unsafe { std::slice::from_raw_parts_mut(data.address.as_ptr(), len) })?;
    let from = std::ffi::CString::new(format!("/proc/self/fd/{}", object.as_raw_fd()))?;
    let to = std::ffi::CString::new(path_of(name))?;
    // SAFETY: two C strings. The name appears at once, and the kernel orders it after the writes.
    checked(unsafe {
        libc::linkat(libc::AT_FDCWD, from.as_ptr(), libc::AT_FDCWD, to.as_ptr(), libc::AT_SYMLINK_FOLLOW)
    })?;
    Ok(data)
}

/// Where Linux keeps POSIX objects.
const DIRECTORY: &str = "/dev/shm";

fn path_of(name: &str) -> String {
    format!("{DIRECTORY}/{}", name.trim_start_matches('/'))
}

/// The object of this name, which is complete if it is there.
fn existing(name: &str, len: usize) -> io::Result<Option<Mapping>> {
    let object = match OpenOptions::new().read(true).write(true).open(path_of(name)) {
        Ok(object) => object,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if object.metadata()?.len() != len as u64 {
        return Err(invalid("the segment was made with another length"));
    }
    map(&object, 0, len, Access::ReadWrite).map(Some)
}

/// An exclusive `flock`. Dropped: given back.
struct Lock<'a> {
    object: &'a File,
}

impl<'a> Lock<'a> {
    fn take(object: &'a File) -> io::Result<Lock<'a>> {
        // SAFETY: an open descriptor.
        while unsafe { libc::flock(object.as_raw_fd(), libc::LOCK_EX) } == -1 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        Ok(Lock { object })
    }
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        // Closing the descriptor would do as well: nothing is mapped from a directory.
        // SAFETY: an open descriptor.
        unsafe { libc::flock(self.object.as_raw_fd(), libc::LOCK_UN) };
    }
}

fn page_size() -> usize {
    // SAFETY: takes a number; the page size is always known.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as usize }
}

// ---------------------------------------------------------------- Part 4: persistence

/// How long memory and its contents stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    /// Until the last process that has it lets go.
    Process,
    /// Until it is removed, or the system goes down.
    Kernel,
    /// Until it is removed: a restart does not matter.
    FileSystem,
}

impl Mapping {
    /// Memory without a name, shared with the children that are forked from now on.
    ///
    /// # Errors
    /// What `mmap` reports.
    pub fn anonymous(len: usize) -> io::Result<Mapping> {
        let protection = protection(Access::ReadWrite);
        // SAFETY: at an address that the kernel chooses, so nothing of ours is replaced.
        let address = unsafe { mman::mmap_anonymous(None, to_map(len)?, protection, MapFlags::MAP_SHARED) }?;
        Ok(Mapping { address: address.cast(), len })
    }

    /// Maps the first `len` bytes of the file at `path`; creates it, or makes it longer, if need be.
    ///
    /// # Errors
    /// What `open`, `ftruncate` and `mmap` report.
    pub fn of_file(path: &Path, len: usize) -> io::Result<Mapping> {
        to_map(len)?;
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        if file.metadata()?.len() < len as u64 {
            file.set_len(len as u64)?;
        }
        map(&file, 0, len, Access::ReadWrite)
    }

    /// Returns when everything written to the mapping so far has reached the file.
    ///
    /// # Errors
    /// What `msync` reports.
    pub fn sync(&self) -> io::Result<()> {
        // SAFETY: our own mapping, which only gets written back.
        Ok(unsafe { mman::msync(self.address.cast(), self.len, MsFlags::MS_SYNC) }?)
    }
}

/// The persistence of the memory at `address`, by the kernel's list of mappings.
///
/// # Errors
/// `NotFound` if nothing is mapped there; what reading `/proc/self/maps` or asking about the object reports.
pub fn persistence_of(address: *const u8) -> io::Result<Persistence> {
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let line = maps
        .lines()
        .find(|line| range(line).is_some_and(|(start, end)| (start..end).contains(&address.addr())));
    let line = line.ok_or(io::ErrorKind::NotFound)?;
    // Range, permissions, offset, device, inode; the rest is the path, which may hold blanks.
    let mut fields = line.splitn(6, ' ');
    let shared = fields.nth(1).is_some_and(|permissions| permissions.ends_with('s'));
    let inode = fields.nth(2).unwrap_or_default();
    let path = fields.next().unwrap_or_default().trim_start();
    if !shared {
        return Ok(Persistence::Process);
    }
    if path.starts_with("/SYSV") {
        // "(deleted)" stands behind every segment; the inode number is the segment's identifier.
        let id = inode.parse().map_err(|_| io::ErrorKind::InvalidData)?;
        let removed = Segment::from_id(id).status()?.removed;
        return Ok(if removed { Persistence::Process } else { Persistence::Kernel });
    }
    if path.is_empty() || path.ends_with(" (deleted)") {
        return Ok(Persistence::Process);
    }
    let kind = nix::sys::statfs::statfs(path)?.filesystem_type();
    let in_memory = kind == nix::sys::statfs::TMPFS_MAGIC;
    Ok(if in_memory { Persistence::Kernel } else { Persistence::FileSystem })
}

/// The addresses at the head of a line: `7f00-7f01 rw-s …`.
fn range(line: &str) -> Option<(usize, usize)> {
    let (start, end) = line.split_once(' ')?.0.split_once('-')?;
    Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
}

// ---------------------------------------------------------------- Part 5: counters

/// One counter and nothing else in its cache line.
#[repr(C, align(64))]
struct Slot {
    count: AtomicU64,
}

/// Counters in shared memory, one for each process, that can be added up at any time.
pub struct SharedCounters<'a> {
    slots: &'a [Slot],
}

impl<'a> SharedCounters<'a> {
    /// The bytes that `slots` counters need.
    pub fn size_for(slots: usize) -> usize {
        slots * size_of::<Slot>()
    }

    /// The counters that lie at the start of `memory`.
    ///
    /// # Errors
    /// `InvalidInput` if the memory is too small or not aligned to a cache line.
    pub fn over(memory: &'a Mapping, slots: usize) -> io::Result<SharedCounters<'a>> {
        let first = memory.address.as_ptr().cast::<Slot>();
        if slots.checked_mul(size_of::<Slot>()).is_none_or(|size| size > memory.len) || !first.is_aligned() {
            return Err(invalid("too small, or not aligned"));
        }
        // SAFETY: room for so many slots, aligned; any bytes are a valid `Slot`, which changes atomically only.
        Ok(SharedCounters { slots: unsafe { std::slice::from_raw_parts(first, slots) } })
    }

    /// Adds to one counter.
    pub fn add(&self, slot: usize, amount: u64) {
        // Relaxed: a count orders nothing else.
        self.slots[slot].count.fetch_add(amount, Ordering::Relaxed);
    }

    /// One counter's value.
    pub fn get(&self, slot: usize) -> u64 {
        self.slots[slot].count.load(Ordering::Relaxed)
    }

    /// The sum of all counters.
    pub fn total(&self) -> u64 {
        (0..self.slots.len()).map(|slot| self.get(slot)).fold(0, u64::wrapping_add)
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
