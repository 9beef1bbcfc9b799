//! What a check may take of the machine: limits that the kernel keeps for each process, and a look now and then at what all
//! processes of the check take together.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use harness::observe::{descendants_of, has_ended, thread_count_of};
use nix::sys::resource::{Resource as Rlimit, getrlimit, rlim_t, setrlimit};

use super::word::Resource;

/// The largest file, in bytes.
pub const LARGEST_FILE: u64 = 256 * MIB;
/// More than this in the check's directory ends the check, and no more goes into `/dev/shm`, where that is its own; in bytes.
pub const DISK: u64 = 512 * MIB;
/// More files than this in the check's directory end the check, and no more go into `/dev/shm`.
pub const FILES: u64 = 20_000;
/// What all System V segments together may hold, where the table is the check's own; in bytes.
pub const SEGMENTS: u64 = 512 * MIB;
/// More than this in memory files, deleted files, System V segments and `/dev/shm` together ends the check; in bytes.
pub const UNMAPPED: u64 = 768 * MIB;
/// Processes and threads, where the kernel can count those of one check.
pub const TASKS: u64 = 4096;

/// More processes than this end the check.
pub const PROCESSES: usize = 512;
/// More threads than this, in all its processes together, end the check. Fewer than [`TASKS`], or no look would see so many.
pub const THREADS: u64 = 2048;
/// More memory than this, in all its processes together, ends the check; in bytes.
pub const MEMORY: u64 = 2048 * MIB;
/// Address space of one process: room for many stacks and reserved regions; in bytes.
const ADDRESSES: u64 = 64 * 1024 * MIB;

const MIB: u64 = 1024 * 1024;

/// Sets the limits of the calling process and of all it starts, for good.
///
/// `tasks`: how many processes and threads its user may have, where the kernel counts them.
pub fn set(tasks: Option<u64>) -> io::Result<()> {
    let mut all = vec![
        (Rlimit::RLIMIT_CORE, 0),
        (Rlimit::RLIMIT_FSIZE, LARGEST_FILE),
        (Rlimit::RLIMIT_AS, ADDRESSES),
        // POSIX queues of the user, in bytes: the usual limit of the kernel.
        (Rlimit::RLIMIT_MSGQUEUE, 819_200),
    ];
    all.extend(tasks.map(|tasks| (Rlimit::RLIMIT_NPROC, tasks)));
    for (limit, most) in all {
        lower(limit, most)?;
    }
    // A file that would get too large is an error to whoever writes it, not its death.
    // SAFETY: no handler is installed.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    Ok(())
}

fn lower(limit: Rlimit, most: rlim_t) -> io::Result<()> {
    let (soft, hard) = getrlimit(limit)?;
    Ok(setrlimit(limit, soft.min(most), hard.min(most))?)
}

/// Processes and threads that the calling user has, about: a limit on all of them together must leave these room.
pub fn tasks_of_the_user() -> u64 {
    let us = nix::unistd::geteuid().as_raw();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ours = processes.filter(|process| process.metadata().is_ok_and(|process| process.uid() == us));
    let numbers = ours.filter_map(|process| process.file_name().to_str()?.parse().ok());
    numbers.map(thread_count_of).sum()
}

/// Whether the processes below `pid` take too much together.
pub fn exhausted(pid: i32) -> Option<Resource> {
    let family = descendants_of(pid);
    if family.len() > PROCESSES && living(&family) > PROCESSES {
        return Some(Resource::Processes);
    }
    if family.iter().map(|&pid| thread_count_of(pid)).sum::<u64>() > THREADS
        && living_threads(&family) > THREADS
    {
        return Some(Resource::Processes);
    }
    // Pages that several processes share count several times here, and once in the second, dearer look.
    let rough: u64 = family.iter().filter_map(|&pid| resident(pid)).sum();
    let exact = || {
        let shares = family.iter().filter_map(|&pid| proportional(pid).or_else(|| resident(pid)));
        shares.sum::<u64>()
    };
    (rough > MEMORY && exact() > MEMORY).then_some(Resource::Memory)
}

/// How many of these processes live: one that has ended and was not waited for takes nothing.
pub fn living(processes: &[i32]) -> usize {
    processes.iter().filter(|&&pid| !has_ended(pid)).count()
}

fn living_threads(processes: &[i32]) -> u64 {
    processes.iter().filter(|&&pid| !has_ended(pid)).map(|&pid| thread_count_of(pid)).sum()
}

/// What a check has in its directory, looked at now and then: the longer a look takes, the rarer it is.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
    next: Instant,
}

impl Disk {
    /// Nothing has been looked at yet.
    pub fn new(folder: PathBuf) -> Disk {
        Disk { folder, next: Instant::now() }
    }

    /// Whether there is too much. What has been deleted and is still open is not seen.
    pub fn exhausted(&mut self) -> Option<Resource> {
        let start = Instant::now();
        if start < self.next {
            return None;
        }
        let (bytes, files) = contents(&self.folder);
        self.next = start + start.elapsed() * 3;
        (bytes > DISK || files > FILES).then_some(Resource::Disk)
    }
}

/// Bytes and files below a folder; no more than what is too much is counted.
fn contents(folder: &Path) -> (u64, u64) {
    let (mut bytes, mut files) = (0, 0);
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder);
        if entries.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::InvalidFilename) {
            // Deeper than a path can be long: nobody sees what is in there.
            return (bytes, FILES + 1);
        }
        for entry in entries.into_iter().flatten().flatten() {
            let Ok(status) = entry.metadata() else { continue };
            if status.is_dir() {
                folders.push(entry.path());
            }
            // Not their length: a file with a hole takes less.
            bytes += status.blocks() * 512;
            files += 1;
            if bytes > DISK || files > FILES {
                return (bytes, files);
            }
        }
    }
    (bytes, files)
}

/// Resident memory in bytes: the second figure of `/proc/PID/statm`, in pages.
fn resident(pid: i32) -> Option<u64> {
    let figures = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    Some(figures.split(' ').nth(1)?.parse::<u64>().ok()? * 4096)
}

/// Resident memory in bytes, shared pages in equal parts.
fn proportional(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_family_is_not_too_much() {
        assert_eq!(exhausted(std::process::id().cast_signed()), None);
    }

    #[test]
    fn files_are_counted() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(folder.path().join("a/b")).expect("folders");
        fs::write(folder.path().join("a/b/c"), vec![1; 100_000]).expect("a file");
        let (bytes, files) = contents(folder.path());
        assert!(files == 3 && (90_000..400_000).contains(&bytes), "{bytes} in {files}");
    }

    #[test]
    fn memory_is_counted() {
        let us = std::process::id().cast_signed();
        let (all, part) = (resident(us).unwrap_or_default(), proportional(us).unwrap_or_default());
        assert!(part > 100 * 1024 && part <= all + MIB, "{part} of {all}");
    }
}
