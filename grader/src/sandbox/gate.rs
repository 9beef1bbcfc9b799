//! The gate: calls of a check that its warden is asked about before they are made.
//!
//! Where the kernel counts nothing for us, each new process and thread waits until it has been let through. A closed gate lets
//! nobody through, so that a tree that forks while it is being killed comes to an end. And where a name in a folder leads to
//! programs outside, a socket that could reach one is refused, and that it was asked for is not forgotten. Of calls that may make an object that outlives
//! its maker `sweep` is told.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use caps::{CapSet, Capability};
use harness::observe::{descendants_of, parent_of, thread_state_of};
use libc::{seccomp_notif, seccomp_notif_resp};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{MsgFlags, recv, send};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use super::filter::{self, Asking};
use super::sweep::{Answer, Objects, Swept};
use super::{handed, limits};

/// `_IOWR('!', 0, struct seccomp_notif)`, `_IOWR('!', 1, struct seccomp_notif_resp)`, `_IOW('!', 4, __u64)`: see
/// seccomp_unotify(2).
const RECEIVE: libc::c_ulong = 0xc050_2100;
const ANSWER: libc::c_ulong = 0xc018_2101;
const IS_WAITING: libc::c_ulong = 0x4008_2102;
const SET_FLAGS: libc::c_ulong = 0x4008_2104;
/// Who asks hands its processor to who answers.
const WAKE_UP_HERE: libc::c_ulong = 1;
/// The call is made after all.
const GO_ON: u32 = 1;
/// No answer takes so long, unless somebody asks without end.
const PATIENCE: Duration = Duration::from_millis(500);

/// The warden's side. A thread of its own answers: who asks must not wait for anything else that a warden does.
#[derive(Debug)]
pub struct Gate {
    shared: Arc<Shared>,
    /// See [`stay`].
    stayer: Pid,
}

/// What has become of those who asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Heard {
    /// A signal interrupted a call before it was heard of: the call failed, and without a gate it would not have.
    pub interrupted: bool,
    /// A socket was refused.
    pub sockets: bool,
}

#[derive(Debug)]
struct Shared {
    listener: OwnedFd,
    /// Written to when there are too many processes.
    crowd: EventFd,
    closed: AtomicBool,
    interrupted: AtomicBool,
    sockets: AtomicBool,
    objects: Mutex<Objects>,
    /// The number of the thread that answers; 0 before it has begun, and -1 when nobody can ask any more.
    thread: AtomicI32,
}

impl Gate {
    /// Waits for the listener that [`install`] sends, and opens.
    ///
    /// # Errors
    /// When the check process had none to send, or there can be no thread.
    pub fn open(from: BorrowedFd<'_>) -> io::Result<Gate> {
        let listener = handed::take(from)?;
        // Linux before 6.6 has no such flag: the answer comes a little later then.
        // SAFETY: the listener is a listener; the argument is an integer.
        unsafe { libc::ioctl(listener.as_raw_fd(), SET_FLAGS, WAKE_UP_HERE) };
        let shared = Arc::new(Shared {
            listener,
            crowd: EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
            closed: AtomicBool::new(false),
            interrupted: AtomicBool::new(false),
            sockets: AtomicBool::new(false),
            // Whoever makes any waits until it is answered.
            objects: Mutex::new(Objects::new()),
            thread: AtomicI32::new(0),
        });
        let answering = Arc::clone(&shared);
        std::thread::Builder::new().spawn(move || answering.answer_all(us()))?;
        Ok(Gate { shared, stayer: receive_number(from)? })
    }

    /// Is readable when there are too many processes.
    pub fn crowd(&self) -> BorrowedFd<'_> {
        self.shared.crowd.as_fd()
    }

    /// Lets nobody through any more, and says what has been heard. To be called before anybody else is ended.
    pub fn close(&self) -> Heard {
        let start = Instant::now();
        while !self.shared.all_is_heard() && start.elapsed() < PATIENCE {
            std::thread::park_timeout(Duration::from_micros(100));
        }
        self.shared.closed.store(true, Ordering::SeqCst);
        // One that somebody has ended before may have been reaped.
        if parent_of(self.stayer.as_raw()) == Some(us()) {
            let _ = kill(self.stayer, Signal::SIGKILL);
            let _ = waitpid(self.stayer, None);
        }
        Heard {
            interrupted: self.shared.interrupted.load(Ordering::SeqCst),
            sockets: self.shared.sockets.load(Ordering::SeqCst),
        }
    }

    /// What the segments and the names that the check has made take; in bytes.
    pub fn bytes_made(&self) -> u64 {
        self.shared.objects.lock().unwrap_or_else(PoisonError::into_inner).bytes()
    }

    /// Removes objects that are left. To be called when everybody else has been ended.
    pub fn sweep(&self) -> Swept {
        self.shared.objects.lock().unwrap_or_else(PoisonError::into_inner).sweep()
    }
}

