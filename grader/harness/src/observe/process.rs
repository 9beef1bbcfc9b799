//! Processes and their relations, from `/proc/PID/stat` (proc_pid_stat(5)).

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Read;
use std::mem::MaybeUninit;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

/// The fields of `/proc/PID/stat` that are used here.
pub(super) struct Stat {
    pub(super) name: String,
    state: char,
    pub(super) parent: i32,
    session: i32,
    tty: i32,
}

/// Processes whose parent is `pid`, zombies included, in ascending order. Empty if `pid` does not exist.
pub fn children_of(pid: i32) -> Vec<i32> {
    if is_childless(pid) {
        return Vec::new();
    }
    let mut children: Vec<i32> =
        parents().into_iter().filter(|(_, parent)| *parent == pid).map(|(child, _)| child).collect();
    children.sort_unstable();
    children
}

/// Children, their children and so on, parents before their children. A process whose parent has died is no longer
/// a descendant (unless the heir, init or a subreaper, is one).
pub fn descendants_of(pid: i32) -> Vec<i32> {
    if is_childless(pid) {
        return Vec::new();
    }
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for (child, parent) in parents() {
        children.entry(parent).or_default().push(child);
    }
    let mut family = vec![pid];
    let mut seen = HashSet::from([pid]);
    let mut next = 0;
    while let Some(parent) = family.get(next) {
        next += 1;
        let mut born = children.remove(parent).unwrap_or_default();
        born.retain(|child| seen.insert(*child));
        family.extend(born);
    }
    family.split_off(1)
}

/// Whether the caller has a child, living or not yet waited for. The kernel knows at once, without a look at all processes.
pub fn has_children() -> bool {
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
    // SAFETY: reaps nobody, and writes nothing where it is given no place to. The raw call is not interposed.
    unsafe { libc::syscall(libc::SYS_waitid, libc::P_ALL, 0, 0, flags, 0) == 0 }
}

/// Whether `pid` is the caller, and has no child.
fn is_childless(pid: i32) -> bool {
    pid == std::process::id().cast_signed() && !has_children()
}

/// The state letter of proc(5): `R` running, `S` sleeping, `D` uninterruptible, `T` stopped, `t` traced, `Z` zombie.
/// `None` if there is no such process. For a process with threads this is the main thread's state: [`has_ended`] looks at all.
pub fn state_of(pid: i32) -> Option<char> {
    stat(&format!("/proc/{pid}/stat")).map(|stat| stat.state)
}

/// As [`state_of`], for one thread.
pub fn thread_state_of(pid: i32, tid: i32) -> Option<char> {
    stat(&format!("/proc/{pid}/task/{tid}/stat")).map(|stat| stat.state)
}

/// Whether there is no such process, or one that has ended and was not waited for. One whose first thread alone has ended
/// looks like that too, and goes on.
pub fn has_ended(pid: i32) -> bool {
    match state_of(pid) {
        None => true,
        Some('Z' | 'X') => thread_count_of(pid) <= 1,
        Some(_) => false,
    }
}

/// Children of `pid` that have ended and were not waited for.
pub fn zombies_of(pid: i32) -> Vec<i32> {
    let ended = |child: &i32| state_of(*child) == Some('Z') && has_ended(*child);
    children_of(pid).into_iter().filter(ended).collect()
}

/// How many threads `pid` has, 0 if there is no such process. Their folder says so without being read: a folder has two links,
/// and one for each folder in it.
pub fn thread_count_of(pid: i32) -> u64 {
    fs::metadata(format!("/proc/{pid}/task")).map_or(0, |folder| folder.nlink().saturating_sub(2))
}

/// Thread ids of `pid`, ascending. Empty if there is no such process.
pub fn threads_of(pid: i32) -> Vec<i32> {
    numbers_in(&format!("/proc/{pid}/task"))
}

/// The parent's pid, `None` if there is no such process.
pub fn parent_of(pid: i32) -> Option<i32> {
    stat(&format!("/proc/{pid}/stat")).map(|stat| stat.parent)
}

/// The session id, `None` if there is no such process.
pub fn session_of(pid: i32) -> Option<i32> {
    stat(&format!("/proc/{pid}/stat")).map(|stat| stat.session)
}

/// The device number of the controlling terminal, 0 if it has none; `None` if there is no such process.
pub fn tty_of(pid: i32) -> Option<i32> {
    stat(&format!("/proc/{pid}/stat")).map(|stat| stat.tty)
}

/// The name of the program, at most 15 bytes; `None` if there is no such process.
pub fn name_of(pid: i32) -> Option<String> {
    stat(&format!("/proc/{pid}/stat")).map(|stat| stat.name)
}

