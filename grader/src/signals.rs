//! SIGINT, SIGTERM and SIGHUP: noted in a flag and a pipe, so that every poll loop sees them and
//! whatever runs is ended in an orderly way.

use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};

use nix::fcntl::OFlag;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::error::{Error, Result};

/// The first signal received, 0 before that.
static RECEIVED: AtomicI32 = AtomicI32::new(0);
/// The writing end of the pipe; -1 until [`install`].
static WAKE: AtomicI32 = AtomicI32::new(-1);
static READABLE: OnceLock<OwnedFd> = OnceLock::new();

/// Installs the handlers. Called once, before any thread starts.
///
/// # Errors
/// [`Error::Internal`] when there is no descriptor left for the pipe.
pub fn install() -> Result<()> {
    let failed = |error: nix::Error| Error::Internal(format!("cannot watch for signals: {error}"));
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).map_err(failed)?;
    READABLE.get_or_init(|| read);
    WAKE.store(write.into_raw_fd(), Ordering::Relaxed);
    let action = SigAction::new(SigHandler::Handler(note), SaFlags::SA_RESTART, SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: `note` only touches atomics and calls `write`, which is async-signal-safe.
        unsafe { sigaction(signal, &action) }.map_err(failed)?;
    }
    Ok(())
}

/// The signal that asked the grader to stop, if one did.
pub fn received() -> Option<i32> {
    Some(RECEIVED.load(Ordering::Relaxed)).filter(|&signal| signal != 0)
}

/// A descriptor that is readable from the first signal on.
pub fn descriptor() -> Option<BorrowedFd<'static>> {
    READABLE.get().map(AsFd::as_fd)
}

extern "C" fn note(signal: i32) {
    let _ = RECEIVED.compare_exchange(0, signal, Ordering::Relaxed, Ordering::Relaxed);
    // SAFETY: the descriptor stays open for the life of the process; one readable byte is passed.
    unsafe { libc::write(WAKE.load(Ordering::Relaxed), [1u8].as_ptr().cast(), 1) };
}
