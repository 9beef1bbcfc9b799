//! Memory and room on the disk that neither a process nor a folder of the check shows: memory files, deleted files that are
//! still open, System V segments, and what is new in `/dev/shm`.
//!
//! A descriptor that is under way in a socket is not seen, nor one that its only holder has closed after mapping it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

use harness::observe::{descendants_of, state_of};

use super::limits::UNMAPPED;

/// What is looked at now and then: the longer a look takes, the rarer it is.
#[derive(Debug)]
pub struct Unmapped {
    /// What was there before the check, which is somebody else's.
    segments: BTreeSet<i32>,
    names: BTreeSet<u64>,
    next: Instant,
}

impl Unmapped {
    /// To be called before the check begins.
    pub fn new() -> Unmapped {
        let segments = segments().into_iter().map(|segment| segment.id).collect();
        Unmapped { segments, names: shared_names().into_keys().collect(), next: Instant::now() }
    }

    /// Whether there is too much of it. `made` says what the processes below `pid` are known to have made of the segments and names;
    /// none where nobody else could.
    pub fn look(&mut self, pid: i32, made: impl FnOnce() -> Option<u64>) -> Option<Taken> {
        let start = Instant::now();
        if start < self.next {
            return None;
        }
        let family = descendants_of(pid);
        let (nameless, new) = (nameless(&family), self.new_bytes(&family));
        let taken = judge(nameless, made(), new);
        self.next = start + start.elapsed() * 3;
        taken
    }

    /// Segments and names that were not there before. A segment counts when its maker is one of the family or has ended.
    fn new_bytes(&self, family: &[i32]) -> u64 {
        let is_new = |segment: &&Segment| {
            !self.segments.contains(&segment.id)
                && (family.contains(&segment.maker) || state_of(segment.maker).is_none())
        };
        let segments: u64 = segments().iter().filter(is_new).map(|segment| segment.bytes).sum();
        let names = shared_names().into_iter().filter(|(file, _)| !self.names.contains(file));
        let names: u64 = names.map(|(_, bytes)| bytes).sum();
        segments + names
    }
}

/// Who has taken too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// The check, as is known.
    ByTheCheck,
    /// The check, or another one of this moment, or another program. It is stopped too, which is better than a machine without memory,
    /// but nothing is said against it.
    BySomebody,
}

/// In bytes: what the check's processes have open, what they have made, what is new.
fn judge(nameless: u64, made: Option<u64>, new: u64) -> Option<Taken> {
    if nameless + made.unwrap_or(new) > UNMAPPED {
        Some(Taken::ByTheCheck)
    } else {
        (nameless + new > UNMAPPED).then_some(Taken::BySomebody)
    }
}

/// Files without a name that the processes have open, each once; in bytes.
fn nameless(family: &[i32]) -> u64 {
    let mut files = BTreeMap::new();
    for pid in family {
        for descriptor in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            let Ok(file) = fs::metadata(descriptor.path()) else { continue };
            if file.is_file() && file.nlink() == 0 {
                files.insert((file.dev(), file.ino()), file.blocks() * 512);
            }
        }
    }
    files.values().sum()
}

/// Our user's files in `/dev/shm`, by inode, with what they take in bytes.
fn shared_names() -> BTreeMap<u64, u64> {
    let us = nix::unistd::geteuid();
    let mut files = BTreeMap::new();
    let mut folders = vec![Path::new("/dev/shm").to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(file) if file.uid() != us.as_raw() && is_shared_by_all() => {}
                Ok(folder) if folder.is_dir() => folders.push(entry.path()),
                Ok(file) => {
                    files.insert(file.ino(), file.blocks() * 512);
                }
                Err(_) => {}
            }
        }
    }
    files
}

/// Whether `/dev/shm` is the machine's: in namespaces we are the first process.
fn is_shared_by_all() -> bool {
    std::process::id() != 1
}

/// A System V segment.
pub struct Segment {
    /// Its number.
    pub id: i32,
    /// The process that has made it.
    pub maker: i32,
    /// Of memory and swap that it really takes.
    pub bytes: u64,
}

/// Those that there are now.
pub fn segments() -> Vec<Segment> {
    segments_in(&fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default())
}

fn segments_in(table: &str) -> Vec<Segment> {
    let mut lines = table.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let head = lines.next().unwrap_or_default();
    let segment = |fields: Vec<&str>| {
        let field = |title| fields.get(head.iter().position(|known| *known == title)?).copied();
        let bytes = |title| field(title)?.parse::<u64>().ok();
        Some(Segment {
            id: field("shmid")?.parse().ok()?,
            maker: field("cpid")?.parse().ok()?,
            bytes: bytes("rss")?.saturating_add(bytes("swap")?),
        })
    };
    lines.filter_map(segment).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memory_file_is_counted_once() {
        use std::io::Write;
        // SAFETY: the name is a C string, and the new descriptor is nobody else's.
        let mut file: fs::File = unsafe {
            use std::os::fd::FromRawFd;
            fs::File::from_raw_fd(libc::memfd_create(c"counted".as_ptr(), libc::MFD_CLOEXEC))
        };
        let us = std::process::id().cast_signed();
        let before = nameless(&[us]);
        file.write_all(&vec![1; 8 << 20]).expect("room");
        let _same = file.try_clone().expect("a second descriptor");
        let more = nameless(&[us, us]).saturating_sub(before);
        // Other tests have small ones.
        assert!((7 << 20..16 << 20).contains(&more), "{more} bytes");
    }

    #[test]
    fn what_others_take_is_not_the_checks() {
        let much = UNMAPPED + 1;
        assert_eq!(judge(0, Some(0), much), Some(Taken::BySomebody));
        assert_eq!(judge(0, Some(much), much), Some(Taken::ByTheCheck));
        assert_eq!(judge(0, None, much), Some(Taken::ByTheCheck));
        assert_eq!(judge(much, Some(0), 0), Some(Taken::ByTheCheck));
        assert_eq!(judge(UNMAPPED / 2, Some(0), UNMAPPED / 2), None);
    }

    #[test]
    fn the_table_of_segments_is_read() {
        let table = "key shmid perms size cpid lpid nattch uid gid cuid cgid atime dtime ctime rss swap\n\
                     0 7 600 1048576 41 42 0 0 0 0 0 1 1 1 8192 4096\nbroken\n";
        let segments = segments_in(table);
        assert!(matches!(segments[..], [Segment { id: 7, maker: 41, bytes: 12_288 }]));
    }
}
