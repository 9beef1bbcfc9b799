//! The fork gate, where the kernel counts nothing for us: each new process and thread of the check waits until the warden has
//! let it through. A closed gate lets nobody through, so that a tree that forks while it is being killed comes to an end.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use harness::observe::descendants_of;
use libc::{seccomp_notif, seccomp_notif_resp};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use seccompiler::sock_filter;

use super::{filter, limits};

/// `_IOWR('!', 0, struct seccomp_notif)` and `_IOWR('!', 1, struct seccomp_notif_resp)`, see seccomp_unotify(2).
const RECEIVE: libc::c_ulong = 0xc050_2100;
const ANSWER: libc::c_ulong = 0xc018_2101;
/// The call is made after all.
const GO_ON: u32 = 1;

/// The warden's side.
#[derive(Debug)]
pub struct Gate {
    listener: OwnedFd,
    /// Processes seen at the last count, and let through since.
    counted: usize,
    since: usize,
}

impl Gate {
    /// Waits for the listener that [`install`] sends.
    ///
    /// # Errors
    /// When the check process had none to send.
    pub fn receive(from: BorrowedFd<'_>) -> io::Result<Gate> {
        let mut byte = [0; 1];
        let mut parts = [IoSliceMut::new(&mut byte)];
        let mut space = nix::cmsg_space!(RawFd);
        let message = recvmsg::<()>(from.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty())?;
        let listener = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
            _ => None,
        });
        let listener = listener.ok_or_else(|| io::Error::other("no listener came"))?;
        // SAFETY: the kernel has just made this descriptor for us.
        let listener = unsafe { OwnedFd::from_raw_fd(listener) };
        Ok(Gate { listener, counted: 0, since: 0 })
    }

    /// What to poll for readability.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Answers one fork. False when there were too many processes already.
    pub fn answer(&mut self, warden: i32) -> bool {
        // SAFETY: all zero bytes are a valid `seccomp_notif`, and what the kernel wants to be given.
        let mut asked: seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: the listener is a listener, the structure is valid and of the size that the number states.
        if unsafe { libc::ioctl(self.listener.as_raw_fd(), RECEIVE, &raw mut asked) } != 0 {
            return true;
        }
        if self.counted + self.since >= limits::PROCESSES {
            self.counted = limits::living(&descendants_of(warden));
            self.since = 0;
        }
        self.since += 1;
        let fits = self.counted < limits::PROCESSES;
        let (error, flags) = if fits { (0, GO_ON) } else { (-libc::EAGAIN, 0) };
        let mut answer = seccomp_notif_resp { id: asked.id, val: 0, error, flags };
        // SAFETY: as above. The process may have died meanwhile: then there is nobody to answer.
        unsafe { libc::ioctl(self.listener.as_raw_fd(), ANSWER, &raw mut answer) };
        fits
    }
}

/// Installs the asking filter in the calling process and sends the listener to the warden.
///
/// # Errors
/// When the kernel has no such filters.
pub fn install(to: BorrowedFd<'_>) -> io::Result<()> {
    let program: Vec<sock_filter> = filter::asks_for_forks();
    let program = libc::sock_fprog {
        len: program.len() as u16,
        // The two types are one structure of the kernel's.
        filter: program.as_ptr().cast_mut().cast(),
    };
    let set = |flags: libc::c_ulong| {
        // SAFETY: the kernel copies the program, which lives until the call has returned.
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) }
    };
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    // Once the warden has heard of a fork, no signal but a deadly one ends the wait. Linux before 5.19 has no such flag.
    let listener = match set(flags | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV) {
        -1 => set(flags),
        listener => listener,
    };
    if listener < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    let listener = unsafe { OwnedFd::from_raw_fd(listener as RawFd) };
    let fds = [listener.as_raw_fd()];
    let control = [ControlMessage::ScmRights(&fds)];
    sendmsg::<()>(to.as_raw_fd(), &[IoSlice::new(&[0])], &control, MsgFlags::empty(), None)?;
    Ok(())
}
