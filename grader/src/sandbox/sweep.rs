//! Objects of the kernel's that outlive their makers, where a check has no namespace of its own for them: which of the machine's
//! are the check's, and their removal.
//!
//! The warden hears of each call that may make one, whoever makes it: a submission by hand, or a program that it runs. So what
//! is removed in the end was made by the check, and another program's objects are not touched, not even those of the same
//! user, the same name and the same moment.

mod name;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use libc::{c_long, seccomp_data, seccomp_notif};

use self::name::{makes_names, new_name};
use super::unmapped::{Segment, segments};

/// Of those that have been removed, so many are named.
const NAMED: usize = 4;

/// Calls that the warden is asked about whatever their arguments.
pub const MAKING: [c_long; 14] = [
    libc::SYS_shmget,
    libc::SYS_semget,
    libc::SYS_msgget,
    libc::SYS_creat,
    // Its flags are in memory, where no filter reads them.
    libc::SYS_openat2,
    libc::SYS_mknod,
    libc::SYS_mknodat,
    libc::SYS_symlink,
    libc::SYS_symlinkat,
    libc::SYS_link,
    libc::SYS_linkat,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_renameat2,
];

/// Calls that the warden is asked about when they have O_CREAT among their flags, and which argument these are.
pub const OPENING: [(c_long, u8); 3] = [(libc::SYS_open, 1), (libc::SYS_openat, 2), (libc::SYS_mq_open, 1)];

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is made.
    GoOn,
    /// It has been made by the warden, and this has come of it: a number, or an error's below zero.
    Made(i64),
}

/// What the processes of a check have made.
#[derive(Debug)]
pub struct Objects {
    semaphores: Noted<i32>,
    queues: Noted<i32>,
    /// Processes that have made segments: the kernel knows the maker of each.
    makers: BTreeSet<i32>,
    /// Segments that were there before the check.
    before: BTreeSet<i32>,
    names: Noted<PathBuf>,
    /// All has been removed: nothing is made any more.
    is_over: bool,
}

impl Objects {
    /// To be called before the check begins.
    pub fn new() -> Objects {
        Objects {
            semaphores: Noted::new(),
            queues: Noted::new(),
            makers: BTreeSet::new(),
            before: segments().into_iter().map(|segment| segment.id).collect(),
            names: Noted::new(),
            is_over: false,
        }
    }

    /// What becomes of a call that has been asked about, if it is one of those that make objects. `is_there` says whether the
    /// process that asks still waits.
    pub fn answer(&mut self, asked: &seccomp_notif, is_there: impl Fn() -> bool) -> Option<Answer> {
        let call = c_long::from(asked.data.nr);
        match call {
            libc::SYS_semget => Some(self.make(call, &asked.data, 2)),
            libc::SYS_msgget => Some(self.make(call, &asked.data, 1)),
            libc::SYS_shmget => {
                let maker = process_of(asked.pid).filter(|_| is_there());
                self.makers.extend(maker);
                Some(Answer::GoOn)
            }
            _ if makes_names(call) => {
                if let Some(name) = new_name(asked).filter(|_| is_there()) {
                    self.names.insert(name, |name| fs::symlink_metadata(name).is_ok());
                }
                Some(Answer::GoOn)
            }
            _ => None,
        }
    }

    /// Semaphores and queues do not say who made them. So the warden makes them: it is the same user, and all arguments are plain
    /// numbers.
    fn make(&mut self, call: c_long, asked: &seccomp_data, flags_at: usize) -> Answer {
        let flags = asked.args[flags_at] as i32;
        let is_private = asked.args[0] as i32 == libc::IPC_PRIVATE;
        if !is_private && flags & libc::IPC_CREAT == 0 {
            return Answer::GoOn;
        }
        if self.is_over {
            return Answer::Made(-i64::from(libc::ENOSPC));
        }
        let get = |flags: i32| {
            let mut arguments = asked.args;
            arguments[flags_at] = u64::from(flags.cast_unsigned());
            // SAFETY: semget and msgget take integers only.
            let id = unsafe { libc::syscall(call, arguments[0], arguments[1], arguments[2]) };
            if id >= 0 { Ok(id) } else { Err(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)) }
        };
        loop {
            // What is there already is somebody's.
            let error = match get(flags | libc::IPC_CREAT | libc::IPC_EXCL) {
                Ok(id) => {
                    self.note(call, id as i32);
                    return Answer::Made(id);
                }
                Err(libc::EEXIST) if flags & libc::IPC_EXCL == 0 => match get(flags & !libc::IPC_CREAT) {
                    Ok(id) => return Answer::Made(id),
                    // It has gone meanwhile.
                    Err(libc::ENOENT) => continue,
                    Err(error) => error,
                },
                Err(error) => error,
            };
            return Answer::Made(-i64::from(error));
        }
    }

    fn note(&mut self, call: c_long, id: i32) {
        match call {
            libc::SYS_semget => self.semaphores.insert(id, |&id| is_semaphores(id)),
            _ => self.queues.insert(id, |&id| is_queue(id)),
        }
    }

    /// What the segments and the names take; in bytes.
    pub fn bytes(&self) -> u64 {
        let segments: u64 = self.segments().map(|segment| segment.bytes).sum();
        let files = self.names.things.iter().filter_map(own_file);
        segments + files.map(|file| file.blocks() * 512).sum::<u64>()
    }

    fn segments(&self) -> impl Iterator<Item = Segment> {
        let is_ours =
            |segment: &Segment| self.makers.contains(&segment.maker) && !self.before.contains(&segment.id);
        segments().into_iter().filter(is_ours)
    }

    /// Removes what is left. To be called when all processes of the check have ended.
    pub fn sweep(&mut self) -> Swept {
        self.is_over = true;
        let mut swept = Swept::default();
        // SAFETY: removal reads nothing but the number.
        unsafe {
            for segment in self.segments() {
                if libc::shmctl(segment.id, libc::IPC_RMID, std::ptr::null_mut()) == 0 {
                    swept.add(|| format!("System V shared memory with id {}", segment.id));
                }
            }
            for &id in &self.semaphores.things {
                if libc::semctl(id, 0, libc::IPC_RMID) == 0 {
                    swept.add(|| format!("System V semaphores with id {id}"));
                }
            }
            for &id in &self.queues.things {
                if libc::msgctl(id, libc::IPC_RMID, std::ptr::null_mut()) == 0 {
                    swept.add(|| format!("a System V message queue with id {id}"));
                }
            }
        }
        for name in &self.names.things {
            if own_file(name).is_some() && fs::remove_file(name).is_ok() {
                swept.add(|| format!("`{}`", name.display()));
            }
        }
        swept
    }
}

