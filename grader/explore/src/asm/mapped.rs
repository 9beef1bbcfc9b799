//! The executable's file, mapped: most of it is never looked at.

use std::os::fd::AsRawFd;
use std::ptr;

/// A file in memory.
#[derive(Debug)]
pub struct Mapped {
    start: *mut libc::c_void,
    length: usize,
}

impl Mapped {
    /// The running program's.
    pub fn this_program() -> Option<Mapped> {
        let file = std::fs::File::open("/proc/self/exe").ok()?;
        let length = file.metadata().ok()?.len() as usize;
        // SAFETY: a new private mapping of a file that cannot be written while it runs.
        let start = unsafe {
            libc::mmap(ptr::null_mut(), length, libc::PROT_READ, libc::MAP_PRIVATE, file.as_raw_fd(), 0)
        };
        (start != libc::MAP_FAILED).then_some(Mapped { start, length })
    }

    /// What is in it.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.start.cast(), self.length) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: our own mapping.
        unsafe { libc::munmap(self.start, self.length) };
    }
}
