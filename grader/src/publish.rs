//! Hands text to its reader: standard output, standard error, or a file. A closed stream is no error.

use std::fs;
use std::io::Write;
use std::path::Path;

use crate::cli::{Format, GradeArgs};
use crate::error::{Error, Result};
use crate::grade;
use crate::lab::Lab;
use crate::report::{CheckReport, Report, github, json, markdown, terminal};

/// Renders a report and puts it where it is wanted.
///
/// # Errors
/// [`Error::Internal`] when the file cannot be written.
pub fn report(report: &Report, format: Format, file: Option<&Path>) -> Result<()> {
    let text = match format {
        Format::Terminal => terminal::render(report),
        Format::Json => json::render(report),
        Format::Markdown => markdown::render(report),
        Format::Github => github::render(report),
    };
    match (file, format) {
        (Some(file), _) => write(file, &anstream::adapter::strip_str(&text).to_string()),
        (None, Format::Terminal) => {
            // The checks were shown as they ended.
            print(&terminal::tail(report));
            Ok(())
        }
        (None, Format::Json | Format::Markdown | Format::Github) => {
            let _ = std::io::stdout().lock().write_all(text.as_bytes());
            Ok(())
        }
    }
}

/// Shows each check as it ends, where a person reads along.
#[derive(Debug)]
pub struct Listener {
    writer: Option<terminal::Writer>,
}

impl Listener {
    /// Shows checks if the report goes to standard output as text.
    pub fn new(args: &GradeArgs) -> Listener {
        let is_read_along = args.format == Format::Terminal && args.output.is_none();
        Listener { writer: is_read_along.then(terminal::Writer::default) }
    }
}

impl grade::Listener for Listener {
    fn checked(&mut self, lab: &Lab, check: &CheckReport) {
        let Some(writer) = &mut self.writer else { return };
        let heading = terminal::Heading {
            name: &lab.name,
            directory: &lab.directory,
            title: &lab.rubric.title,
            width: lab.checks().map(|(_, check)| check.name.len()).max().unwrap_or(0),
            checks: lab.checks().count(),
        };
        print(&writer.check(&heading, check));
    }
}

/// Writes styled text to standard output, without styles where they cannot be shown.
pub fn print(text: &str) {
    let mut out = anstream::stdout().lock();
    // The reader may have gone (`grader | head`): there is nobody left to tell.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Says on standard error what went wrong.
pub fn complain(error: &Error) {
    let bold = anstyle::AnsiColor::Red.on_default().bold();
    let _ = writeln!(anstream::stderr(), "{bold}error{bold:#}: {error}");
}

/// Replaces the file in one step: a reader sees the old report or the new one, never half of one.
fn write(file: &Path, text: &str) -> Result<()> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = file.with_file_name(name);
    let written = fs::write(&part, text).and_then(|()| fs::rename(&part, file));
    written.map_err(|error| {
        let _ = fs::remove_file(&part);
        Error::io("write", file, &error)
    })
}
