//! Signals its supervisor in every other way, which does not work.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    let parent = unsafe { libc::getppid() };
    let information = [0_i32; 32];
    let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, parent, 0) };
    let sent = unsafe {
        [
            libc::syscall(libc::SYS_tkill, parent, libc::SIGKILL),
            libc::syscall(libc::SYS_tgkill, parent, parent, libc::SIGKILL),
            libc::syscall(libc::SYS_rt_sigqueueinfo, parent, libc::SIGKILL, &information),
            libc::syscall(libc::SYS_rt_tgsigqueueinfo, parent, parent, libc::SIGKILL, &information),
            libc::syscall(libc::SYS_pidfd_send_signal, pidfd, libc::SIGKILL, 0, 0),
            libc::kill(0, libc::SIGKILL).into(),
            libc::kill(-parent, libc::SIGKILL).into(),
        ]
    };
    unsafe { libc::close(pidfd as i32) };
    answer_if(sent == [-1; 7])
}
