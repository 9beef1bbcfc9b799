//! Sample submission: a student's half-finished lab 01. Each part has gone wrong in its own way.
//!
//! - part 1: works on a good day: `exit` instead of `_exit`, panics escape, an interrupted wait is an error
//! - part 2: waits for each worker before it reads what the worker has to say
//! - part 3: an `exit(0)` left over from trying things out
//! - part 4: right, but for the snapshot that is dropped
//! - part 5: forks and forgets

use std::io::{self, Read, Write};
use std::ops::Range;

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildExit {
    Code(u8),
    Signal(i32),
}

pub fn run_in_child(f: impl FnOnce() -> u8) -> io::Result<ChildExit> {
    // SAFETY: there is only one thread.
    match unsafe { fork() }? {
        ForkResult::Child => std::process::exit(f() as i32),
        ForkResult::Parent { child } => match waitpid(child, None)? {
            WaitStatus::Exited(_, code) => Ok(ChildExit::Code(code as u8)),
            WaitStatus::Signaled(_, signal, _) => Ok(ChildExit::Signal(signal as i32)),
            status => Err(io::Error::other(format!("{status:?}"))),
        },
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerDied;

pub fn fork_map<T>(
    items: &[T],
    workers: usize,
    f: impl Fn(&T) -> Vec<u8>,
) -> io::Result<Vec<Result<Vec<u8>, WorkerDied>>> {
    if workers == 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let workers = workers.min(items.len());
    let mut children = Vec::new();
    for worker in 0..workers {
        let (reader, mut writer) = io::pipe()?;
        // SAFETY: there is only one thread.
        match unsafe { fork() }? {
            ForkResult::Child => {
                for item in items.iter().skip(worker).step_by(workers) {
                    let result = f(item);
                    let _ = writer.write_all(&result.len().to_le_bytes());
                    let _ = writer.write_all(&result);
                }
                // SAFETY: ends the child.
                unsafe { libc::_exit(0) }
            }
            ForkResult::Parent { child } => children.push((child, reader)),
        }
    }
    for (child, _) in &children {
        waitpid(*child, None)?;
    }
    let mut results = vec![Err(WorkerDied); items.len()];
    for (worker, (_, reader)) in children.iter_mut().enumerate() {
        let mut index = worker;
        let mut length = [0; 8];
        while reader.read_exact(&mut length).is_ok() {
            let mut bytes = vec![0; usize::from_le_bytes(length)];
            if reader.read_exact(&mut bytes).is_err() {
                break;
            }
            results[index] = Ok(bytes);
            index += workers;
        }
    }
    Ok(results)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PageSharing {
    pub shared: usize,
    pub exclusive: usize,
    pub file: usize,
    pub absent: usize,
}

pub fn resident_sharing(range: Range<usize>) -> io::Result<PageSharing> {
    let map = std::fs::read_to_string("/proc/self/maps")?;
    for line in map.lines().take(3) {
        println!("{line}");
    }
    println!("looking for {range:x?}");
    std::process::exit(0);
}

#[derive(Debug)]
pub struct Snapshot {
    pid: Pid,
}

pub fn snapshot(state: &[u8], write: impl FnOnce(&[u8]) -> io::Result<()>) -> io::Result<Snapshot> {
    io::stdout().flush()?;
    // SAFETY: there is only one thread.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(Snapshot { pid: child }),
        ForkResult::Child => {
            let written = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| write(state)));
            let code = if matches!(written, Ok(Ok(()))) { 0 } else { 1 };
            // SAFETY: ends the child.
            unsafe { libc::_exit(code) }
        }
    }
}

impl Snapshot {
    pub fn finish(self) -> io::Result<()> {
        loop {
            match waitpid(self.pid, None) {
                Err(nix::Error::EINTR) => continue,
                Ok(WaitStatus::Exited(_, 0)) => return Ok(()),
                Ok(status) => return Err(io::Error::other(format!("{status:?}"))),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

pub fn daemonize(f: impl FnOnce()) -> io::Result<i32> {
    // SAFETY: there is only one thread.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child.as_raw()),
        ForkResult::Child => {
            f();
            // SAFETY: ends the child.
            unsafe { libc::_exit(0) }
        }
    }
}
