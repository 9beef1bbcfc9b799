//! Differs from the reference in how the initialiser is replaced: no lock of the kernel's, but the owner's process number and start time in
//! the object itself, taken over by compare-and-swap when `/proc` says that the owner is dead; waiters poll. Counters
//! are 128 bytes apart and looked up in the mapping at each call.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::atomic::{
    AtomicI32, AtomicI64, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering,
};

use nix::fcntl::OFlag;
use nix::sys::mman::{self, MapFlags, MsFlags, ProtFlags};
use nix::sys::stat::Mode;

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
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_RDWR;
        let object = File::from(mman::shm_open(name, flags, Mode::from_bits_truncate(mode))?);
        let sized = object.set_len(len as u64);
        sized.and_then(|()| map(&object, 0, len, Access::ReadWrite)).inspect_err(|_| {
            // The first error is the one to report.
            let _ = unlink(name);
        })
    }

    /// Maps all of the object `name`, which must exist.
    ///
    /// # Errors
    /// What `shm_open` and `mmap` report; an error too if the object has no bytes yet.
    pub fn open(name: &str, access: Access) -> io::Result<Mapping> {
        let flags = match access {
            Access::ReadOnly => OFlag::O_RDONLY,
            Access::ReadWrite => OFlag::O_RDWR,
        };
        let object = File::from(mman::shm_open(name, flags, Mode::empty())?);
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
    Ok(mman::shm_unlink(name)?)
}

// ---------------------------------------------------------------- Part 3: made once

/// Complete.
const READY: u64 = u64::MAX;

/// Maps `len` bytes of the object `name`; the header in front holds the length and the word of the owner: 0, a process, or
/// [`READY`].
///
/// # Errors
/// What the system calls or `initialise` report; `InvalidInput` if the object was made with another length.
pub fn open_or_create(
    name: &str,
    len: usize,
    initialise: impl FnOnce(&mut [u8]) -> io::Result<()>,
) -> io::Result<Mapping> {
    to_map(len)?;
    let flags = OFlag::O_CREAT | OFlag::O_RDWR;
    let object = File::from(mman::shm_open(name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
    let page = page_size();
    // The first size sticks: whoever finds none gives it his own, and growing loses nothing. Two different lengths that
    // race for the first size end with the greater one; the length in the header decides.
    if object.metadata()?.len() < (page + len) as u64 {
        grow(&object, page + len)?;
    }
    let header = map(&object, 0, page, Access::ReadWrite)?;
    let owner = header.view::<AtomicU64>(0)?;
    let length = header.view::<AtomicU64>(8)?;
    let me = identity(std::process::id());
    loop {
        let seen = owner.load(Ordering::Acquire);
        if seen == READY {
            break;
        }
        if seen != 0 && seen != me && lives(seen) {
            std::thread::sleep(std::time::Duration::from_micros(300));
            continue;
        }
        if owner.compare_exchange(seen, me, Ordering::Acquire, Ordering::Relaxed).is_err() {
            continue;
        }
        let owned = Owned { owner };
        let data = map(&object, page, len, Access::ReadWrite)?;
        // SAFETY: the word says that the data are ours.
        let bytes = unsafe { std::slice::from_raw_parts_mut(data.address.as_ptr(), len) };
        bytes.fill(0);
        initialise(bytes)?;
        length.store(len as u64, Ordering::Relaxed);
        owner.store(READY, Ordering::Release);
        std::mem::forget(owned);
        return Ok(data);
    }
    if length.load(Ordering::Relaxed) != len as u64 {
        return Err(invalid("the segment was made with another length"));
    }
    map(&object, page, len, Access::ReadWrite)
}

/// Gives the word back on the way out, when `initialise` has failed.
struct Owned<'a> {
    owner: &'a AtomicU64,
}

impl Drop for Owned<'_> {
    fn drop(&mut self) {
        self.owner.store(0, Ordering::Release);
    }
}

/// Makes the object longer, never shorter, whoever else does the same.
fn grow(object: &File, size: usize) -> io::Result<()> {
    // SAFETY: an open descriptor and numbers.
    let error = unsafe { libc::posix_fallocate(object.as_raw_fd(), 0, size as i64) };
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

/// A process, and when it was started, since a number may be used again.
fn identity(pid: u32) -> u64 {
    u64::from(pid) | (start_time(pid).unwrap_or(0) & 0x3fff_ffff) << 32
}

/// Field 22 of `/proc/PID/stat`; `None` for a process that is gone or a zombie.
fn start_time(pid: u32) -> Option<u64> {
    let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field, the name, may hold anything; it ends at the last parenthesis.
    let mut fields = line.rsplit_once(')')?.1.split_ascii_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

fn lives(identity: u64) -> bool {
    start_time(identity as u32).is_some_and(|time| time & 0x3fff_ffff == identity >> 32)
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

/// Bytes from one counter to the next: two lines, because some processors fetch them in pairs.
const STRIDE: usize = 128;

/// Counters in shared memory.
pub struct SharedCounters<'a> {
    memory: &'a Mapping,
    slots: usize,
}

impl<'a> SharedCounters<'a> {
    /// The bytes that `slots` counters need.
    pub fn size_for(slots: usize) -> usize {
        slots * STRIDE
    }

    /// The counters that lie at the start of `memory`.
    ///
    /// # Errors
    /// `InvalidInput` if the memory is too small or not aligned to a cache line.
    pub fn over(memory: &'a Mapping, slots: usize) -> io::Result<SharedCounters<'a>> {
        if slots > memory.len / STRIDE || !memory.address.as_ptr().addr().is_multiple_of(64) {
            return Err(invalid("too small, or not aligned"));
        }
        Ok(SharedCounters { memory, slots })
    }

    fn counter(&self, slot: usize) -> &AtomicU64 {
        assert!(slot < self.slots, "no counter {slot}");
        // SAFETY: inside the memory, as `over` has checked, and aligned.
        unsafe { &*self.memory.address.as_ptr().add(slot * STRIDE).cast::<AtomicU64>() }
    }

    /// Adds to one counter.
    pub fn add(&self, slot: usize, amount: u64) {
        self.counter(slot).fetch_add(amount, Ordering::SeqCst);
    }

    /// One counter's value.
    pub fn get(&self, slot: usize) -> u64 {
        self.counter(slot).load(Ordering::SeqCst)
    }

    /// The sum of all counters.
    pub fn total(&self) -> u64 {
        (0..self.slots).fold(0, |sum: u64, slot| sum.wrapping_add(self.get(slot)))
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
