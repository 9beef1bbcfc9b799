//! A descriptor handed from process to process over a socket.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

/// Sends the descriptor.
///
/// # Errors
/// When nobody is there to receive it.
pub fn give(to: BorrowedFd<'_>, given: impl AsFd) -> io::Result<()> {
    let fds = [given.as_fd().as_raw_fd()];
    let control = [ControlMessage::ScmRights(&fds)];
    sendmsg::<()>(to.as_raw_fd(), &[IoSlice::new(&[0])], &control, MsgFlags::empty(), None)?;
    Ok(())
}

/// Waits for the descriptor; it is close-on-exec.
///
/// # Errors
/// When the other side had none to send.
pub fn take(from: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut byte = [0; 1];
    let mut parts = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!(RawFd);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(from.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    let given = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
        _ => None,
    });
    let given = given.ok_or_else(|| io::Error::other("no descriptor came"))?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(given) })
}
