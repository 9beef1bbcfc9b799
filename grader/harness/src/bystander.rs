//! A child that is none of the submission's business.

use std::io;

use crate::observe::has_ended;

/// A child of the calling process that has ended, with [`Bystander::CODE`], and that nobody has waited for: somebody else's, for a
/// submission that waits for children of its own. For workers, which have one thread.
#[derive(Debug)]
pub struct Bystander {
    pid: i32,
}

impl Bystander {
    /// Its exit code.
    pub const CODE: i32 = 77;

    /// Starts it, and returns when it has ended.
    ///
    /// # Errors
    /// That of fork(2).
    pub fn new() -> io::Result<Bystander> {
        // SAFETY: the caller has one thread, and the child leaves at once.
        let pid = match unsafe { libc::fork() } {
            -1 => return Err(io::Error::last_os_error()),
            // SAFETY: ends the child.
            0 => unsafe { libc::_exit(Bystander::CODE) },
            pid => pid,
        };
        while !has_ended(pid) {
            std::thread::yield_now();
        }
        Ok(Bystander { pid })
    }

    /// Whether nobody has waited for it. Waits for it, and for whatever child was not waited for in its place.
    pub fn is_left(self) -> bool {
        // SAFETY: no status is asked for.
        let wait = |pid| unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
        let is_left = wait(self.pid) == self.pid;
        while wait(-1) > 0 {}
        is_left
    }
}
