//! A submission as a commit: read out of git's objects, of which nothing is checked out.
//!
//! So no hook, filter, attribute or submodule of the submission has anything to say, and what is graded is the commit that
//! was asked for, whatever its branch has become since. The names in a commit are its author's: they are looked at first.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;

use crate::subject::{DEEPEST, LARGEST_FILE, Sources, symbolic_link};

/// The most that git may say about one folder, in bytes; some thousands of files.
const LONGEST_LIST: u64 = 1024 * 1024;

/// A commit of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    repository: PathBuf,
    id: String,
}

impl FromStr for Commit {
    type Err = String;

    /// `FOLDER@COMMIT`, the commit by its whole number: a name may mean another one tomorrow.
    fn from_str(text: &str) -> Result<Commit, String> {
        let (folder, id) = text.rsplit_once('@').unwrap_or_default();
        let is_whole = [40, 64].contains(&id.len());
        if !Path::new(folder).is_dir() || !is_whole || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err("or a git repository's folder, `@`, and the 40 digits of a commit".to_owned());
        }
        Ok(Commit { repository: PathBuf::from(folder), id: id.to_ascii_lowercase() })
    }
}

impl fmt::Display for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.repository.display(), self.id)
    }
}

/// What a commit has under one name.
#[derive(Debug, PartialEq, Eq)]
pub struct Item {
    /// Below the folder that was asked for; empty for that itself.
    pub path: String,
    kind: Kind,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Kind {
    File { object: String, size: u64 },
    Folder,
    Link,
    Repository,
}

impl Commit {
    /// Whether there is such a commit at all.
    ///
    /// # Errors
    /// One sentence for who asked for it.
    pub fn look(&self) -> Result<(), String> {
        let kind = self.git(&["cat-file", "-t", &self.id], 100)?;
        if kind == b"commit\n" {
            return Ok(());
        }
        Err(format!("`{}` has no commit {}; fetch it first", self.repository.display(), self.id))
    }

    /// The Rust files below the folder `root` of the commit.
    ///
    /// # Errors
    /// One sentence for the student, as [`Sources::read`].
    pub fn sources(&self, root: &str) -> Result<Sources, String> {
        let list =
            self.git(&["ls-tree", "-r", "-t", "-l", "-z", "--full-tree", &self.id, root], LONGEST_LIST)?;
        if list.len() as u64 == LONGEST_LIST {
            return Err(format!("there are too many files in `{root}`"));
        }
        let mut sources = Sources::default();
        let mut names = BTreeSet::new();
        for item in parse(&list, root)? {
            let Item { path, kind } = item;
            if !names.insert(path.clone()) {
                return Err(format!("`{root}/{path}` is there twice"));
            }
            match kind {
                Kind::Folder if path.matches('/').count() >= DEEPEST => {
                    return Err(format!("the folders in `{root}` are nested too deeply"));
                }
                Kind::Folder => {}
                Kind::Link => return Err(symbolic_link(&path, root)),
                Kind::Repository => {
                    return Err(format!("`{root}/{path}` is another repository; put its files there"));
                }
                Kind::File { object, size } if path.ends_with(".rs") => {
                    // One byte too many is enough to be refused.
                    let most = size.min(LARGEST_FILE + 1);
                    let bytes = self.git(&["cat-file", "blob", &object], most)?;
                    if (bytes.len() as u64) < most {
                        return Err(format!("`{root}/{path}` is not among what was fetched"));
                    }
                    sources.add(&path, bytes, root)?;
                }
                Kind::File { .. } => {}
            }
        }
        sources.complete(root)
    }

    /// The text of one file, if it is one and not too long for a file of the course.
    pub fn file(&self, path: &str) -> Option<Vec<u8>> {
        let bytes = self.git(&["cat-file", "blob", &format!("{}:{path}", self.id)], LARGEST_FILE).ok()?;
        (!bytes.is_empty()).then_some(bytes)
    }

