//! Runs other programs. Not in tier 0: the shell handles SIGCHLD without SA_RESTART, and its second fork fails with EINTR when
//! its first child ends before the warden of a busy machine has heard of that fork. ARCHITECTURE.md says so.
//!
//! expect: passed
//! tiers: 3 2 1

use crate::acts::*;

pub fn run() -> u64 {
    let said = std::process::Command::new("sh").args(["-c", "echo yes | cat"]).output().unwrap();
    answer_if(said.stdout == b"yes\n")
}
