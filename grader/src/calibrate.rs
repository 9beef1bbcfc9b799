//! How slow this machine is: deadlines are stretched by that factor. The best round counts, because the
//! time that other work takes away is not counted by a deadline anyway.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// One round of the loop on the machine the deadlines were chosen on.
const LOOP: Duration = Duration::from_micros(1000);
/// One fork, exit and wait there.
const FORK: Duration = Duration::from_micros(400);
/// Rounds of each; the best counts.
const ROUNDS: usize = 9;

/// A factor from 1 (as fast as expected, or faster) to 8.
///
/// Takes about 10 ms. Must be called while the process has one thread: it forks.
pub fn slowness() -> f64 {
    let factor = |best: Duration, expected: Duration| best.as_secs_f64() / expected.as_secs_f64();
    factor(best(count), LOOP).max(factor(best(fork_and_wait), FORK)).clamp(1.0, 8.0)
}

fn best(work: fn()) -> Duration {
    let times = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        work();
        start.elapsed()
    });
    times.min().unwrap_or_default()
}

fn count() {
    let mut state = 1u64;
    for _ in 0..200_000 {
        state = black_box(state).wrapping_mul(6_364_136_223_846_793_005) ^ (state >> 33);
    }
    black_box(state);
}

fn fork_and_wait() {
    // SAFETY: the process has one thread, and the child calls only `_exit`.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: ends the child at once, without destructors.
            unsafe { libc::_exit(0) }
        }
        child if child > 0 => {
            // SAFETY: waits for the child above; the status is not wanted.
            unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
        }
        // Out of processes: as slow as it gets, and the checks will say why.
        _ => {}
    }
}
