//! What is graded: a `src/` root, and nothing else of the folder it stands in.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::commit::Commit;

/// The largest source file that is read, in bytes.
pub const LARGEST_FILE: u64 = 1024 * 1024;
/// The most files that are read from one `src/`.
const MOST_FILES: usize = 1000;
/// The most text that is read from one `src/`, in bytes.
const MOST_TEXT: usize = 2 * 1024 * 1024;
/// The most folders inside one another.
pub const DEEPEST: usize = 16;

/// What to grade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The student's work in `labs/`.
    Submission,
    /// The answer in `solutions/`.
    Reference,
    /// The reference with one known mistake, by name.
    Mutant(String),
    /// Another right answer in `solutions/`, by name.
    Variant(String),
    /// A submission elsewhere: a checkout of the course, or one lab's folder.
    At(PathBuf),
    /// A submission as a commit of a git repository, of which nothing is checked out.
    Committed(Commit),
}

impl Subject {
    /// A word for folder and package names.
    pub fn id(&self) -> String {
        match self {
            Subject::Submission => "submission".to_owned(),
            Subject::Reference => "reference".to_owned(),
            Subject::Mutant(name) => format!("mutant-{name}"),
            Subject::Variant(name) => format!("variant-{name}"),
            Subject::At(_) | Subject::Committed(_) => "elsewhere".to_owned(),
        }
    }
}

impl FromStr for Subject {
    type Err = String;

    fn from_str(text: &str) -> Result<Subject, String> {
        match text {
            "submission" => Ok(Subject::Submission),
            "reference" => Ok(Subject::Reference),
            _ => match text.split_once(':') {
                Some(("mutant", name)) => Ok(Subject::Mutant(name.to_owned())),
                Some(("variant", name)) => Ok(Subject::Variant(name.to_owned())),
                _ if Path::new(text).is_dir() => Ok(Subject::At(PathBuf::from(text))),
                _ => text.parse().map(Subject::Committed).map_err(|why: String| {
                    format!(
                        "not submission, reference, mutant:NAME, variant:NAME, an existing directory, {why}"
                    )
                }),
            },
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Submission => f.write_str("submission"),
            Subject::Reference => f.write_str("reference"),
            Subject::Mutant(name) => write!(f, "mutant:{name}"),
            Subject::Variant(name) => write!(f, "variant:{name}"),
            Subject::At(path) => path.display().fmt(f),
            Subject::Committed(commit) => commit.fmt(f),
        }
    }
}

/// The Rust files below a `src/`, by relative path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sources(BTreeMap<String, String>);

impl Sources {
    /// Reads every `.rs` file below `root`, shown as `shown` in messages.
    ///
    /// # Errors
    /// One sentence for the student: no `lib.rs`, a symbolic link, a file that is too large or not UTF-8.
    pub fn read(root: &Path, shown: &str) -> Result<Sources, String> {
        let mut sources = Sources::default();
        let is_link = fs::symlink_metadata(root).is_ok_and(|metadata| metadata.is_symlink());
        if is_link {
            return Err(format!("`{shown}` is a symbolic link; put the files themselves there"));
        }
        collect(root, "", shown, &mut sources)?;
        sources.complete(shown)
    }

    /// Adds a file, of which no more than [`LARGEST_FILE`] bytes and one more need to be given.
    ///
    /// # Errors
    /// One sentence for the student: too many files, too much text, not UTF-8.
    pub fn add(&mut self, path: &str, bytes: Vec<u8>, shown: &str) -> Result<(), String> {
        if path.chars().any(char::is_control) {
            return Err(format!("a file name in `{shown}` has control characters"));
        }
        if self.0.len() == MOST_FILES {
            return Err(format!("there are more than {MOST_FILES} files in `{shown}`"));
        }
        if bytes.len() as u64 > LARGEST_FILE {
            return Err(format!("`{shown}/{path}` is larger than 1 MiB"));
        }
        let text = String::from_utf8(bytes)
            .map_err(|_| format!("`{shown}/{path}` is not UTF-8 text; save it as UTF-8"))?;
        if text.len() + self.0.values().map(String::len).sum::<usize>() > MOST_TEXT {
            return Err(format!("there are more than 2 MiB of source in `{shown}`"));
        }
        self.0.insert(path.to_owned(), text);
        Ok(())
    }

    /// The sources, if there is a `lib.rs` among them.
    ///
    /// # Errors
    /// One sentence for the student.
    pub fn complete(self, shown: &str) -> Result<Sources, String> {
        if self.0.contains_key("lib.rs") { Ok(self) } else { Err(format!("there is no `{shown}/lib.rs`")) }
    }

    /// The text of one file.
    pub fn get(&self, path: &str) -> Option<&str> {
        self.0.get(path).map(String::as_str)
    }

    /// The same sources with one file's text replaced.
    pub fn with(&self, path: &str, text: String) -> Sources {
        let mut files = self.0.clone();
        files.insert(path.to_owned(), text);
        Sources(files)
    }

    /// Every file: relative path, text.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Sources {
    fn from(files: [(&str, &str); N]) -> Sources {
        Sources(files.into_iter().map(|(path, text)| (path.to_owned(), text.to_owned())).collect())
    }
}

fn collect(directory: &Path, prefix: &str, shown: &str, sources: &mut Sources) -> Result<(), String> {
    let unreadable = |name: &str, error: std::io::Error| format!("cannot read `{shown}/{name}`: {error}");
    let entries = fs::read_dir(directory).map_err(|error| unreadable(prefix, error))?;
    for entry in entries {
        let entry = entry.map_err(|error| unreadable(prefix, error))?;
        let kind = entry.file_type().map_err(|error| unreadable(prefix, error))?;
        let Ok(name) = entry.file_name().into_string() else {
            return Err(format!("a file name in `{shown}/{prefix}` is not UTF-8"));
        };
        let path = format!("{prefix}{name}");
        if kind.is_symlink() {
            return Err(symbolic_link(&path, shown));
        } else if kind.is_dir() {
            if path.matches('/').count() >= DEEPEST {
                return Err(format!("the folders in `{shown}` are nested too deeply"));
            }
            collect(&entry.path(), &format!("{path}/"), shown, sources)?;
        } else if name.ends_with(".rs") {
            if !kind.is_file() {
                return Err(format!("`{shown}/{path}` is not a regular file"));
            }
            let bytes = read_file(&entry.path()).map_err(|why| format!("`{shown}/{path}` {why}"))?;
            sources.add(&path, bytes, shown)?;
        }
    }
    Ok(())
}

fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let cannot = |error: std::io::Error| format!("cannot be read: {error}");
    // O_NOFOLLOW and O_NONBLOCK: what was a regular file a moment ago may not be one now.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(cannot)?;
    if !file.metadata().map_err(cannot)?.is_file() {
        return Err("is not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(cannot)?;
    Ok(bytes)
}

/// What a student reads who links to a file.
pub fn symbolic_link(path: &str, shown: &str) -> String {
    format!("`{shown}/{path}` is a symbolic link; put the file itself there")
}
