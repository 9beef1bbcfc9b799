//! Why nothing moves: what each process waits for, in words, and the cycle that keeps it from going on.
//! Written when a deadline has passed, for a student who has to find the mistake.

mod conclusion;
mod ends;
pub(super) mod wait;

use super::process::{
    cpu_time_of, descendants_of, has_ended, name_of, parent_of, state_of, thread_cpu_time_of,
    thread_state_of, threads_of,
};
use super::syscall::{Activity, activity};
use ends::PipeEnds;
use std::time::Duration;
use wait::{Sight, Wait};

/// A named range of memory, so that the report says `the lock` and not an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// What the report calls it, for example `the lock`.
    pub name: String,
    /// First address, in the processes reported on.
    pub start: usize,
    /// Bytes.
    pub len: usize,
}

/// A process to report on, with its descendants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// Its pid.
    pub pid: i32,
    /// What the report calls it, for example `worker 1`.
    pub name: String,
}

/// Says what each process of `roots` and their descendants is doing, and why none goes on if that can be told. The roots are
/// called `worker 0`, `worker 1` and so on, or `the worker` if there is one. At most 40 lines; empty if none of the
/// processes exists. Of a crowd only some are looked at.
pub fn hang_report(roots: &[i32], labels: &[Label]) -> String {
    let name = |index| if roots.len() == 1 { "the worker".to_owned() } else { format!("worker {index}") };
    let roots: Vec<Root> =
        roots.iter().enumerate().map(|(index, pid)| Root { pid: *pid, name: name(index) }).collect();
    hang_report_of(&roots, labels)
}

/// As [`hang_report`], with names of the caller's choice.
pub fn hang_report_of(roots: &[Root], labels: &[Label]) -> String {
    let pids = family(roots);
    let names = Names::new(&pids, roots);
    let ends = PipeEnds::of(&pids, names.check);
    let sight = Sight { names: &names, ends: &ends, labels };
    let processes: Vec<Process> = pids.iter().filter_map(|pid| Process::look(*pid, &sight)).collect();
    let mut lines = bounded(processes.iter().flat_map(|process| process.lines(&names)).collect());
    lines.extend(conclusion::conclude(&processes, &names));
    lines.join("\n")
}

/// The most lines before the conclusion.
const LONGEST: usize = 38;
/// More processes, and threads of one, are not looked at: a submission may have any number of them.
const MOST: usize = 200;

fn bounded(mut lines: Vec<String>) -> Vec<String> {
    if lines.len() > LONGEST {
        let left_out = lines.len() - (LONGEST - 1);
        lines.truncate(LONGEST - 1);
        lines.push(format!("… and {left_out} lines more"));
    }
    lines
}

/// The roots and their descendants, each once.
fn family(roots: &[Root]) -> Vec<i32> {
    let mut pids = Vec::new();
    for root in roots {
        for pid in std::iter::once(root.pid).chain(descendants_of(root.pid)) {
            if pids.len() < MOST && !pids.contains(&pid) {
                pids.push(pid);
            }
        }
    }
    pids
}

/// What the report calls each process.
struct Names {
    check: i32,
    roles: Vec<(i32, String)>,
}

impl Names {
    fn new(pids: &[i32], roots: &[Root]) -> Names {
        let role = |pid: i32| {
            let root = roots.iter().find(|root| root.pid == pid);
            root.map(|root| root.name.clone())
                .or_else(|| parent_of(pid).map(|parent| format!("child of {parent}")))
                .unwrap_or_else(|| "gone".to_owned())
        };
        Names {
            check: std::process::id().cast_signed(),
            roles: pids.iter().map(|pid| (*pid, role(*pid))).collect(),
        }
    }

    /// `process 1234 (worker 1)`.
    fn full(&self, pid: i32) -> String {
        match self.roles.iter().find(|(known, _)| *known == pid) {
            Some((_, role)) => format!("process {pid} ({role})"),
            None => self.short(pid),
        }
    }

    /// `process 1234`, or `the check`.
    fn short(&self, pid: i32) -> String {
        if pid == self.check { "the check".to_owned() } else { format!("process {pid}") }
    }
}

/// A process and what its threads do.
struct Process {
    pid: i32,
    threads: Vec<Thread>,
}

/// A thread and what it does.
struct Thread {
    tid: i32,
    /// What it does: "waits in read(fd 4, pipe:[991])".
    words: String,
    /// Further lines about it.
    details: Vec<String>,
    wait: Wait,
}

impl Process {
    /// `None` if it has vanished.
    fn look(pid: i32, sight: &Sight<'_>) -> Option<Process> {
        let state = state_of(pid)?;
        if matches!(state, 'Z' | 'X') && has_ended(pid) {
            let parent =
                parent_of(pid).map_or_else(|| "its parent".to_owned(), |parent| sight.names.short(parent));
            let words = format!("has ended; {parent} has not waited for it yet (a zombie)");
            let thread = Thread { tid: pid, words, details: Vec::new(), wait: Wait::Nothing };
            return Some(Process { pid, threads: vec![thread] });
        }
        let threads = threads_of(pid).into_iter().take(MOST);
        let threads = threads.filter_map(|tid| Thread::look(pid, tid, sight)).collect();
        Some(Process { pid, threads })
    }

    fn lines(&self, names: &Names) -> Vec<String> {
        let mut lines = Vec::new();
        for thread in &self.threads {
            let name = match self.threads.len() {
                1 => names.full(self.pid),
                _ => format!("{}, thread {}", names.full(self.pid), thread.tid),
            };
            lines.push(format!("{name} {}", thread.words));
            lines.extend(thread.details.iter().map(|detail| format!("    {detail}")));
        }
        lines
    }
}

impl Thread {
    /// `None` if it has vanished.
    fn look(pid: i32, tid: i32, sight: &Sight<'_>) -> Option<Thread> {
        let state = thread_state_of(pid, tid)?;
        let plain = |words: String| Thread { tid, words, details: Vec::new(), wait: Wait::Nothing };
        Some(match state {
            'R' => plain(busy(pid, tid)),
            'T' => plain("is stopped: it got a stop signal, and nobody has sent SIGCONT".to_owned()),
            't' => plain("is stopped by the process that traces it".to_owned()),
            'Z' | 'X' => plain("has ended".to_owned()),
            _ => match activity(pid, tid) {
                Activity::Blocked(syscall) => wait::describe(pid, tid, syscall, sight),
                Activity::Running if state == 'D' => plain("waits for the disk or for memory".to_owned()),
                Activity::Running => plain(busy(pid, tid)),
                Activity::Unreadable => {
                    let program = name_of(pid).map_or_else(String::new, |name| format!(" (`{name}`)"));
                    plain(format!("sleeps{program}; what it waits for cannot be read"))
                }
            },
        })
    }
}

fn busy(pid: i32, tid: i32) -> String {
    let used = thread_cpu_time_of(tid).or_else(|| cpu_time_of(pid)).unwrap_or(Duration::ZERO);
    format!("is running (busy): it has used {:.1} s of processor time", used.as_secs_f64())
}