    /// The first `most` bytes of what git says.
    fn git(&self, arguments: &[&str], most: u64) -> Result<Vec<u8>, String> {
        let mut command = Command::new("git");
        let of_git: Vec<OsString> = std::env::vars_os().map(|(name, _)| name).collect();
        for name in of_git.iter().filter(|name| name.to_string_lossy().starts_with("GIT_")) {
            command.env_remove(name);
        }
        // What is not there is not fetched, and what is there is not taken for something else.
        command
            .env("GIT_NO_LAZY_FETCH", "1")
            .env("GIT_ALLOW_PROTOCOL", "none")
            .env("GIT_NO_REPLACE_OBJECTS", "1");
        command.arg("-C").arg(&self.repository).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let failed = |error: std::io::Error| format!("git cannot be run: {error}");
        let mut child = command.spawn().map_err(failed)?;
        let mut said = Vec::new();
        let read = child.stdout.take().map(|stdout| stdout.take(most).read_to_end(&mut said));
        // It may have more to say than is wanted.
        let _ = child.kill();
        child.wait().and(read.transpose()).map_err(failed)?;
        Ok(said)
    }
}

/// Reads the list `mode kind object size<tab>path<nul>…`, and leaves out what is not below `root`.
pub fn parse(list: &[u8], root: &str) -> Result<Vec<Item>, String> {
    let mut items = Vec::new();
    for entry in list.split(|&byte| byte == 0).filter(|entry| !entry.is_empty()) {
        let not_utf8 = || format!("a file name in `{root}` is not UTF-8");
        let entry = std::str::from_utf8(entry).map_err(|_| not_utf8())?;
        let (facts, path) = entry.split_once('\t').unwrap_or_default();
        let Some(path) = path.strip_prefix(root) else { continue };
        let path = match path.strip_prefix('/') {
            Some(path) => path,
            None if path.is_empty() => path,
            None => continue,
        };
        let is_plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\\', '\n']);
        if !path.is_empty() && !path.split('/').all(is_plain) {
            return Err(format!("`{root}` has a file with an impossible name"));
        }
        let facts: Vec<&str> = facts.split_whitespace().collect();
        let kind = match facts[..] {
            ["040000", ..] => Kind::Folder,
            ["120000", ..] => Kind::Link,
            ["160000", ..] => Kind::Repository,
            [_, "blob", object, size] => {
                Kind::File { object: object.to_owned(), size: size.parse().unwrap_or(u64::MAX) }
            }
            _ => return Err(format!("`{root}` has a file of an unknown kind")),
        };
        items.push(Item { path: path.to_owned(), kind });
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(list: &str, expected: Result<&[&str], &str>) {
        let items = parse(list.as_bytes(), "labs/01-a/src");
        let said = items
            .map(|items| items.into_iter().map(|item| format!("{:?} {}", item.kind, item.path)).collect());
        let said: Result<Vec<String>, String> = said;
        match expected {
            Ok(items) => assert_eq!(
                said.as_deref(),
                Ok(items.iter().map(|i| (*i).to_owned()).collect::<Vec<_>>().as_slice())
            ),
            Err(why) => assert!(said.as_ref().is_err_and(|said| said.contains(why)), "{said:?}"),
        }
    }

    #[test]
    fn what_is_below_is_listed() {
        let list = "040000 tree 1 -\tlabs\x00040000 tree 2 -\tlabs/01-a/src\x00100644 blob 3  12\tlabs/01-a/src/lib.rs\0";
        check(list, Ok(&["Folder ", "File { object: \"3\", size: 12 } lib.rs"]));
        check("100644 blob 3 12\tlabs/01-a/srcs/lib.rs\0", Ok(&[]));
        check("", Ok(&[]));
    }

    #[test]
    fn links_and_other_repositories_are_told_apart() {
        check("120000 blob 3 12\tlabs/01-a/src\0", Ok(&["Link "]));
        check("160000 commit 3 -\tlabs/01-a/src/other\0", Ok(&["Repository other"]));
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in ["../x.rs", "a/../../x.rs", "/x.rs", "a//x.rs", "./x.rs", "a\\x.rs"] {
            check(&format!("100644 blob 3 12\tlabs/01-a/src/{name}\0"), Err("impossible name"));
        }
    }

    #[test]
    fn nonsense_is_refused() {
        check("nonsense\tlabs/01-a/src/x.rs\0", Err("unknown kind"));
    }

    #[test]
    fn a_commit_is_named_by_its_whole_number() {
        let whole = "0123456789ABCDEF0123456789abcdef01234567";
        let commit: Commit = format!("/@{whole}").parse().unwrap();
        assert_eq!(commit.to_string(), format!("/@{}", whole.to_ascii_lowercase()));
        for text in ["/@main", "/@0123", "/", "", "/nowhere@0123456789abcdef0123456789abcdef01234567"] {
            assert!(text.parse::<Commit>().is_err(), "{text}");
        }
    }
}
