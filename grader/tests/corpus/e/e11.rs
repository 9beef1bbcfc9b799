//! Asks for more than others have, and does not get it.
//!
//! expect: passed
//! tiers: 3 2 1 0

use crate::acts::*;

pub fn run() -> u64 {
    let more = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    let first = libc::sched_param { sched_priority: 1 };
    let given = unsafe {
        [
            libc::setrlimit(libc::RLIMIT_AS, &more),
            libc::setpriority(libc::PRIO_PROCESS, 0, -20),
            libc::sched_setscheduler(0, libc::SCHED_FIFO, &first),
        ]
    };
    let spared = std::fs::write("/proc/self/oom_score_adj", "-1000").is_ok();
    answer_if(given == [-1; 3] && !spared)
}