/// What has been removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Swept {
    /// How many objects.
    pub count: usize,
    /// The first of them.
    pub some: Vec<String>,
}

impl Swept {
    /// None at all.
    pub const NOTHING: Swept = Swept { count: 0, some: Vec::new() };

    /// One sentence about them, if there are any.
    pub fn sentence(&self) -> Option<String> {
        let (count, some) = (self.count, self.some.join(", "));
        let names = if count > self.some.len() { format!("{some}, …") } else { some };
        let are = match count {
            0 => return None,
            1 => "1 object of the kernel's that a check had left was".to_owned(),
            _ => format!("{count} objects of the kernel's that checks had left were"),
        };
        Some(format!("{are} removed: {names}"))
    }

    fn add(&mut self, name: impl FnOnce() -> String) {
        self.count += 1;
        if self.some.len() < NAMED {
            self.some.push(name());
        }
    }

    /// Adds what has been removed elsewhere.
    pub fn join(&mut self, other: Swept) {
        self.count += other.count;
        self.some.extend(other.some);
        self.some.truncate(NAMED);
    }
}

/// Things that a check has made. Those that it has removed itself are forgotten now and then: it may make any number.
#[derive(Debug)]
struct Noted<T> {
    things: BTreeSet<T>,
    room: usize,
}

impl<T: Ord> Noted<T> {
    fn new() -> Noted<T> {
        Noted { things: BTreeSet::new(), room: 1024 }
    }

    fn insert(&mut self, thing: T, is_there: impl Fn(&T) -> bool) {
        if self.things.len() >= self.room {
            self.things.retain(is_there);
            self.room = self.room.max(2 * self.things.len());
        }
        self.things.insert(thing);
    }
}

/// What has that name, if it is our user's.
fn own_file(name: &PathBuf) -> Option<fs::Metadata> {
    let us = nix::unistd::geteuid().as_raw();
    fs::symlink_metadata(name).ok().filter(|found| found.uid() == us)
}

fn is_semaphores(id: i32) -> bool {
    // SAFETY: asks for a number and passes none.
    unsafe { libc::semctl(id, 0, libc::GETPID) >= 0 }
}

fn is_queue(id: i32) -> bool {
    // SAFETY: all-zero is a valid `msqid_ds`, and valid for writing.
    unsafe {
        let mut status: libc::msqid_ds = std::mem::zeroed();
        libc::msgctl(id, libc::IPC_STAT, &raw mut status) == 0
    }
}

/// The process that a thread is one of.
fn process_of(thread: u32) -> Option<i32> {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Tgid:"))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_that_are_gone_are_forgotten() {
        let mut noted = Noted::new();
        (0..100_000).for_each(|thing| noted.insert(thing, |thing| *thing < 2000));
        assert!((2000..5000).contains(&noted.things.len()), "{}", noted.things.len());
    }

    #[test]
    fn few_are_named() {
        let mut swept = Swept::default();
        assert_eq!(swept.sentence(), None);
        swept.add(|| "`one`".to_owned());
        let sentence = "1 object of the kernel's that a check had left was removed: `one`";
        assert_eq!(swept.sentence().as_deref(), Some(sentence));
        (0..10).for_each(|number| swept.add(|| number.to_string()));
        swept.join(swept.clone());
        let sentence = "22 objects of the kernel's that checks had left were removed: `one`, 0, 1, 2, …";
        assert_eq!(swept.sentence().as_deref(), Some(sentence));
    }
}
