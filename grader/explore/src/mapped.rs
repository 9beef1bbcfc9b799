//! The executable's file, mapped: most of it is never looked at.

use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::OnceLock;

/// A file in memory.
#[derive(Debug)]
pub struct Mapped {
    start: *mut libc::c_void,
    length: usize,
}

// SAFETY: the mapping is only read.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// The running program's, which stays mapped.
    pub fn this_program() -> Option<&'static Mapped> {
        static PROGRAM: OnceLock<Option<Mapped>> = OnceLock::new();
        PROGRAM.get_or_init(Mapped::map).as_ref()
    }

    fn map() -> Option<Mapped> {
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
        // SAFETY: the mapping is never taken away.
        unsafe { std::slice::from_raw_parts(self.start.cast(), self.length) }
    }
}
