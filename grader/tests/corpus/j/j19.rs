//! Traces its own child.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    match fork() {
        0 => unsafe {
            libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0);
            libc::raise(libc::SIGSTOP);
            leave()
        },
        child => unsafe {
            let mut status = 0;
            libc::waitpid(child, &mut status, 0);
            let stopped = libc::WIFSTOPPED(status);
            libc::ptrace(libc::PTRACE_CONT, child, 0, 0);
            libc::waitpid(child, &mut status, 0);
            answer_if(stopped && libc::WIFEXITED(status))
        },
    }
}
