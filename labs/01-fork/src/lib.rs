//! Processes by `fork(2)`: run a function in a child, share work among children, look at
//! copy-on-write from the inside, save a consistent image of a changing state, start a daemon.
//!
//! Everywhere in this lab the calling process has one thread. `fork` copies only the thread that calls it,
//! so a lock held by any other thread would stay locked in the child for ever.
//!
//! Replace each `todo!`. You may add private functions, types and fields; the public signatures stay.

#![allow(unused, reason = "the stubs do not use their parameters yet")]

use std::io;
use std::ops::Range;

/// How a child process ended: the two cases that `wait(2)` packs into one status word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildExit {
    /// It ended by itself with this exit code (`WIFEXITED`, `WEXITSTATUS`).
    Code(u8),
    /// This signal ended it, 1 to 64 (`WIFSIGNALED`, `WTERMSIG`).
    Signal(i32),
}

/// Part 1: runs `f` in a child process, waits until that child has ended, and tells how it ended.
///
/// - `f` runs exactly once, in a child. The caller's memory does not change, whatever `f` does to its own.
/// - The child ends when `f` returns, with the value of `f` as its exit code. It never returns from
///   `run_in_child`: the code after the call runs once, in the caller.
/// - A panic in `f` stays in the child, which then ends with exit code 101, the code of every Rust program
///   that panics. (`std::panic::catch_unwind` stops a panic; `AssertUnwindSafe` lets `f` into it.)
/// - Death by a signal is `ChildExit::Signal`, for every signal up to 64. nix's `waitpid` reaps a child killed by
///   a real-time signal and then answers `EINVAL`, and the status is lost: take `libc::waitpid` and
///   `libc::WIFEXITED` and its relatives.
/// - Output appears once. What the caller had printed but not yet flushed is not written by the child
///   as well, neither from `std::io::stdout()` nor from the stdio buffers of C code; what `f` prints is not lost.
///   So: flush `stdout` before `fork`, flush it again in the child after `f`, then `_exit(2)`, not `exit(3)`.
/// - The child has been waited for when the function returns, also if the wait was interrupted (`EINTR`).
///   Other children of the caller are left alone: whoever made them waits for them.
///
/// # Errors
/// What `fork` or `waitpid` report, for example `EAGAIN` when there may be no more processes. No child is
/// left behind in that case.
///
/// See `fork(2)`, `waitpid(2)`, `_exit(2)`.
///
/// ```no_run
/// # use fork::{ChildExit, run_in_child};
/// assert_eq!(run_in_child(|| 7)?, ChildExit::Code(7));
/// assert_eq!(run_in_child(|| std::process::abort())?, ChildExit::Signal(libc::SIGABRT));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn run_in_child(f: impl FnOnce() -> u8) -> io::Result<ChildExit> {
    todo!(
        "fork; in the child run `f` and `_exit` with its value; in the parent wait for the child and decode its status"
    )
}

/// The worker process that had this item ended before it delivered the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerDied;

/// Part 2: applies `f` to every item, in child processes, and returns the results in the order of the items.
///
/// - It starts `min(workers, items.len())` children, and they work at the same time. The items are dealt to them in
///   advance, so that no child has more than ⌈items / children⌉ of them. `f` is never called in the caller.
/// - Each child sends its results (byte strings, any length, also empty) back over a pipe.
///   A result may be far larger than a pipe holds (64 KiB).
/// - A child that dies (a panic in `f`, a signal, `exit` in the middle) costs items of its own only: they are
///   `Err(WorkerDied)`, at least the one it died in. Results it had delivered before may be `Ok`.
///   All items of other children are `Ok`.
/// - Reads and writes on the pipes may be short or interrupted (`EINTR`); no byte gets lost by that.
/// - On return every child has been waited for, no other child of the caller has, and every descriptor opened here is closed.
///
/// # Errors
/// `ErrorKind::InvalidInput` when `workers` is 0. What `pipe` or `fork` report: then, too, no child and no
/// descriptor is left behind. No items: `Ok` with an empty vector.
///
/// See `pipe(2)`, `pipe(7)`; `std::io::pipe` makes one.
///
/// ```no_run
/// # use fork::fork_map;
/// let lengths = fork_map(&["a", "bcd"], 2, |word| vec![word.len() as u8])?;
/// assert_eq!(lengths, [Ok(vec![1]), Ok(vec![3])]);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn fork_map<T>(
    items: &[T],
    workers: usize,
    f: impl Fn(&T) -> Vec<u8>,
) -> io::Result<Vec<Result<Vec<u8>, WorkerDied>>> {
    todo!("one pipe and one child for each worker; read every pipe to its end, then wait for the children")
}

/// The pages of a memory range, counted by how the calling process has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PageSharing {
    /// Anonymous pages in memory that another process maps too: after `fork`, not yet copied.
    pub shared: usize,
    /// Anonymous pages in memory that only this process maps: written since `fork`, or never shared.
    pub exclusive: usize,
    /// Pages in memory that belong to a file or to shared memory (`MAP_SHARED`): writing never copies them.
    pub file: usize,
    /// Pages not in memory: never touched, swapped out, or no mapping there.
    pub absent: usize,
}