/// Processor time used by all threads of `pid` so far, to the nanosecond; `None` if there is no such process.
pub fn cpu_time_of(pid: i32) -> Option<Duration> {
    let mut clock: libc::clockid_t = 0;
    // SAFETY: `clock` is valid for writing.
    if unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) } != 0 {
        return None;
    }
    time_on(clock)
}

/// Processor time used by one thread.
pub(super) fn thread_cpu_time_of(tid: i32) -> Option<Duration> {
    // The thread clock of the kernel's posix-cpu-timers: the inverted id, "per thread" (4) and "scheduler time" (2).
    time_on((!tid << 3) | 4 | 2)
}

fn time_on(clock: libc::clockid_t) -> Option<Duration> {
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: `time` is valid for writing one timespec.
    if unsafe { libc::clock_gettime(clock, time.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: clock_gettime returned 0, so it wrote the time.
    let time = unsafe { time.assume_init() };
    Some(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

/// Each process and its parent.
fn parents() -> Vec<(i32, i32)> {
    numbers_in("/proc").into_iter().filter_map(|pid| Some((pid, parent_of(pid)?))).collect()
}

/// The entries of a directory that are numbers, ascending.
pub(super) fn numbers_in(directory: &str) -> Vec<i32> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut numbers: Vec<i32> =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    numbers
}

fn stat(path: &str) -> Option<Stat> {
    let mut line = [0; 1024];
    // One call gives it all: what does not fit is not used here.
    let length = File::open(path).ok()?.read(&mut line).ok()?;
    parse(&String::from_utf8_lossy(&line[..length]))
}

/// The name is in parentheses and may itself contain spaces and parentheses.
pub(super) fn parse(line: &str) -> Option<Stat> {
    let (start, end) = (line.find('(')?, line.rfind(')')?);
    let mut fields = line.get(end + 1..)?.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let mut number = || fields.next()?.parse::<i32>().ok();
    let (parent, _group, session, tty) = (number()?, number()?, number()?, number()?);
    Some(Stat { name: line.get(start + 1..end)?.to_owned(), state, parent, session, tty })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_was_not_waited_for_is_one() {
        // SAFETY: the child ends at once; it is waited for below.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: ends the child.
            unsafe { libc::_exit(0) };
        }
        let us = std::process::id().cast_signed();
        let (one, seen) = (has_children(), children_of(us).contains(&child));
        // SAFETY: our own child; no status is asked for.
        unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
        assert!(one && seen);
        assert!(!children_of(us).contains(&child) && !descendants_of(us).contains(&child));
    }

    #[test]
    fn a_process_goes_on_without_its_first_thread() {
        extern "C" fn wait(_: *mut libc::c_void) -> i32 {
            loop {
                // SAFETY: waits for a signal.
                unsafe { libc::pause() };
            }
        }
        let mut stack = vec![0_u8; 64 * 1024];
        let top = stack.as_mut_ptr_range().end;
        // SAFETY: the child makes only system calls; it is killed and waited for below.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let flags = libc::CLONE_VM | libc::CLONE_SIGHAND | libc::CLONE_THREAD;
            // SAFETY: the child's copy of the stack is the new thread's alone; then this thread ends, and not the process.
            unsafe {
                libc::clone(wait, top.cast(), flags, std::ptr::null_mut());
                libc::syscall(libc::SYS_exit, 0);
            }
        }
        while state_of(child) != Some('Z') {
            std::thread::yield_now();
        }
        assert!(!has_ended(child) && thread_count_of(child) == 2);
        assert!(!zombies_of(std::process::id().cast_signed()).contains(&child));
        // SAFETY: our own child, not waited for yet; what `waitid` writes it is given a place for, and it reaps nobody.
        unsafe {
            let mut ended = MaybeUninit::<libc::siginfo_t>::uninit();
            libc::kill(child, libc::SIGKILL);
            libc::waitid(
                libc::P_PID,
                child.cast_unsigned(),
                ended.as_mut_ptr(),
                libc::WEXITED | libc::WNOWAIT,
            );
        }
        assert!(has_ended(child) && zombies_of(std::process::id().cast_signed()).contains(&child));
        // SAFETY: our own child; no status is asked for.
        unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
        assert!(has_ended(child) && thread_count_of(child) == 0);
    }

    #[test]
    fn a_program_name_may_contain_spaces_and_parentheses() {
        let stat = parse("12 (a) b (c) S 7 8 9 1025 -1 0").expect("a stat line");
        assert_eq!(
            (stat.name.as_str(), stat.state, stat.parent, stat.session, stat.tty),
            ("a) b (c", 'S', 7, 9, 1025)
        );
    }
}
