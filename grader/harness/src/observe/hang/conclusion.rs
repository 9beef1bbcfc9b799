//! Why nobody goes on, in one sentence, from who waits for whom. Pure: decides from what was seen.
//!
//! A wait ends when *any* of those it waits for moves. So the stuck threads are what is left after repeatedly removing each
//! thread that waits for nobody, or for somebody who can move. Of those, a cycle is the reason.

use super::ends::Direction;
use super::wait::{PipeWait, Wait};
use super::{Names, Process, Thread};

/// `None` if somebody can still move, or the reason is not known.
pub(super) fn conclude(processes: &[Process], names: &Names) -> Option<String> {
    let stuck = Stuck::among(processes);
    let sentence = self_wait(&stuck, names)
        .or_else(|| cycle(&stuck, names))
        .or_else(|| missed_wake_up(&stuck, names))
        .or_else(|| all_asleep(&stuck))?;
    Some(sentence)
}

/// The threads that can never go on.
struct Stuck<'a> {
    processes: &'a [Process],
    threads: Vec<(&'a Process, &'a Thread)>,
}

impl<'a> Stuck<'a> {
    fn among(processes: &'a [Process]) -> Stuck<'a> {
        let all =
            processes.iter().flat_map(|process| process.threads.iter().map(move |thread| (process, thread)));
        let waiting = all.filter(|(_, thread)| thread.wait != Wait::Nothing).collect();
        let mut stuck = Stuck { processes, threads: waiting };
        loop {
            let hopeless: Vec<(&Process, &Thread)> =
                stuck.threads.iter().copied().filter(|(_, thread)| !stuck.may_be_released(thread)).collect();
            if hopeless.len() == stuck.threads.len() {
                return stuck;
            }
            stuck.threads = hopeless;
        }
    }

    fn may_be_released(&self, thread: &Thread) -> bool {
        match &thread.wait {
            Wait::Nothing => true,
            Wait::Pipes(pipes) => pipes.iter().any(|pipe| {
                pipe.others.is_empty() || pipe.others.iter().any(|holder| self.can_move(holder.pid))
            }),
            Wait::Children(children) => children.iter().any(|child| self.can_move(*child)),
            Wait::Lock { holder, .. } => self.can_move(*holder),
            Wait::WakeUp { .. } => self.processes.iter().any(|process| self.can_move(process.pid)),
        }
    }

    /// Whether a process has a thread that is not stuck. Processes that were not looked at (the check is one) can.
    /// A zombie neither moves nor holds anything.
    fn can_move(&self, pid: i32) -> bool {
        let Some(process) = self.processes.iter().find(|process| process.pid == pid) else { return true };
        process.threads.iter().any(|thread| {
            !thread.has_ended() && !self.threads.iter().any(|(_, stuck)| stuck.tid == thread.tid)
        })
    }

    fn thread_of(&self, pid: i32) -> Option<&'a Thread> {
        self.threads.iter().find(|(process, _)| process.pid == pid).map(|(_, thread)| *thread)
    }
}

impl Thread {
    fn has_ended(&self) -> bool {
        self.words.starts_with("has ended")
    }

    /// The pipe it waits for, if it waits for one only.
    fn only_pipe(&self) -> Option<&PipeWait> {
        match &self.wait {
            Wait::Pipes(pipes) if pipes.len() == 1 => pipes.first(),
            _ => None,
        }
    }
}

/// A single-threaded process that keeps open the end it waits for itself.
fn self_wait(stuck: &Stuck<'_>, names: &Names) -> Option<String> {
    stuck.threads.iter().filter(|(process, _)| process.threads.len() == 1).find_map(|(process, thread)| {
        let pipe = thread.only_pipe()?;
        let own = pipe.others.iter().find(|holder| holder.pid == process.pid)?;
        let (who, fd) = (names.full(process.pid), own.fd);
        Some(match pipe.direction {
            // A FIFO: a pipe has a descriptor for each end.
            Direction::Reading if own.fd == pipe.fd => format!(
                "so nobody will ever write: {who} has the FIFO open for reading and writing in one (fd {fd}), so that there is never an \
                 end, and what it waits for has not been written, or was read before."
            ),
            Direction::Reading => format!(
                "so nobody will ever write: {who} waits for the end of a pipe whose write end it holds open itself. \
                 Close fd {fd} before reading."
            ),
            Direction::Writing => format!(
                "so nobody will ever read: {who} writes to a full pipe whose read end it holds open itself, and \
                 every other reader waits too. Close fd {fd} in the writer, and read while the writer writes."
            ),
        })
    })
}

/// Processes that wait for each other in a circle.
fn cycle(stuck: &Stuck<'_>, names: &Names) -> Option<String> {
    stuck.threads.iter().find_map(|(process, _)| {
        let mut path = vec![process.pid];
        while let Some(next) = path.last().and_then(|pid| successor(stuck, *pid)) {
            if let Some(start) = path.iter().position(|pid| *pid == next) {
                return Some(tell(stuck, &path[start..], names));
            }
            path.push(next);
        }
        None
    })
}

