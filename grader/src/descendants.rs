//! Processes below the grader: which belong to a check, and how to end them all.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io::Read;
use std::process::{Child, Command};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use harness::observe::{has_children, has_ended};

/// Children that the grader started itself; every other child of ours is an adopted orphan.
static OWN: Mutex<Own> = Mutex::new(Own { running: Vec::new(), leaving: Vec::new() });

struct Own {
    /// By number.
    running: Vec<i32>,
    /// Those that nobody waits for any more.
    leaving: Vec<Child>,
}

/// More of a process's environment is not looked at; in bytes.
const MOST_ENVIRONMENT: u64 = 256 * 1024;

/// Starts a child that will not be taken for an orphan.
///
/// # Errors
/// As [`Command::spawn`].
pub fn spawn(command: &mut Command) -> std::io::Result<Child> {
    // Held during the spawn: nobody may look at our children between the fork and the registration.
    let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
    own.leaving.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    let child = command.spawn()?;
    own.running.push(child.id().cast_signed());
    Ok(child)
}

/// A child from [`spawn`] that is about to end, with nothing below it: it is reaped sometime.
pub fn let_go(child: Child) {
    let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
    own.running.retain(|running| *running != child.id().cast_signed());
    own.leaving.push(child);
}

/// Waits until those that were let go have ended. To be called when the grader is about to end itself.
pub fn wait_for_the_last() {
    let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
    for mut child in own.leaving.drain(..) {
        let _ = child.wait();
    }
}

/// To be called once a child from [`spawn`] has been waited for and its orphans have been ended.
pub fn forget(pid: i32) {
    OWN.lock().unwrap_or_else(PoisonError::into_inner).running.retain(|running| *running != pid);
}

/// Kills a process and everything below it.
pub fn kill(pid: i32) {
    Processes::now().kill(&[pid]);
}

/// Asks a warden to end its check.
pub fn tell_to_end(warden: i32) {
    // SAFETY: `kill` takes two integers; our own child has not been waited for.
    unsafe { libc::kill(warden, libc::SIGTERM) };
}

/// Kills and reaps what is left of the process group of a child that has ended.
pub fn end_group(group: i32) {
    // SAFETY: `kill` takes two integers; every process of the group descends from our child.
    unsafe { libc::kill(-group, libc::SIGKILL) };
    // SAFETY: waits for adopted children of that group, dead or just killed; the status is not wanted.
    while unsafe { libc::waitpid(-group, std::ptr::null_mut(), 0) } > 0 {}
}

/// Kills and reaps the orphans of a check process that has ended. Returns those that were still alive.
///
/// There is one only when the warden `check` could not end its own. It is told by `marker` in its environment. While
/// nothing else runs, every stranger among our children is one.
pub fn end_orphans(check: i32, marker: &str) -> Vec<String> {
    let own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut named = BTreeMap::new();
    let limit = Instant::now() + Duration::from_secs(10);
    loop {
        if !has_children() {
            return named.into_values().collect();
        }
        let processes = Processes::now();
        let us = std::process::id().cast_signed();
        let orphans: Vec<i32> = processes
            .children(us)
            .filter(|(pid, _)| !own.has(*pid) && (own.running == [check] || is_marked(*pid, marker)))
            .map(|(pid, _)| pid)
            .collect();
        if orphans.is_empty() || Instant::now() > limit {
            return named.into_values().collect();
        }
        for pid in orphans.iter().filter(|pid| !has_ended(**pid)) {
            let name = &processes.by_pid[pid].name;
            named.entry(*pid).or_insert_with(|| format!("process {pid} ({name})"));
        }
        processes.kill(&orphans);
        for pid in orphans {
            // SAFETY: waits for our own child `pid`, which is dead or was just killed; the status is not wanted.
            unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
        }
    }
}

impl Own {
    fn has(&self, pid: i32) -> bool {
        self.running.contains(&pid) || self.leaving.iter().any(|child| child.id().cast_signed() == pid)
    }
}

struct Process {
    name: String,
    parent: i32,
    group: i32,
}

/// The processes of this machine at one moment. One look is used for all there is to kill: a submission may leave
/// as many processes as the machine can hold.
struct Processes {
    by_pid: HashMap<i32, Process>,
    children: HashMap<i32, Vec<i32>>,
}

impl Processes {
    fn now() -> Processes {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let by_pid: HashMap<i32, Process> = pids.filter_map(|pid| Some((pid, process(pid)?))).collect();
        let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
        for (&pid, process) in &by_pid {
            children.entry(process.parent).or_default().push(pid);
        }
        Processes { by_pid, children }
    }

    fn children(&self, parent: i32) -> impl Iterator<Item = (i32, &Process)> {
        let children = self.children.get(&parent).into_iter().flatten();
        children.filter_map(|pid| Some((*pid, self.by_pid.get(pid)?)))
    }

    /// Kills `roots` and everything below them, the roots first: they must not start more while the others are killed.
    /// A process group dies as one, so that nothing in it outruns this by forking.
    fn kill(&self, roots: &[i32]) {
        let mut doomed = roots.to_vec();
        let mut seen: HashSet<i32> = doomed.iter().copied().collect();
        let mut next = 0;
        while let Some(&parent) = doomed.get(next) {
            doomed.extend(self.children(parent).map(|(pid, _)| pid).filter(|pid| seen.insert(*pid)));
            next += 1;
        }
        // SAFETY: `getpgrp` has no arguments.
        let ours = unsafe { libc::getpgrp() };
        let mut groups: HashSet<i32> = HashSet::from([0, 1, ours]);
        for pid in doomed {
            // SAFETY: `kill` takes two integers; the process and its group descend from us and are not reaped yet.
            unsafe {
                libc::kill(pid, libc::SIGKILL);
                if let Some(process) = self.by_pid.get(&pid)
                    && groups.insert(process.group)
                {
                    libc::kill(-process.group, libc::SIGKILL);
                }
            }
        }
    }
}

/// See proc_pid_stat(5): `pid (name) state parent group …`; the name may hold anything.
fn process(pid: i32) -> Option<Process> {
    let mut line = [0; 1024];
    // One call gives it all: what does not fit is not used here.
    let length = fs::File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut line).ok()?;
    let text = String::from_utf8_lossy(&line[..length]);
    let (before, after) = text.rsplit_once(')')?;
    let mut fields = after.split_whitespace().skip(1);
    Some(Process {
        name: before.split_once('(')?.1.to_owned(),
        parent: fields.next()?.parse().ok()?,
        group: fields.next()?.parse().ok()?,
    })
}

fn is_marked(pid: i32, marker: &str) -> bool {
    // A process decides itself how long its environment is; the marker comes first, or near.
    let mut environment = Vec::new();
    if let Ok(file) = fs::File::open(format!("/proc/{pid}/environ")) {
        let _ = file.take(MOST_ENVIRONMENT).read_to_end(&mut environment);
    }
    environment.split(|&byte| byte == 0).any(|variable| variable == marker.as_bytes())
}
