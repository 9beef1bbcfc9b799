//! libc calls that misbehave as the manual allows: short transfers, `EINTR`, and calls that fail.
//! A check runs the subject inside [`with`]; the functions that [`interpose!`](crate::interpose) defines in the
//! check binary ask the active [`Plan`] before each call. Without a plan they are the plain system calls.

mod active;
pub mod hook;
mod interpose;
mod object;
mod plan;

pub use plan::{Action, Plan};

/// How many calls one [`with`] records; calls beyond that still obey the plan but are not in the log.
pub const LOG_CAPACITY: usize = 65_536;

/// One call that the subject made, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The libc function, for example `"read"`. `open64` is reported as `"open"`, `pread64` as `"pread"`, `vfork` as `"fork"`.
    pub name: &'static str,
    /// The descriptor the call is about, -1 if there is none (`pipe`, `fork`, `waitpid`, an anonymous `mmap`).
    pub fd: i32,
    /// Bytes for transfers and mappings, descriptors for `poll` and `select`, events for `epoll_wait`, otherwise 0.
    pub asked: usize,
    /// Position among all interposed calls of this process since the plan was installed, from 0.
    pub nth: usize,
    /// The result; `-errno` on failure; [`Call::UNFINISHED`] if the call has not returned.
    pub outcome: isize,
    /// Whether the manual lets a signal end this call with `EINTR`: it may wait, and not for a disk.
    pub interruptible: bool,
    /// Whether a short transfer is possible: a byte stream or a file, more than one byte asked.
    pub divisible: bool,
}

impl Call {
    /// The `outcome` of a call that has not returned (or never will: it runs in a thread that is still blocked).
    pub const UNFINISHED: isize = isize::MIN;

    /// Whether this is `name` or another form of it: `read` and `readv`, `pipe` and `pipe2`, `waitpid` and `wait4`, …
    pub fn is(&self, name: &str) -> bool {
        family(self.name) == family(name)
    }

    /// The bytes that were transferred, `None` if the call failed or has not returned.
    pub fn transferred(&self) -> Option<usize> {
        usize::try_from(self.outcome).ok()
    }
}

/// How many of the calls are `name` or another form of it, see [`Call::is`].
pub fn count(calls: &[Call], name: &str) -> usize {
    calls.iter().filter(|call| call.is(name)).count()
}

/// Runs `body` while `plan` decides how the interposed libc calls of this process end; returns what `body`
/// returned and the calls it made (at most [`LOG_CAPACITY`]).
///
/// The plan holds for all threads, and children forked by `body` inherit it with an empty log of their own.
/// The previous plan is back in force when `body` returns or unwinds. Prints to the standard output and error that
/// were there when `with` was called are neither disturbed nor logged, so a student may debug with `println!`.
pub fn with<R>(plan: Plan, body: impl FnOnce() -> R) -> (R, Vec<Call>) {
    let installed = active::install(plan);
    let result = body();
    (result, installed.finish())
}

/// The name under which all forms of one call are counted.
fn family(name: &str) -> &str {
    match name {
        "readv" => "read",
        "writev" => "write",
        "pread64" => "pread",
        "pwrite64" => "pwrite",
        "open64" | "openat" | "openat64" => "open",
        "pipe2" => "pipe",
        "dup3" => "dup2",
        "vfork" => "fork",
        "wait4" | "waitid" => "waitpid",
        "ppoll" | "select" | "epoll_wait" | "epoll_pwait" => "poll",
        "accept4" => "accept",
        "recvfrom" | "recvmsg" => "recv",
        "sendto" | "sendmsg" => "send",
        other => other,
    }
}