impl Shared {
    /// Whether the thread has gone to sleep again, which it does only when nothing has been asked that it has not heard.
    fn all_is_heard(&self) -> bool {
        match self.thread.load(Ordering::SeqCst) {
            0 => false,
            -1 => true,
            thread => thread_state_of(us(), thread) == Some('S'),
        }
    }

    fn answer_all(&self, warden: i32) {
        // SAFETY: takes no argument.
        self.thread.store(unsafe { libc::gettid() }, Ordering::SeqCst);
        // This thread makes some calls in place of the check, which has no right to objects of others. To give up a right is
        // refused to nobody.
        let _ = caps::drop(None, CapSet::Effective, Capability::CAP_IPC_OWNER);
        let mut count = Count::default();
        loop {
            // SAFETY: all zero bytes are a valid `seccomp_notif`, and what the kernel wants to be given.
            let mut asked: seccomp_notif = unsafe { std::mem::zeroed() };
            // SAFETY: the listener is a listener, the structure is valid and of the size that the number states.
            let result = unsafe { libc::ioctl(self.listener.as_raw_fd(), RECEIVE, &raw mut asked) };
            if result == 0 {
                self.answer(&asked, &mut count, warden);
                continue;
            }
            match io::Error::last_os_error().raw_os_error() {
                // One had asked, and nobody is there any more. (Or nobody is left to ask.)
                Some(libc::ENOENT) if !self.is_deserted() => {
                    if !self.closed.load(Ordering::SeqCst) {
                        self.interrupted.store(true, Ordering::SeqCst);
                    }
                }
                Some(libc::EINTR) => {}
                _ => break,
            }
        }
        self.thread.store(-1, Ordering::SeqCst);
    }

    /// Whether all processes that could ask have ended.
    fn is_deserted(&self) -> bool {
        let mut polled = [PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut polled, PollTimeout::ZERO);
        ready.is_err() || polled[0].revents().is_some_and(|events| events.contains(PollFlags::POLLHUP))
    }

    /// Whether the process that has asked this still waits for the answer.
    fn is_waiting(&self, id: u64) -> bool {
        // SAFETY: the listener is a listener, and the number is valid for reading.
        unsafe { libc::ioctl(self.listener.as_raw_fd(), IS_WAITING, &raw const id) == 0 }
    }

    fn answer(&self, asked: &seccomp_notif, count: &mut Count, warden: i32) {
        let objects = || self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        let mut value = 0;
        let (error, flags) = if let Some(answer) = objects().answer(asked, || self.is_waiting(asked.id)) {
            match answer {
                Answer::GoOn => (0, GO_ON),
                Answer::Made(error) if error < 0 => (error as i32, 0),
                Answer::Made(number) => {
                    value = number;
                    (0, 0)
                }
            }
        } else if i64::from(asked.data.nr) == libc::SYS_socket {
            self.sockets.store(true, Ordering::SeqCst);
            (-libc::EACCES, 0)
        } else if self.closed.load(Ordering::SeqCst) {
            (-libc::EAGAIN, 0)
        } else if count.fits_one_more(warden) {
            (0, GO_ON)
        } else {
            // A full counter has been written to before.
            let _ = self.crowd.write(1);
            (-libc::EAGAIN, 0)
        };
        let mut answer = seccomp_notif_resp { id: asked.id, val: value, error, flags };
        // SAFETY: as above. The process may have died meanwhile: then there is nobody to answer.
        unsafe { libc::ioctl(self.listener.as_raw_fd(), ANSWER, &raw mut answer) };
    }
}

/// Processes seen at the last count, and let through since.
#[derive(Debug, Default)]
struct Count {
    counted: usize,
    since: usize,
}

impl Count {
    fn fits_one_more(&mut self, warden: i32) -> bool {
        if self.counted + self.since >= limits::PROCESSES {
            self.counted = limits::living(&descendants_of(warden));
            self.since = 0;
        }
        self.since += 1;
        self.counted < limits::PROCESSES
    }
}

fn receive_number(from: BorrowedFd<'_>) -> io::Result<Pid> {
    let mut number = [0; 4];
    match recv(from.as_raw_fd(), &mut number, MsgFlags::empty())? {
        4 => Ok(Pid::from_raw(i32::from_ne_bytes(number))),
        _ => Err(io::Error::other("nobody stays")),
    }
}

fn us() -> i32 {
    std::process::id().cast_signed()
}

