//! Runs a shell that runs two programs: it handles SIGCHLD without SA_RESTART, and forks while its first child ends.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "echo yes | cat"]);
    answer_if((0..20).all(|_| shell.output().unwrap().stdout == b"yes\n"))
}
