//! Memory of a process: which pages are there, which are shared, and the words in them.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;

/// One entry of `/proc/PID/pagemap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// In memory, with a frame of its own or shared.
    pub present: bool,
    /// In swap space.
    pub swapped: bool,
    /// Belongs to a file or to shared memory, not to private anonymous memory.
    pub file_or_shared: bool,
    /// Mapped by this process only: after a copy-on-write copy, or when nobody else maps it any more.
    pub exclusive: bool,
    /// The number of the physical frame; 0 without the privilege to see it (`CAP_SYS_ADMIN`).
    pub frame: u64,
}

/// What `/proc/PID/smaps` says about a range, in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Resident.
    pub rss_kib: u64,
    /// Resident, mapped by more than one process, changed.
    pub shared_dirty_kib: u64,
    /// Resident, mapped by more than one process, unchanged.
    pub shared_clean_kib: u64,
    /// Resident, mapped by this process only, changed.
    pub private_dirty_kib: u64,
    /// Resident, mapped by this process only, unchanged.
    pub private_clean_kib: u64,
}

/// The pages of `pid` that hold any of the `len` bytes at `start`, in order. Addresses nothing is mapped at give pages
/// that are not present. An error if the process does not exist or may not be read.
pub fn page_map(pid: i32, start: usize, len: usize) -> io::Result<Vec<Page>> {
    if len == 0 {
        return Ok(Vec::new());
    }
    let page_size = page_size();
    let first = start / page_size;
    let count = (start + len - 1) / page_size - first + 1;
    let mut entries = vec![0; count * ENTRY];
    File::open(format!("/proc/{pid}/pagemap"))?.read_exact_at(&mut entries, (first * ENTRY) as u64)?;
    let (entries, _) = entries.as_chunks::<ENTRY>();
    Ok(entries.iter().map(|entry| page(u64::from_ne_bytes(*entry))).collect())
}

/// Bytes of one pagemap entry.
const ENTRY: usize = 8;

/// The bits of a pagemap entry: Documentation/admin-guide/mm/pagemap.rst of the kernel.
fn page(entry: u64) -> Page {
    let bit = |number: u32| entry >> number & 1 == 1;
    let present = bit(63);
    let frame = if present { entry & ((1 << 55) - 1) } else { 0 };
    Page { present, swapped: bit(62), file_or_shared: bit(61), exclusive: bit(56), frame }
}

/// The sums over all mappings of `pid` that overlap the `len` bytes at `start`. A mapping counts whole: map the
/// region page-aligned and alone. An error if the process does not exist or may not be read.
pub fn memory_of(pid: i32, start: usize, len: usize) -> io::Result<Memory> {
    Ok(sum(&fs::read_to_string(format!("/proc/{pid}/smaps"))?, start, len))
}

pub(super) fn sum(smaps: &str, start: usize, len: usize) -> Memory {
    let mut memory = Memory::default();
    let mut inside = false;
    for line in smaps.lines() {
        if let Some((from, to)) = mapping(line) {
            inside = from < start.saturating_add(len) && start < to;
        } else if inside && let Some((key, value)) = line.split_once(':') {
            let kib = || value.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap_or(0);
            match key {
                "Rss" => memory.rss_kib += kib(),
                "Shared_Dirty" => memory.shared_dirty_kib += kib(),
                "Shared_Clean" => memory.shared_clean_kib += kib(),
                "Private_Dirty" => memory.private_dirty_kib += kib(),
                "Private_Clean" => memory.private_clean_kib += kib(),
                _ => {}
            }
        }
    }
    memory
}

/// The addresses at the head of a mapping's paragraph: `7f00-7f01 rw-s …`.
fn mapping(line: &str) -> Option<(usize, usize)> {
    let (from, to) = line.split_ascii_whitespace().next()?.split_once('-')?;
    Some((usize::from_str_radix(from, 16).ok()?, usize::from_str_radix(to, 16).ok()?))
}

/// Copies memory of another process into `buffer`. An error if not all of it is mapped, or it may not be read.
pub fn read_memory(pid: i32, start: usize, buffer: &mut [u8]) -> io::Result<()> {
    let local = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let remote = libc::iovec { iov_base: std::ptr::without_provenance_mut(start), iov_len: buffer.len() };
    // SAFETY: `local` describes `buffer`; `remote` is an address in the other process, which the kernel checks.
    let copied = unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
    match usize::try_from(copied) {
        Ok(copied) if copied == buffer.len() => Ok(()),
        Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

fn page_size() -> usize {
    // SAFETY: sysconf has no memory effects; the page size is always known.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as usize }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_overlapping_mappings_are_summed() {
        let smaps = "1000-3000 rw-s 0 0:1 7 /x\nRss:   8 kB\nShared_Dirty:  4 kB\n3000-4000 rw-p 0 0:0 0\nRss:   4 kB\n";
        assert_eq!(
            sum(smaps, 0x2000, 0x1000),
            Memory { rss_kib: 8, shared_dirty_kib: 4, ..Memory::default() }
        );
    }
}
