//! Open descriptors of a process, from `/proc/PID/fd` and `/proc/PID/fdinfo`.

use super::process::numbers_in;
use std::os::unix::fs::MetadataExt;
use std::{fs, io};

/// One open descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenFd {
    /// The descriptor's number.
    pub number: i32,
    /// What it refers to: a path, or `pipe:[991]`, `socket:[12]`, `anon_inode:[eventpoll]`.
    pub target: String,
    /// The flags of open(2): access mode, `O_NONBLOCK`, `O_CLOEXEC` and so on.
    pub flags: i32,
}

impl OpenFd {
    /// Whether it was opened for reading.
    pub fn readable(&self) -> bool {
        self.flags & libc::O_ACCMODE != libc::O_WRONLY
    }

    /// Whether it was opened for writing.
    pub fn writable(&self) -> bool {
        self.flags & libc::O_ACCMODE != libc::O_RDONLY
    }
}

/// The open descriptors of `pid` in ascending order. For the calling process the descriptor used to read the list is
/// not among them. An error if the process does not exist or its descriptors may not be read.
pub fn open_fds(pid: i32) -> io::Result<Vec<OpenFd>> {
    let directory = format!("/proc/{pid}/fd");
    fs::read_dir(&directory)?;
    // A descriptor that is closed meanwhile (our own, of the directory) is left out.
    Ok(numbers_in(&directory).into_iter().filter_map(|number| open_fd(pid, number)).collect())
}

/// One descriptor of `pid`, `None` if it is not open or may not be read.
pub(super) fn open_fd(pid: i32, number: i32) -> Option<OpenFd> {
    let target = fs::read_link(format!("/proc/{pid}/fd/{number}")).ok()?.to_string_lossy().into_owned();
    let details = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).ok()?;
    let flags = details.lines().find_map(|line| line.strip_prefix("flags:"))?;
    Some(OpenFd { number, target, flags: i32::from_str_radix(flags.trim(), 8).ok()? })
}

/// Device and inode of what a descriptor refers to: equal for all descriptors of one pipe or FIFO, whatever its name.
pub(super) fn identity(pid: i32, number: i32) -> Option<(u64, u64)> {
    let status = fs::metadata(format!("/proc/{pid}/fd/{number}")).ok()?;
    Some((status.dev(), status.ino()))
}

/// Whether a descriptor refers to a pipe or FIFO.
pub(super) fn is_pipe(pid: i32, number: i32) -> bool {
    fs::metadata(format!("/proc/{pid}/fd/{number}"))
        .is_ok_and(|status| status.mode() & libc::S_IFMT == libc::S_IFIFO)
}