/// The first process that `pid` waits for. `None` if it waits for nobody in particular.
fn successor(stuck: &Stuck<'_>, pid: i32) -> Option<i32> {
    match &stuck.thread_of(pid)?.wait {
        Wait::Nothing | Wait::WakeUp { .. } => None,
        Wait::Pipes(pipes) => pipes.first()?.others.first().map(|holder| holder.pid),
        Wait::Children(children) => children.first().copied(),
        Wait::Lock { holder, .. } => Some(*holder),
    }
}

fn tell(stuck: &Stuck<'_>, circle: &[i32], names: &Names) -> String {
    let next = |index: usize| circle[(index + 1) % circle.len()];
    let waits: Vec<String> = circle
        .iter()
        .enumerate()
        .filter_map(|(index, pid)| Some(clause(*pid, next(index), &stuck.thread_of(*pid)?.wait, names)))
        .collect();
    let advice = circle
        .iter()
        .find_map(|pid| read_while_writing(*pid, circle, stuck, names))
        .or_else(|| {
            let mut waits = circle.iter().enumerate();
            waits.find_map(|(index, pid)| advice(&stuck.thread_of(*pid)?.wait, next(index), stuck, names))
        })
        .unwrap_or_default();
    format!("so none of them can go on: {}.{advice}", waits.join(", "))
}

/// "process 7 (worker 0) waits for its child process 8 to end".
fn clause(pid: i32, next: i32, wait: &Wait, names: &Names) -> String {
    let (who, whom) = (names.full(pid), names.short(next));
    match wait {
        Wait::Children(_) => format!("{who} waits for its child {whom} to end"),
        Wait::Lock { file, .. } => format!("{who} waits for the lock on {file} that {whom} holds"),
        Wait::Pipes(pipes) => {
            let target = pipes.first().map_or("a pipe", |pipe| pipe.target.as_str());
            match pipes.first().map(|pipe| pipe.direction) {
                Some(Direction::Writing) => {
                    format!("{who} waits for {whom} to read from {target}, which is full")
                }
                Some(Direction::Reading) | None => {
                    format!("{who} waits for {whom} to write to {target} or to close it")
                }
            }
        }
        Wait::Nothing | Wait::WakeUp { .. } => format!("{who} waits for {whom}"),
    }
}

/// What to change, if `pid` writes to a full pipe and another one of the circle to a full pipe that `pid` should read.
fn read_while_writing(pid: i32, circle: &[i32], stuck: &Stuck<'_>, names: &Names) -> Option<String> {
    let full_pipe = |pid: i32| match &stuck.thread_of(pid)?.wait {
        Wait::Pipes(pipes) => pipes.first().filter(|pipe| pipe.direction == Direction::Writing),
        _ => None,
    };
    full_pipe(pid)?;
    let fd = circle.iter().filter(|other| **other != pid).find_map(|other| {
        full_pipe(*other)?.others.iter().find(|holder| holder.pid == pid).map(|holder| holder.fd)
    })?;
    let who = names.short(pid);
    Some(format!(" Read fd {fd} in {who} while it writes: never wait for room in one pipe alone."))
}

/// What to change, if the process at the other end of the pipe waits for a child.
fn advice(wait: &Wait, next: i32, stuck: &Stuck<'_>, names: &Names) -> Option<String> {
    let Wait::Pipes(pipes) = wait else { return None };
    let Wait::Children(_) = stuck.thread_of(next)?.wait else { return None };
    let pipe = pipes.first()?;
    let fd = pipe.others.iter().find(|holder| holder.pid == next)?.fd;
    let whom = names.short(next);
    Some(match pipe.direction {
        Direction::Reading => format!(" Close fd {fd} in {whom} before it waits for the child."),
        Direction::Writing => format!(" Read fd {fd} to its end in {whom} before it waits for the child."),
    })
}

/// A sleeper whose futex word has changed.
fn missed_wake_up(stuck: &Stuck<'_>, names: &Names) -> Option<String> {
    stuck.threads.iter().find_map(|(process, thread)| match thread.wait {
        Wait::WakeUp { changed: Some((before, now)) } => Some(format!(
            "so a wake-up is missing: {} still sleeps although its word has changed from {before} to {now}, and \
             nobody is left to wake it. Whoever changes the word must wake those who wait for it.",
            names.full(process.pid)
        )),
        _ => None,
    })
}

/// All sleep, and at least one sleeper needs somebody to wake it.
fn all_asleep(stuck: &Stuck<'_>) -> Option<String> {
    let sleeps = stuck.threads.iter().any(|(_, thread)| matches!(thread.wait, Wait::WakeUp { .. }));
    sleeps.then(|| match stuck.threads.len() {
        1 => {
            "so nobody is left to wake it: it sleeps, and no other process of this check can move.".to_owned()
        }
        _ => {
            "so nobody is left to wake them: all of them sleep. A wake-up was lost, or never sent.".to_owned()
        }
    })
}
