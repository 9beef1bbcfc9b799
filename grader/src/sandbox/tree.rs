//! The processes of a check seen from its warden: which outlived it, and how to end them all.

use std::time::{Duration, Instant};

use harness::observe;

use super::tier::Tier;

/// Longer than this nobody is waited for: a process that the kernel does not end now will not be ended by us.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a process is looked for that is there and is not seen, because it is always another one.
const CHASE: Duration = Duration::from_millis(500);

/// The living processes below the caller, by number and name.
pub fn living() -> Vec<String> {
    let start = Instant::now();
    loop {
        let seen = seen();
        while reap() {}
        if !seen.is_empty() || !observe::has_children() {
            return seen;
        }
        if start.elapsed() > CHASE {
            return vec!["a process that is always another one".to_owned()];
        }
    }
}

fn seen() -> Vec<String> {
    let family = observe::descendants_of(us()).into_iter();
    let alive = family.filter(|&pid| !observe::has_ended(pid));
    alive.map(|pid| format!("process {pid} ({})", observe::name_of(pid).unwrap_or_default())).collect()
}

/// Ends and reaps everything below the caller, which is a subreaper or the first process of its namespace.
pub fn end(tier: Tier, grader: i32) {
    let start = Instant::now();
    while observe::has_children() && start.elapsed() < PATIENCE {
        kill(tier, grader);
        while reap() {}
        std::thread::yield_now();
    }
}

fn kill(tier: Tier, grader: i32) {
    match tier {
        // SAFETY: as the first process of a namespace: everybody else in it, and nobody outside.
        Tier::SeparateUser | Tier::Namespaces if us() == 1 => unsafe {
            libc::kill(-1, libc::SIGKILL);
        },
        // At once: no fork outruns it.
        // SAFETY: from inside a domain that no signal leaves, which has just been tried.
        Tier::Domain if is_shut_in(grader) => unsafe {
            libc::kill(-1, libc::SIGKILL);
        },
        _ => {
            for pid in observe::descendants_of(us()) {
                // SAFETY: sends a signal to a process below us, whose number is not free before we have reaped it.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
        }
    }
}

/// Whether signals of ours stay inside: the grader, which we could signal otherwise, is out of reach.
fn is_shut_in(grader: i32) -> bool {
    // SAFETY: signal 0 is none.
    let reached = unsafe { libc::kill(grader, 0) };
    reached == -1 && std::io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

/// Reaps one child that has ended.
fn reap() -> bool {
    // SAFETY: no status is asked for.
    unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) > 0 }
}

fn us() -> i32 {
    std::process::id().cast_signed()
}