/// Starts a process that does nothing but be there, as a child of the warden's: as long as somebody could still ask, the kernel
/// also tells of those who have asked and are gone. To be called by a process with one thread, before it becomes a check.
///
/// # Errors
/// When there can be no such process.
pub fn stay(warden: BorrowedFd<'_>) -> io::Result<()> {
    // Nobody writes into the one that stays.
    super::shut_memory();
    let flags = libc::CLONE_PARENT | libc::SIGCHLD;
    // SAFETY: a fork, but for the parent; this process has one thread, and its child calls nothing that allocates.
    match unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: in the child, on a descriptor that it has; the others are nobody's there.
        0 => unsafe {
            let socket = warden.as_raw_fd();
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            if socket > 0 {
                libc::close_range(0, socket.cast_unsigned() - 1, 0);
            }
            libc::close_range(socket.cast_unsigned() + 1, libc::c_uint::MAX, 0);
            let mut byte = [0_u8; 1];
            // Until the warden is gone, if it has not ended us before.
            while libc::read(socket, byte.as_mut_ptr().cast(), 1) > 0 {}
            libc::_exit(0);
        },
        number => {
            let number = (number as i32).to_ne_bytes();
            send(warden.as_raw_fd(), &number, MsgFlags::MSG_NOSIGNAL)?;
            Ok(())
        }
    }
}

/// Installs the asking filter in the calling process and sends the listener to the warden.
///
/// # Errors
/// When the kernel has no such filters, or there is a listener already.
pub fn install(asking: Asking, to: BorrowedFd<'_>) -> io::Result<()> {
    let program = filter::asks(asking);
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
    // Once the warden has heard of a call, no signal but a deadly one ends the wait. Linux before 5.19 has no such flag.
    let listener = match set(flags | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV) {
        -1 => set(flags),
        listener => listener,
    };
    if listener < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    let listener = unsafe { OwnedFd::from_raw_fd(listener as RawFd) };
    handed::give(to, listener)
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, sigaction};
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    use nix::unistd::{ForkResult, fork, getpid};
    use rusty_fork::rusty_fork_test;

    use super::*;

    extern "C" fn nothing(_: libc::c_int) {}

    /// What is heard of a process that has called `act` before the gate was open, and stays there.
    fn heard_of(act: fn() -> io::Result<()>) -> Heard {
        let asking = Asking { forks: true, sockets: false, objects: false };
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
                .expect("a pair");
        let (done, end) = nix::unistd::pipe().expect("a pipe");
        // SAFETY: the other thread of this process waits, and holds no lock.
        if let ForkResult::Child = unsafe { fork() }.expect("a process") {
            let acted = nix::sys::prctl::set_no_new_privs()
                .map_err(io::Error::from)
                .and_then(|()| install(asking, theirs.as_fd()))
                .and_then(|()| act())
                .and_then(|()| {
                    Ok(send(theirs.as_raw_fd(), &getpid().as_raw().to_ne_bytes(), MsgFlags::empty())?)
                });
            // What is not said is missed.
            let _ = nix::unistd::write(&end, &[u8::from(acted.is_ok())]);
            loop {
                std::thread::park();
            }
        }
        let mut acted = [0];
        let length = nix::unistd::read(&done, &mut acted).expect("a byte");
        assert_eq!((length, acted[0]), (1, 1), "the process could not do its part");
        let gate = Gate::open(ours.as_fd()).expect("a gate");
        gate.close()
    }

    fn interrupted_fork() -> io::Result<()> {
        let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
        // SAFETY: the handler does nothing.
        unsafe { sigaction(Signal::SIGALRM, &action) }?;
        let often = libc::timeval { tv_sec: 0, tv_usec: 1000 };
        let often = libc::itimerval { it_interval: often, it_value: often };
        // SAFETY: a valid timer; and a fork that fails, or whose child ends at once.
        unsafe {
            libc::setitimer(libc::ITIMER_REAL, &raw const often, std::ptr::null_mut());
            match libc::syscall(libc::SYS_fork) {
                -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => Ok(()),
                -1 => Err(io::Error::last_os_error()),
                0 => libc::_exit(0),
                _ => Err(io::Error::other("nobody was asked")),
            }
        }
    }

    rusty_fork_test! {
        #[test]
        fn a_fork_that_was_interrupted_before_it_was_heard_of_is_heard_of() {
            assert_eq!(heard_of(interrupted_fork), Heard { interrupted: true, sockets: false });
        }

        #[test]
        fn where_nobody_has_asked_nothing_is_heard() {
            assert_eq!(heard_of(|| Ok(())), Heard::default());
        }
    }
}
