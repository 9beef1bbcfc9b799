//! Kills every number there is but its own. Not in tier 0: the programs of the same user are within reach there, as ARCHITECTURE.md
//! says of what remains possible.
//!
//! expect: passed
//! tiers: 3 2 1

use crate::acts::*;

pub fn run() -> u64 {
    let us = unsafe { libc::getpid() };
    let warden = above_the_supervisor()[0];
    // Nobody is killed who is a stranger: the numbers are the check's own, or the one nearest to it is out of its reach.
    if warden != 1 && unsafe { libc::kill(warden, 0) } == 0 {
        return 0;
    }
    for pid in (2..65_536).filter(|&pid| pid != us) {
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
    RIGHT
}
