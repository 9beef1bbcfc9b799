//! Leaves daemons and waits: what the tests of interruptions are made with, and no test by itself.
//!
//! expect: inconclusive
//! deadline: 600

use crate::acts::*;

pub fn run() -> u64 {
    daemon(|| rest());
    daemon(|| unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, 0);
        libc::signal(libc::SIGTERM, libc::SIG_IGN);
        rest()
    });
    if fork() == 0 {
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, 0) };
    }
    rest()
}
