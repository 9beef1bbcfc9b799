//! Writes into its supervisor's memory, which does not work. In tier 0 that is Landlock's doing: two processes of one user.
//!
//! expect: passed
//! tiers: 3 2 1 0+landlock

use crate::acts::*;

pub fn run() -> u64 {
    let parent = unsafe { libc::getppid() };
    let opened = std::fs::OpenOptions::new().write(true).open(format!("/proc/{parent}/mem"));
    let mut byte = 1_u8;
    let part = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let written = unsafe { libc::process_vm_writev(parent, &part, 1, &part, 1, 0) };
    answer_if(opened.is_err() && written == -1)
}
