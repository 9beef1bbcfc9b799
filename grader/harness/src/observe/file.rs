//! Files that a submission has made, or something else in their place.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The longest file that is read, in bytes.
const LONGEST: u64 = 64 << 20;

/// The contents of a regular file. No link is followed, no FIFO is waited for, and what is too long is an error.
///
/// # Errors
/// That of open(2) or read(2); `InvalidData` for anything but a regular file of at most 64 MiB.
pub fn contents(path: &Path) -> io::Result<Vec<u8>> {
    let no = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{} {what}", path.display()));
    if path.symlink_metadata()?.is_symlink() {
        return Err(no("is no regular file"));
    }
    let file = open(path)?;
    if !file.metadata()?.is_file() {
        return Err(no("is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST { Err(no("is too long")) } else { Ok(bytes) }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
}
