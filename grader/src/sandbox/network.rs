//! The network of a check: none. To make a namespace for it takes the kernel as long as to make all the others, so the outer
//! warden does it while the inner one builds the file system, and hands it over.

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::fcntl::{OFlag, openat};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::stat::Mode;

use super::handed;

/// Who makes the namespace.
#[derive(Debug)]
pub struct Maker {
    /// Held open, for the inner warden covers `/proc`.
    namespaces: File,
    taker: OwnedFd,
}

/// Who moves into it.
#[derive(Debug)]
pub struct Taker(OwnedFd);

/// The two ends between the wardens; each drops the other's.
///
/// # Errors
/// Says what failed.
pub fn handover() -> Result<(Maker, Taker), String> {
    let folder = "/proc/self/ns";
    let namespaces = fs::OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(folder);
    let namespaces = namespaces.map_err(|error| format!("open {folder}: {error}"))?;
    let (taker, maker) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .map_err(|error| format!("socketpair: {error}"))?;
    Ok((Maker { namespaces, taker }, Taker(maker)))
}

impl Maker {
    /// Moves the calling process into a network namespace of its own, and hands that over.
    ///
    /// # Errors
    /// Says what failed.
    pub fn make(&self) -> Result<(), String> {
        unshare(CloneFlags::CLONE_NEWNET).map_err(|error| format!("unshare: {error}"))?;
        let made = openat(&self.namespaces, "net", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(|error| format!("open the network namespace: {error}"))?;
        handed::give(self.taker.as_fd(), made)
            .map_err(|error| format!("hand over the network namespace: {error}"))
    }
}

impl Taker {
    /// Moves the calling process into the namespace that the other warden has made.
    ///
    /// # Errors
    /// Says what failed.
    pub fn move_in(self) -> Result<(), String> {
        let made = handed::take(self.0.as_fd()).map_err(|error| format!("network namespace: {error}"))?;
        setns(made, CloneFlags::CLONE_NEWNET).map_err(|error| format!("setns: {error}"))
    }
}
