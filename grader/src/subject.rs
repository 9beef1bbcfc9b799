//! What is graded: a `src/` root, and nothing else of the folder it stands in.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The largest source file that is read, in bytes.
const LARGEST_FILE: u64 = 1024 * 1024;
/// The most files that are read from one `src/`.
const MOST_FILES: usize = 1000;
/// The most text that is read from one `src/`, in bytes.
const MOST_TEXT: usize = 8 * 1024 * 1024;

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
}

impl Subject {
    /// A word for folder and package names.
    pub fn id(&self) -> String {
        match self {
            Subject::Submission => "submission".to_owned(),
            Subject::Reference => "reference".to_owned(),
            Subject::Mutant(name) => format!("mutant-{name}"),
            Subject::Variant(name) => format!("variant-{name}"),
            Subject::At(_) => "elsewhere".to_owned(),
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
                _ => Err("not submission, reference, mutant:NAME, variant:NAME, or an existing directory"
                    .to_owned()),
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
        let mut files = BTreeMap::new();
        let is_link = fs::symlink_metadata(root).is_ok_and(|metadata| metadata.is_symlink());
        if is_link {
            return Err(format!("`{shown}` is a symbolic link; put the files themselves there"));
        }
        collect(root, "", shown, &mut files)?;
        if files.contains_key("lib.rs") {
            Ok(Sources(files))
        } else {
            Err(format!("there is no `{shown}/lib.rs`"))
        }
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

fn collect(
    directory: &Path,
    prefix: &str,
    shown: &str,
    files: &mut BTreeMap<String, String>,
) -> Result<(), String> {
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
            return Err(format!("`{shown}/{path}` is a symbolic link; put the file itself there"));
        } else if kind.is_dir() {
            if path.matches('/').count() >= 16 {
                return Err(format!("the folders in `{shown}` are nested too deeply"));
            }
            collect(&entry.path(), &format!("{path}/"), shown, files)?;
        } else if name.ends_with(".rs") {
            if !kind.is_file() {
                return Err(format!("`{shown}/{path}` is not a regular file"));
            }
            if files.len() == MOST_FILES {
                return Err(format!("there are more than {MOST_FILES} files in `{shown}`"));
            }
            let text = read_file(&entry.path()).map_err(|why| format!("`{shown}/{path}` {why}"))?;
            if text.len() + files.values().map(String::len).sum::<usize>() > MOST_TEXT {
                return Err(format!("there are more than 8 MiB of source in `{shown}`"));
            }
            files.insert(path, text);
        }
    }
    Ok(())
}

fn read_file(path: &Path) -> Result<String, String> {
    let cannot = |error: std::io::Error| format!("cannot be read: {error}");
    // O_NOFOLLOW and O_NONBLOCK: what was a regular file a moment ago may not be one now.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(cannot)?;
    if !file.metadata().map_err(cannot)?.is_file() {
        return Err("is not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err("is larger than 1 MiB".to_owned());
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8 text; save it as UTF-8".to_owned())
}
