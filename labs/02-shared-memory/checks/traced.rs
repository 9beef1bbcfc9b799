//! A process that is stopped at a chosen border between it and the kernel: before or after each of its system calls.
//! Between two such stops nobody outside can notice anything but memory.
//!
//! Used inside a worker, which is then the tracer of its own children.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use harness::observe::{self, Syscall};
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// A child of the calling worker. Dropped: killed and reaped.
pub struct Child {
    pid: Pid,
    reaped: bool,
}

impl Child {
    /// Forks a process that runs `body` and ends; a panic in it stays there.
    pub fn start(body: impl FnOnce()) -> io::Result<Child> {
        // SAFETY: a worker has one thread, so the child may run any code.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                // SAFETY: plain system calls; the second one ends this process.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
                let code = i32::from(catch_unwind(AssertUnwindSafe(body)).is_err());
                // SAFETY: as above.
                unsafe { libc::_exit(code) }
            }
            pid => Ok(Child { pid: Pid::from_raw(pid), reaped: false }),
        }
    }

    /// The same, stopped before `body` begins, with this process as its tracer.
    pub fn start_stopped(body: impl FnOnce()) -> io::Result<Child> {
        let child = Child::start(|| {
            if ptrace::traceme().is_ok() {
                let _ = nix::sys::signal::raise(Signal::SIGSTOP);
                body();
            }
        })?;
        let mut child = child;
        match waitpid(child.pid, None)? {
            WaitStatus::Stopped(..) => {}
            _ => {
                child.reaped = true;
                return Err(io::ErrorKind::PermissionDenied.into());
            }
        }
        ptrace::setoptions(
            child.pid,
            ptrace::Options::PTRACE_O_TRACESYSGOOD | ptrace::Options::PTRACE_O_EXITKILL,
        )?;
        Ok(child)
    }

    /// The process number.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Lets a stopped child go on over `borders` borders; false if it ends before. Those of `rt_sigprocmask` are not among them:
    /// nobody outside can notice it, and the harness makes such calls around some of the submission's.
    pub fn pass(&mut self, borders: usize) -> io::Result<bool> {
        let mut passed = 0;
        let mut signal = None;
        while passed < borders {
            ptrace::syscall(self.pid, signal.take())?;
            match waitpid(self.pid, None)? {
                WaitStatus::PtraceSyscall(_) => passed += usize::from(!self.masks_signals()?),
                WaitStatus::Stopped(_, other) => signal = Some(other),
                WaitStatus::Exited(..) | WaitStatus::Signaled(..) => {
                    self.reaped = true;
                    return Ok(false);
                }
                _ => {}
            }
        }
        Ok(true)
    }

    fn masks_signals(&self) -> io::Result<bool> {
        Ok(ptrace::getregs(self.pid)?.orig_rax.cast_signed() == libc::SYS_rt_sigprocmask)
    }

    /// Which system call a stopped child is at.
    pub fn call(&self) -> Option<Syscall> {
        observe::blocked_in(self.pid(), self.pid())
    }

    /// Its name.
    pub fn place(&self) -> &'static str {
        self.call().map_or("(none)", |call| call.name)
    }

    /// Lets a stopped child run on its own.
    pub fn release(&self) {
        let _ = ptrace::detach(self.pid, None);
    }

    /// Kills the child, and waits until it is dead, but leaves it a zombie: whoever asks finds that the number still exists.
    pub fn kill(&self) {
        // SAFETY: our own child, not reaped yet.
        unsafe { libc::kill(self.pid(), libc::SIGKILL) };
        while !matches!(observe::state_of(self.pid()), None | Some('Z' | 'X')) {
            std::thread::yield_now();
        }
    }

    /// Waits for the end.
    pub fn join(&mut self) {
        while !self.reaped {
            match waitpid(self.pid, None) {
                Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) | Err(nix::Error::ECHILD) => {
                    self.reaped = true
                }
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// Whether the child has ended.
    pub fn ended(&mut self) -> bool {
        if !self.reaped
            && let Ok(status) = waitpid(self.pid, Some(WaitPidFlag::WNOHANG))
        {
            self.reaped = matches!(status, WaitStatus::Exited(..) | WaitStatus::Signaled(..));
        }
        self.reaped
    }

    /// Waits until the child has ended (true) or plainly waits for somebody (false).
    pub fn settle(&mut self) -> bool {
        let pid = self.pid();
        settle(pid, || self.ended())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.reaped {
            self.kill();
            self.join();
        }
    }
}

/// Waits until a process has ended (true), or sleeps whenever it is looked at, or has used so much processor time that it
/// must be waiting by turning round (false). Too early a "false" makes a check weaker, never wrong.
pub fn settle(pid: i32, mut ended: impl FnMut() -> bool) -> bool {
    let mut asleep = 0;
    let start = observe::cpu_time_of(pid).unwrap_or_default();
    while !ended() {
        asleep = if observe::state_of(pid) == Some('S') { asleep + 1 } else { 0 };
        let used = observe::cpu_time_of(pid).unwrap_or_default().saturating_sub(start);
        if asleep >= 4 || used > Duration::from_millis(10) {
            return false;
        }
        // The pace of looking, not a wait for anything.
        std::thread::sleep(Duration::from_micros(60));
    }
    true
}
