//! Kernel-wide objects that outlive their processes: System V IPC and POSIX shared memory names.

use std::fs;

/// The three kinds of System V objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SysvKind {
    /// Made by shmget(2).
    SharedMemory,
    /// Made by semget(2).
    Semaphores,
    /// Made by msgget(2).
    MessageQueue,
}

/// One System V object, from `/proc/sysvipc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SysvObject {
    /// What it is.
    pub kind: SysvKind,
    /// The identifier that `shmget` and the others return.
    pub id: i32,
    /// The key it was made with, 0 for `IPC_PRIVATE`.
    pub key: i32,
    /// The user id of its creator.
    pub creator: u32,
}

/// All System V objects in this IPC namespace, sorted. Kinds the kernel does not have are empty.
pub fn sysv_objects() -> Vec<SysvObject> {
    let mut objects = Vec::new();
    for (kind, file) in
        [(SysvKind::SharedMemory, "shm"), (SysvKind::Semaphores, "sem"), (SysvKind::MessageQueue, "msg")]
    {
        let table = fs::read_to_string(format!("/proc/sysvipc/{file}")).unwrap_or_default();
        objects.extend(parse(kind, &table));
    }
    objects.sort_unstable();
    objects
}

/// Names in `/dev/shm`, without the slash, sorted: POSIX shared memory, and semaphores as `sem.NAME`.
pub fn shm_names() -> Vec<String> {
    let Ok(entries) = fs::read_dir("/dev/shm") else { return Vec::new() };
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}

pub(super) fn parse(kind: SysvKind, table: &str) -> Vec<SysvObject> {
    let mut lines = table.lines();
    let Some(head) = lines.next() else { return Vec::new() };
    let column = |name: &str| head.split_ascii_whitespace().position(|title| title == name);
    let id_title = match kind {
        SysvKind::SharedMemory => "shmid",
        SysvKind::Semaphores => "semid",
        SysvKind::MessageQueue => "msqid",
    };
    let (Some(key), Some(id), Some(creator)) = (column("key"), column(id_title), column("cuid")) else {
        return Vec::new();
    };
    lines
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            Some(SysvObject {
                kind,
                id: fields.get(id)?.parse().ok()?,
                // Printed as a signed number by some kernels, as an unsigned one by others.
                key: fields.get(key)?.parse::<i64>().ok()? as i32,
                creator: fields.get(creator)?.parse().ok()?,
            })
        })
        .collect()
}