/// Part 3: counts the pages of an address range by the way this process has them.
///
/// - `range` holds addresses (`pointer as usize`), the end not included. A page counts if at least one byte of it is in
///   the range; the ends need not lie on page borders. An empty range has no pages.
/// - The answer comes from `/proc/self/pagemap`: one native-endian 64-bit entry for each page, the entry for
///   page number `n` at byte `8 * n`. Page number is address divided by page size (`sysconf(_SC_PAGESIZE)`).
/// - Bits used: 63 present in memory; 61 belongs to a file or to shared memory; 56 mapped by exactly one process.
///   The frame number (bits 0 to 54) reads as 0 without `CAP_SYS_ADMIN`, so it tells an ordinary user nothing.
/// - The function opens the file at each call: a descriptor from before `fork` still shows the parent.
/// - It touches none of the pages it counts (a read would bring an absent page in).
///
/// # Errors
/// `ErrorKind::InvalidInput` when the range ends before it starts; what opening or reading the file reports; an
/// error too when the kernel has no entry for part of the range (`ErrorKind::UnexpectedEof`: addresses beyond user space).
///
/// See `proc_pid_pagemap(5)` (or `proc(5)`) and the kernel's `admin-guide/mm/pagemap`.
///
/// ```no_run
/// # use fork::resident_sharing;
/// let memory = vec![1u8; 1 << 20];
/// let range = memory.as_ptr() as usize..memory.as_ptr() as usize + memory.len();
/// println!("{:?}", resident_sharing(range)?);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn resident_sharing(range: Range<usize>) -> io::Result<PageSharing> {
    todo!(
        "read the entries of the range's pages from /proc/self/pagemap and count them by bits 63, 61 and 56"
    )
}

/// A snapshot being written by a child process; see [`snapshot`].
///
/// Dropping it waits for the child as well, and for no other, so that no zombie is left, and ignores how it ended.
#[derive(Debug)]
pub struct Snapshot {
    /// The process that writes.
    pid: libc::pid_t,
}

/// Part 4: writes an image of `state` as it is now, while the caller goes on changing it.
///
/// `write` runs once, in a child process, with the child's view of `state`. The function returns as soon as the
/// child exists, without waiting for `write`. From then on the caller may change its memory freely:
/// the child sees every byte as it was at the call. This is how Redis saves its data set (`BGSAVE`).
///
/// The kernel copies a page when one of the two first writes to it, and no other page. So the extra memory follows the
/// pages changed while the child writes, not the size of the state: do not copy the state yourself.
///
/// As in part 1: the child leaves by `_exit`, a panic in `write` stays in the child, the child's copy of
/// unflushed output is not written.
///
/// # Errors
/// What `fork` reports.
///
/// See `fork(2)`.
///
/// ```no_run
/// # use fork::snapshot;
/// # use std::io::Write;
/// let mut state = vec![0u8; 1 << 20];
/// let saving = snapshot(&state, |image| std::fs::File::create("image")?.write_all(image))?;
/// state.fill(1);          // the file will hold zeros
/// saving.finish()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn snapshot(state: &[u8], write: impl FnOnce(&[u8]) -> io::Result<()>) -> io::Result<Snapshot> {
    todo!("fork; the child runs `write` and leaves with 0 if all went well; the parent returns at once")
}

impl Snapshot {
    /// Waits until the image is complete: for its own child, whichever others the caller has.
    ///
    /// # Errors
    /// An error (of any kind) unless `write` returned `Ok`: it returned an error, it panicked, or the child was killed.
    pub fn finish(self) -> io::Result<()> {
        todo!("wait for the child; anything but exit code 0 is an error")
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        todo!("wait for the child unless `finish` has done so")
    }
}

/// Part 5: runs `f` in a daemon: a process that outlives the caller and belongs to no terminal. Returns its pid.
///
/// When the function returns `Ok(pid)`, process `pid`
/// - runs `f`, or is about to, and will end with exit code 0 when `f` returns (101 when it panics);
/// - is in a new session, which it does not lead (so it can never get a controlling terminal again), and has no
///   controlling terminal;
/// - has been handed to init, or to the nearest subreaper: its parent is neither the caller nor a process started here;
/// - works in the directory `/` and has `/dev/null` as descriptors 0, 1 and 2. All other descriptors stay as they
///   were, for `f` may use them; those that this function opens for itself are closed again.
///
/// The process in between has been waited for. Nothing of the caller itself changes: not its directory, its streams,
/// or its session.
///
/// # Errors
/// What `pipe`, either `fork`, `setsid`, `chdir`, opening `/dev/null` or `dup2` report, in whichever process it
/// happened; then no process is left behind.
///
/// See `daemon(7)`, `setsid(2)`, `credentials(7)`.
///
/// ```no_run
/// # use fork::daemonize;
/// let pid = daemonize(|| std::thread::sleep(std::time::Duration::from_secs(60)))?;
/// println!("daemon {pid}: look at it with `ps -o pid,ppid,sid,tty,cmd -p {pid}`");
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn daemonize(f: impl FnOnce()) -> io::Result<i32> {
    todo!(
        "fork, setsid, fork again; the grandchild sets itself up and reports its pid or the error over a pipe"
    )
}
