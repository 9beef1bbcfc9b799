//! The machine: what it is, and on which of its processors a thread runs.

use std::ffi::CStr;
use std::fs;
use std::mem::{size_of, zeroed};
use std::process::Command;
use std::time::Duration;

/// The machine and the peers, each with its version.
pub fn description() -> String {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let rustc = Command::new("rustc").arg("--version").output();
    let rustc = rustc.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    // SAFETY: returns a string that is never freed.
    let libc = unsafe { CStr::from_ptr(libc::gnu_get_libc_version()) };
    format!(
        "{} processors {}, Linux {}, load {} when it began\nstd of {}, glibc {}, {}",
        processors().len(),
        std::env::consts::ARCH,
        kernel.trim(),
        load.split(' ').next().unwrap_or("unknown"),
        rustc.unwrap_or_default(),
        libc.to_string_lossy(),
        ["parking_lot", "crossbeam-channel", "rtrb"].map(version).join(", "),
    )
}

/// A peer's version, from the lock file.
fn version(package: &str) -> String {
    let lock = include_str!("../Cargo.lock");
    let entry = lock.split("[[package]]").find(|entry| entry.contains(&format!("name = \"{package}\"\n")));
    let version = entry.and_then(|entry| entry.split("version = \"").nth(1)?.split('"').next());
    format!("{package} {}", version.unwrap_or("of unknown version"))
}

/// Two threads or processes: each on a processor of its own, or both on one.
#[derive(Clone, Copy)]
pub enum Place {
    /// On two processors, if the machine has them.
    Apart,
    /// On one.
    Together,
}

impl Place {
    /// Puts the calling thread, one of two, where it belongs.
    pub fn take(self, index: usize) {
        pin(match self {
            Place::Apart => index,
            Place::Together => 0,
        });
    }

    /// For a title.
    pub fn name(self) -> &'static str {
        match self {
            Place::Apart => "on two processors",
            Place::Together => "on one processor",
        }
    }
}

/// Keeps the calling thread on one processor; the numbers go round.
pub fn pin(index: usize) {
    let processors = processors();
    // SAFETY: all-zero bytes are an empty set.
    let mut set: libc::cpu_set_t = unsafe { zeroed() };
    // SAFETY: the kernel has named this processor, so it is within the set.
    unsafe { libc::CPU_SET(processors[index % processors.len()], &mut set) };
    affinity(&set);
}

/// Lets the calling thread run anywhere again.
pub fn unpin() {
    // SAFETY: as in `pin`.
    let mut set: libc::cpu_set_t = unsafe { zeroed() };
    // SAFETY: as in `pin`.
    processors().iter().for_each(|&processor| unsafe { libc::CPU_SET(processor, &mut set) });
    affinity(&set);
}

fn affinity(set: &libc::cpu_set_t) {
    // SAFETY: a set of that size.
    let result = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), set) };
    assert_eq!(result, 0, "the kernel has named these processors");
}

/// How long the calling thread has had a processor.
pub fn processor_time() -> Duration {
    reading_of(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// How long all children that have ended, and those of theirs, have had a processor.
pub fn processor_time_of_children() -> Duration {
    // SAFETY: all-zero bytes are valid numbers.
    let mut usage: libc::rusage = unsafe { zeroed() };
    // SAFETY: a place for the answer.
    unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &mut usage) };
    [usage.ru_utime, usage.ru_stime]
        .map(|time| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000))
        .iter()
        .sum()
}

/// A clock that all processes share.
pub fn time() -> Duration {
    reading_of(libc::CLOCK_MONOTONIC)
}

fn reading_of(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a place for the time.
    unsafe { libc::clock_gettime(clock, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The numbers of the processors that this process may use, as they were at the beginning.
fn processors() -> &'static [usize] {
    static PROCESSORS: std::sync::OnceLock<Vec<usize>> = std::sync::OnceLock::new();
    PROCESSORS.get_or_init(|| {
        // SAFETY: as in `pin`.
        let mut set: libc::cpu_set_t = unsafe { zeroed() };
        // SAFETY: a set of that size.
        unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) };
        // SAFETY: all these numbers are within the set.
        (0..libc::CPU_SETSIZE as usize).filter(|&number| unsafe { libc::CPU_ISSET(number, &set) }).collect()
    })
}
