//! What goes wrong on our side. A student's mistake is a verdict, never an [`Error`].

use std::fmt;
use std::path::Path;

use crate::exit_code::ExitCode;

/// A failure of the grader, its user, or the course.
#[derive(Debug)]
pub enum Error {
    /// The command line asks for something that does not exist.
    Usage(String),
    /// The course contradicts itself; one sentence each.
    Course(Vec<String>),
    /// A report is not one of this course; one sentence each.
    Report(Vec<String>),
    /// The machine does not offer the sandbox that is asked for.
    Sandbox(String),
    /// The machine or the toolchain did not do what the grader needs.
    Internal(String),
    /// SIGINT or SIGTERM arrived; holds the signal's number.
    Interrupted(i32),
}

/// The result of anything that can go wrong on our side.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The exit code this failure ends the program with.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Error::Usage(_) => ExitCode::Usage,
            Error::Course(_) => ExitCode::InconsistentCourse,
            Error::Report(_) => ExitCode::NoRecord,
            Error::Sandbox(_) => ExitCode::NoSandbox,
            Error::Internal(_) => ExitCode::Internal,
            Error::Interrupted(signal) => ExitCode::Interrupted(*signal),
        }
    }

    /// An I/O failure while `doing` something to `path`.
    pub fn io(doing: &str, path: &Path, error: &std::io::Error) -> Error {
        Error::Internal(format!("cannot {doing} `{}`: {error}", path.display()))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Usage(text) | Error::Sandbox(text) | Error::Internal(text) => f.write_str(text),
            Error::Course(sentences) => f.write_str(&sentences.join("\n       ")),
            Error::Report(sentences) => {
                write!(f, "the report cannot be recorded: {}", sentences.join("\n       "))
            }
            Error::Interrupted(signal) => write!(f, "interrupted by signal {signal}"),
        }
    }
}

impl std::error::Error for Error {}
