//! What the checks do themselves, without the submission: names and keys that nobody else has and that are always removed,
//! the kernel's word on segments and mappings, answers that travel.

use std::fs::File;
use std::io;
use std::ptr::{self, NonNull};

use harness::{Check, Stop, observe};
use nix::fcntl::OFlag;
use nix::sys::mman;
use nix::sys::stat::Mode;
use shared_memory::Mapping;

pub fn me() -> i32 {
    std::process::id().cast_signed()
}

/// An answer that travels: the error as its kind and its text.
pub type Told<T> = Result<T, String>;

pub fn told<T>(result: io::Result<T>) -> Told<T> {
    result.map_err(|error| format!("{:?}: {error}", error.kind()))
}

/// What came, when `call` should have succeeded.
pub fn went_well<T>(answer: Told<T>, call: &str) -> Result<T, Stop> {
    went_well_at(answer, call, call)
}

/// As [`went_well`], for a call that says less about where to look.
pub fn went_well_at<T>(answer: Told<T>, call: &str, look: &str) -> Result<T, Stop> {
    answer.map_err(|error| Stop::failed(format!("{call} succeeds"), format!("the error \"{error}\""), look))
}

/// `call` had to fail with an error of this kind ("" for any).
pub fn went_wrong<T: std::fmt::Debug>(
    answer: Told<T>,
    kind: &str,
    call: &str,
    look: &str,
) -> Result<(), Stop> {
    let wanted = if kind.is_empty() { "an error".to_string() } else { format!("an error of kind `{kind}`") };
    match answer {
        Err(error) if error.starts_with(kind) => Ok(()),
        Err(error) => {
            Err(Stop::failed(format!("{call} is {wanted}"), format!("the error \"{error}\""), look))
        }
        Ok(value) => {
            Err(Stop::failed(format!("{call} is {wanted}"), format!("it returned `Ok({value:?})`"), look))
        }
    }
}

pub fn page_size() -> usize {
    // SAFETY: takes a number; the page size is always known.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as usize }
}

/// From now on this process is bound by permission bits, also if it runs as root.
pub fn drop_privileges() {
    let header = [0x2008_0522_u32, 0];
    let none = [0_u32; 6];
    // SAFETY: capset reads a header (version 3, this process) and two sets of three words.
    unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
}

// ---- Names

/// A POSIX name of this check alone. Dropped in the process that made it: removed.
pub struct Name {
    text: String,
    owner: i32,
}

impl Name {
    pub fn new(check: &mut Check) -> Name {
        let number = check.rng().next_u64() & 0xffff_ffff;
        Name { text: format!("/course-{}-{:x}-{number:08x}", me(), check.seed()), owner: me() }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// The object, opened by the check itself.
    pub fn object(&self) -> io::Result<File> {
        Ok(File::from(mman::shm_open(self.text.as_str(), OFlag::O_RDWR, Mode::empty())?))
    }

    /// Makes the object, with `len` zero bytes.
    pub fn make(&self, len: usize, mode: u32) -> Result<File, Stop> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL;
        let made = mman::shm_open(self.text.as_str(), flags, Mode::from_bits_truncate(mode)).map(File::from);
        let made = made.map_err(io::Error::from).and_then(|file| file.set_len(len as u64).map(|()| file));
        made.map_err(|error| Stop::inconclusive(format!("no POSIX shared memory here: {error}")))
    }

    pub fn exists(&self) -> bool {
        let name = self.text.trim_start_matches('/');
        observe::shm_names().iter().any(|known| known == name)
    }

    pub fn remove(&self) {
        let _ = mman::shm_unlink(self.text.as_str());
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        if me() == self.owner {
            self.remove();
        }
    }
}

/// Whether this machine has POSIX shared memory.
pub fn posix_works(check: &mut Check) -> Result<(), Stop> {
    Name::new(check).make(1, 0o600).map(|_| ())
}

// ---- Keys

/// A System V key of this check alone. Dropped in the process that made it: its segment is removed.
pub struct Key {
    number: i32,
    owner: i32,
}

