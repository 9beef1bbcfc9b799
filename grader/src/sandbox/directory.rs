//! The private directory of a check, and how one is removed whatever a submission has made of it.

use std::collections::VecDeque;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A new directory; gone when dropped.
pub struct Directory(PathBuf);

impl Directory {
    /// Makes one of this name.
    ///
    /// # Errors
    /// [`Error::Internal`] when it cannot be made.
    pub fn create(scratch: &Path, name: &str) -> Result<Directory> {
        let path = scratch.join("run").join(name);
        fs::create_dir_all(&path).map_err(|error| Error::io("create", &path, &error))?;
        Ok(Directory(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

/// Removes a folder in which nobody works any more, and all that is in it.
pub fn remove(folder: &Path) {
    if fs::remove_dir_all(folder).is_err() {
        flatten(folder);
        let _ = fs::remove_dir_all(folder);
    }
}

/// Opens the folders in it, which may be shut, and brings all of them to the top, so that neither a path nor a row of open
/// folders gets too long.
fn flatten(root: &Path) {
    let mut waiting: VecDeque<PathBuf> = folders(root).into();
    for number in 0_u64.. {
        let Some(folder) = waiting.pop_front() else { return };
        let top = root.join(format!(".to be removed {number}"));
        let _ = fs::set_permissions(&folder, fs::Permissions::from_mode(0o700));
        if fs::rename(&folder, &top).is_ok() {
            waiting.extend(folders(&top));
        }
    }
}

/// The folders in a folder; a link to one is none.
fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_folder = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    entries.filter(is_folder).map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsRawFd, OwnedFd};

    use super::*;

    #[test]
    fn shut_folders_are_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let inner = folder.path().join("a/b");
        fs::create_dir_all(inner.join("c")).expect("folders");
        fs::set_permissions(&inner, fs::Permissions::from_mode(0o000)).expect("shut");
        remove(folder.path());
        assert!(!folder.path().exists());
    }

    #[test]
    fn folders_in_folders_without_end_are_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = |parent: Option<&OwnedFd>, name: &Path| {
            let flags = nix::fcntl::OFlag::O_DIRECTORY;
            let mode = nix::sys::stat::Mode::empty();
            match parent {
                Some(parent) => nix::fcntl::openat(parent, name, flags, mode),
                None => nix::fcntl::open(name, flags, mode),
            }
        };
        let mut deepest = open(None, folder.path()).expect("a folder");
        let name = "a".repeat(200);
        for _ in 0..1500 {
            // SAFETY: a C string, and a descriptor that is open.
            let made = unsafe {
                let name = std::ffi::CString::new(name.as_str()).expect("no zero");
                libc::mkdirat(deepest.as_raw_fd(), name.as_ptr(), 0o700)
            };
            assert_eq!(made, 0);
            deepest = open(Some(&deepest), Path::new(&name)).expect("a folder");
        }
        remove(folder.path());
        assert!(!folder.path().exists());
    }
}
