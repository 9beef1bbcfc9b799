//! Has a shell leave a file in `/dev/shm`.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    let script = format!("umask 077; echo text > /dev/shm/corpus-shell-{}", std::process::id());
    let status = std::process::Command::new("/bin/sh").arg("-c").arg(script).status();
    answer_if(status.unwrap().success())
}
