//! Objects that outlive their processes: System V IPC, and names in `/dev/shm` and `/dev/mqueue`.
//!
//! Written down when a worker makes one, in memory that every worker shares, and removed at the end of
//! the check if they are still there and were not there before. So nothing is touched that another
//! program of this machine has made meanwhile. What is made by a raw system call escapes the record.

use std::ffi::{CStr, CString, c_char};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::observe::{self, SysvKind, SysvObject};
use crate::panics::Text;
use crate::shared::SharedSlice;

const ENTRIES: usize = 256;

static RECORD: OnceLock<Record> = OnceLock::new();

struct Record {
    entries: SharedSlice<Entry>,
    before: Vec<SysvObject>,
    before_names: Vec<String>,
}

/// One object. `state` is 0 while free, 1 while being written, 2 when complete.
struct Entry {
    state: AtomicU32,
    /// 0 for a name, else one more than the kind's place in [`KINDS`].
    kind: AtomicU32,
    id: AtomicU32,
    path: Text<280>,
}

const KINDS: [SysvKind; 3] = [SysvKind::SharedMemory, SysvKind::Semaphores, SysvKind::MessageQueue];

/// Begins the record. Call once, before the first worker.
pub(crate) fn install() {
    RECORD.get_or_init(|| Record {
        entries: SharedSlice::new(ENTRIES, |_| Entry {
            state: AtomicU32::new(0),
            kind: AtomicU32::new(0),
            id: AtomicU32::new(0),
            path: Text::new(),
        }),
        before: observe::sysv_objects(),
        before_names: names(),
    });
}

/// A System V object was made or found by this process. Passes the id on; -1 is no object.
pub(crate) fn made(kind: SysvKind, id: i32) -> i32 {
    if id >= 0 {
        let kind = KINDS.iter().position(|known| *known == kind).map_or(0, |place| place as u32 + 1);
        write(kind, id, "");
    }
    id
}

/// A name was made or found in a folder of the kernel's.
///
/// # Safety
/// `name` is a C string.
pub(crate) unsafe fn named(folder: &str, prefix: &str, name: *const c_char) {
    // SAFETY: the caller's promise.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
    write(0, 0, &format!("{folder}/{prefix}{}", name.trim_start_matches('/')));
}

fn write(kind: u32, id: i32, path: &str) {
    let Some(record) = RECORD.get() else { return };
    let is_known = |entry: &Entry| {
        entry.state.load(Ordering::Acquire) == 2
            && entry.kind.load(Ordering::Relaxed) == kind
            && entry.id.load(Ordering::Relaxed) == id.cast_unsigned()
            && entry.path.get() == path
    };
    // A check may open the same object many times.
    if record.entries.iter().any(is_known) {
        return;
    }
    let free = record
        .entries
        .iter()
        .find(|entry| entry.state.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok());
    let Some(entry) = free else { return };
    entry.kind.store(kind, Ordering::Relaxed);
    entry.id.store(id.cast_unsigned(), Ordering::Relaxed);
    entry.path.set(path);
    // Release: pairs with the Acquire in `remove`.
    entry.state.store(2, Ordering::Release);
}

/// Removes what the workers have made and not removed. Returns one description each.
pub(super) fn remove() -> Vec<String> {
    let Some(record) = RECORD.get() else { return Vec::new() };
    // SAFETY: takes nothing, cannot fail.
    let us = unsafe { libc::geteuid() };
    let objects = observe::sysv_objects();
    let complete = record.entries.iter().filter(|entry| entry.state.load(Ordering::Acquire) == 2);
    complete
        .filter_map(|entry| {
            let kind = (entry.kind.load(Ordering::Relaxed) as usize).checked_sub(1);
            let Some(kind) = kind.and_then(|place| KINDS.get(place)) else {
                return remove_name(&entry.path.get(), &record.before_names);
            };
            let id = entry.id.load(Ordering::Relaxed).cast_signed();
            let is_it =
                |object: &&SysvObject| object.kind == *kind && object.id == id && object.creator == us;
            let object = objects.iter().find(is_it)?;
            (!record.before.contains(object)).then(|| remove_sysv(object))
        })
        .collect()
}

fn remove_sysv(object: &SysvObject) -> String {
    let nothing = std::ptr::null_mut::<libc::msqid_ds>();
    // SAFETY: removal reads no argument but the id, which is of that kind.
    let (name, _) = unsafe {
        match object.kind {
            SysvKind::SharedMemory => {
                ("System V shared memory", libc::shmctl(object.id, libc::IPC_RMID, nothing.cast()))
            }
            SysvKind::Semaphores => ("System V semaphores", libc::semctl(object.id, 0, libc::IPC_RMID)),
            SysvKind::MessageQueue => {
                ("a System V message queue", libc::msgctl(object.id, libc::IPC_RMID, nothing))
            }
        }
    };
    format!("{name} with id {}", object.id)
}

fn remove_name(path: &str, before: &[String]) -> Option<String> {
    if before.iter().any(|known| known == path) {
        return None;
    }
    // The queues of the kernel need not be mounted anywhere: their names are removed by mq_unlink(3).
    if let Some(name) = path.strip_prefix("/dev/mqueue/") {
        let name = CString::new(format!("/{name}")).ok()?;
        // SAFETY: a C string; the queue is one that a worker has made.
        let removed = unsafe { libc::mq_unlink(name.as_ptr()) } == 0;
        return removed.then(|| format!("the message queue {}", name.to_string_lossy()));
    }
    std::fs::remove_file(Path::new(path)).ok().map(|()| format!("`{path}`"))
}

/// The names that are there now.
fn names() -> Vec<String> {
    let shared = observe::shm_names().into_iter().map(|name| format!("/dev/shm/{name}"));
    let queues = std::fs::read_dir("/dev/mqueue").into_iter().flatten().flatten();
    shared.chain(queues.map(|entry| entry.path().to_string_lossy().into_owned())).collect()
}
