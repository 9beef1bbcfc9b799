//! Names in folders of the kernel's that a call is about to make, read from the memory of the process that waits to make it.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use libc::{c_long, seccomp_notif};

/// Folders of names that are objects of the kernel's.
const FOLDERS: [&str; 2] = ["/dev/shm", "/dev/mqueue"];
/// Of a path no more is read; in bytes.
const LONGEST_PATH: usize = 4096;
/// A chain of links is followed no further.
const MOST_LINKS: usize = 8;
/// A call that makes a name in a folder: the arguments in which the folder's descriptor and the path are.
type Naming = (c_long, Option<usize>, usize);

const NAMING: [Naming; 14] = [
    (libc::SYS_open, None, 0),
    (libc::SYS_openat, Some(0), 1),
    (libc::SYS_openat2, Some(0), 1),
    (libc::SYS_creat, None, 0),
    (libc::SYS_mq_open, None, 0),
    (libc::SYS_mknod, None, 0),
    (libc::SYS_mknodat, Some(0), 1),
    (libc::SYS_symlink, None, 1),
    (libc::SYS_symlinkat, Some(1), 2),
    (libc::SYS_link, None, 1),
    (libc::SYS_linkat, Some(2), 3),
    (libc::SYS_rename, None, 1),
    (libc::SYS_renameat, Some(2), 3),
    (libc::SYS_renameat2, Some(2), 3),
];

/// Whether it is such a call.
pub fn makes_names(call: c_long) -> bool {
    NAMING.iter().any(|naming| naming.0 == call)
}

/// The name that a call would make in one of the folders: none where there is one already, or somewhere else.
pub fn new_name(asked: &seccomp_notif) -> Option<PathBuf> {
    let &(call, folder, path) = NAMING.iter().find(|naming| naming.0 == c_long::from(asked.data.nr))?;
    let arguments = &asked.data.args;
    if call == libc::SYS_openat2 && !creates(asked.pid, arguments[2]) {
        return None;
    }
    let path = path_in(asked.pid, arguments[path])?;
    if call == libc::SYS_mq_open {
        return is_new(&Path::new(FOLDERS[1]).join(path.file_name()?));
    }
    let process = format!("/proc/{}", asked.pid);
    let here = match folder.map(|at| arguments[at] as i32) {
        None | Some(libc::AT_FDCWD) => format!("{process}/cwd"),
        Some(fd) => format!("{process}/fd/{fd}"),
    };
    let mut path = match path.is_absolute() {
        true => path,
        false => fs::read_link(here).ok()?.join(path),
    };
    for _ in 0..MOST_LINKS {
        // By way of links, too.
        let place = fs::canonicalize(path.parent()?).ok()?.join(path.file_name()?);
        match fs::read_link(&place) {
            Ok(target) if follows_links(call) => path = place.parent()?.join(target),
            Ok(_) => return None,
            Err(_) => return is_new(&place),
        }
    }
    None
}

/// Whether the call goes where a link leads that has the name already.
fn follows_links(call: c_long) -> bool {
    matches!(call, libc::SYS_open | libc::SYS_openat | libc::SYS_openat2 | libc::SYS_creat)
}

/// The path, if it is in one of the folders and not taken.
fn is_new(path: &Path) -> Option<PathBuf> {
    let is_inside = FOLDERS.iter().any(|folder| path.parent() == Some(Path::new(folder)));
    let is_free = || fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    (is_inside && is_free()).then(|| path.to_owned())
}

/// A C string in the memory of a process below us.
fn path_in(pid: u32, address: u64) -> Option<PathBuf> {
    let mut bytes = memory(pid, address, LONGEST_PATH)?;
    let end = bytes.iter().position(|&byte| byte == 0)?;
    bytes.truncate(end);
    Some(PathBuf::from(OsString::from_vec(bytes)))
}

/// Whether O_CREAT is among the flags of a `struct open_how`, which begins with them.
fn creates(pid: u32, address: u64) -> bool {
    let flags = memory(pid, address, 8).and_then(|bytes| Some(u64::from_ne_bytes(bytes.try_into().ok()?)));
    flags.is_some_and(|flags| flags & libc::O_CREAT as u64 != 0)
}

/// So many bytes, or less where they end.
fn memory(pid: u32, address: u64, length: usize) -> Option<Vec<u8>> {
    let memory = fs::File::open(format!("/proc/{pid}/mem")).ok()?;
    let mut bytes = vec![0; length];
    let length = memory.read_at(&mut bytes, address).ok()?;
    bytes.truncate(length);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a call of this process would make.
    fn named(call: c_long, arguments: [u64; 6]) -> Option<PathBuf> {
        // SAFETY: all-zero is a valid `seccomp_notif`.
        let mut asked: seccomp_notif = unsafe { std::mem::zeroed() };
        (asked.pid, asked.data.nr, asked.data.args) = (std::process::id(), call as i32, arguments);
        new_name(&asked)
    }

    #[track_caller]
    fn check(path: &str, expected: Option<&str>) {
        let path = std::ffi::CString::new(path).expect("no zero");
        let (here, address) = (libc::AT_FDCWD as u64, path.as_ptr() as u64);
        let expected = expected.map(PathBuf::from);
        assert_eq!(named(libc::SYS_openat, [here, address, libc::O_CREAT as u64, 0, 0, 0]), expected);
        assert_eq!(named(libc::SYS_creat, [address, 0, 0, 0, 0, 0]), expected);
        assert_eq!(named(libc::SYS_rename, [0, address, 0, 0, 0, 0]), expected);
        assert_eq!(named(libc::SYS_mknodat, [here, address, 0, 0, 0, 0]), expected);
    }

    #[test]
    fn a_name_in_shared_memory_is_known() {
        check("/dev/shm/a name that nobody has", Some("/dev/shm/a name that nobody has"));
        check("/dev/../dev//shm/./a name that nobody has", Some("/dev/shm/a name that nobody has"));
    }

    #[test]
    fn other_names_are_not_looked_at() {
        check("/dev/shm", None);
        check("/dev/shm/folder/name", None);
        check("name", None);
        check("/", None);
        check("", None);
    }

    #[test]
    fn a_name_that_is_taken_is_somebody_elses() {
        let folder = tempfile::tempdir_in("/dev/shm").expect("a folder");
        check(&folder.path().to_string_lossy(), None);
    }

    #[test]
    fn memory_that_is_none_names_nothing() {
        assert_eq!(named(libc::SYS_creat, [1, 0, 0, 0, 0, 0]), None);
        assert_eq!(named(libc::SYS_openat2, [libc::AT_FDCWD as u64, 1, 1, 24, 0, 0]), None);
    }
}