impl Key {
    pub fn new(check: &mut Check) -> Result<Key, Stop> {
        for _ in 0..100 {
            let number = 1 + check.rng().below(i32::MAX as u64 - 1) as i32;
            let key = Key { number, owner: me() };
            match key.find() {
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(key),
                Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
                    return Err(Stop::inconclusive("no System V shared memory here"));
                }
                // Somebody else's: not ours to remove.
                Ok(_) | Err(_) => std::mem::forget(key),
            }
        }
        Err(Stop::inconclusive("no free System V key found"))
    }

    pub fn number(&self) -> i32 {
        self.number
    }

    /// The identifier of the segment with this key.
    pub fn find(&self) -> io::Result<i32> {
        // SAFETY: takes numbers only.
        checked(unsafe { libc::shmget(self.number, 0, 0) })
    }

    /// Makes the segment.
    pub fn make(&self, size: usize, mode: i32) -> Result<i32, Stop> {
        // SAFETY: takes numbers only.
        let made =
            checked(unsafe { libc::shmget(self.number, size, libc::IPC_CREAT | libc::IPC_EXCL | mode) });
        made.map_err(|error| Stop::inconclusive(format!("no System V segment to be had: {error}")))
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        if me() == self.owner
            && let Ok(id) = self.find()
        {
            remove_segment(id);
        }
    }
}

fn checked(answer: i32) -> io::Result<i32> {
    if answer == -1 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

pub fn remove_segment(id: i32) {
    // SAFETY: IPC_RMID reads no third argument.
    unsafe { libc::shmctl(id, libc::IPC_RMID, ptr::null_mut()) };
}

/// The kernel's entry of a segment.
pub fn segment_status(id: i32) -> io::Result<libc::shmid_ds> {
    // SAFETY: all-zero bytes are a valid `shmid_ds`, and IPC_STAT writes one.
    unsafe {
        let mut raw: libc::shmid_ds = std::mem::zeroed();
        checked(libc::shmctl(id, libc::IPC_STAT, &raw mut raw))?;
        Ok(raw)
    }
}

/// A segment attached by the check itself. Dropped: detached.
pub struct Attached(NonNull<u8>);

impl Attached {
    pub fn to(id: i32) -> io::Result<Attached> {
        // SAFETY: at an address that the kernel chooses.
        let address = unsafe { libc::shmat(id, ptr::null(), 0) };
        let place = NonNull::new(address.cast()).filter(|_| address.addr() != usize::MAX);
        place.map(Attached).ok_or_else(io::Error::last_os_error)
    }

    pub fn place(&self) -> NonNull<u8> {
        self.0
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // SAFETY: attached above; whoever asked for the place is through with it.
        unsafe { libc::shmdt(self.0.as_ptr().cast()) };
    }
}

// ---- Mappings

/// Maps `len` bytes of a file until this process ends.
pub fn map(file: &File, len: usize) -> io::Result<NonNull<u8>> {
    use mman::{MapFlags, ProtFlags};
    let len = len.try_into().map_err(|_| io::ErrorKind::InvalidInput)?;
    let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: at an address that the kernel chooses.
    Ok(unsafe { mman::mmap(None, len, protection, MapFlags::MAP_SHARED, file, 0) }?.cast())
}

/// A copy of what is mapped at an address.
///
/// # Safety
/// `len` bytes are mapped there.
pub unsafe fn bytes_at(address: *const u8, len: usize) -> Vec<u8> {
    // SAFETY: the caller's promise. Other processes may write meanwhile, so each byte is read for itself.
    (0..len).map(|index| unsafe { address.add(index).read_volatile() }).collect()
}

/// Writes bytes where memory is mapped.
///
/// # Safety
/// `bytes.len()` bytes are mapped there, for writing.
pub unsafe fn write_at(address: *mut u8, bytes: &[u8]) {
    for (index, &byte) in bytes.iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { address.add(index).write_volatile(byte) };
    }
}

/// The contents of a mapping that the submission returned; `None` unless it is as long as it should be.
pub fn contents(mapping: &Mapping, len: usize) -> Vec<u8> {
    // SAFETY: a mapping has as many bytes as it says.
    unsafe { bytes_at(mapping.as_ptr(), mapping.len().min(len)) }
}

/// The lines of a process's list of mappings that have this text in them.
pub fn maps_of(pid: i32, text: &str) -> Vec<String> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    maps.lines().filter(|line| line.contains(text)).map(str::to_string).collect()
}

/// The line of a process's list of mappings that has this address.
pub fn map_at(pid: i32, address: usize) -> Option<String> {
    let range = |line: &str| {
        let (start, end) = line.split_once(' ')?.0.split_once('-')?;
        Some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
    };
    maps_of(pid, "-").into_iter().find(|line| range(line).is_some_and(|range| range.contains(&address)))
}

/// The descriptors of this process that lead to something with this text in its path.
pub fn descriptors_to(text: &str) -> usize {
    observe::open_fds(me()).map_or(0, |fds| fds.iter().filter(|fd| fd.target.contains(text)).count())
}

/// `len` random bytes, none of them 0.
pub fn pattern(check: &mut Check, len: usize) -> Vec<u8> {
    check.rng().bytes(len).into_iter().map(|byte| byte | 1).collect()
}
