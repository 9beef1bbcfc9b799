//! Hands text to its reader: standard output, standard error, or a file. A reader that has gone is no error.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::path::Path;

use crate::cli::{Format, GradeArgs, ReportFile};
use crate::error::{Error, Result};
use crate::grade;
use crate::lab::Lab;
use crate::output::harmless;
use crate::report::{CheckReport, Report, github, json, markdown, terminal};

/// Renders a report and puts it where it is wanted: the files first, then standard output.
///
/// # Errors
/// [`Error::Internal`] when a file or standard output cannot be written.
pub fn report(report: &Report, format: Format, files: &[ReportFile]) -> Result<()> {
    for file in files {
        let text = render(report, file.format)?;
        write(&file.path, &anstream::adapter::strip_str(&text).to_string())?;
    }
    let summary = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty());
    if let (Format::Github, Some(path)) = (format, summary) {
        append(Path::new(&path), &render(report, Format::Markdown)?)?;
    }
    match format {
        // The checks were shown as they ended.
        Format::Terminal => print(&terminal::tail(report)),
        Format::Json | Format::Markdown | Format::Github => {
            let mut out = std::io::stdout().lock();
            heard(out.write_all(render(report, format)?.as_bytes()).and_then(|()| out.flush()))
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
        Listener { writer: (args.format == Format::Terminal).then(terminal::Writer::default) }
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
        };
        // A stream that cannot be written is told of once, at the end.
        let _ = print(&writer.check(&heading, check));
    }
}

/// Writes styled text to standard output, without styles where they cannot be shown.
///
/// # Errors
/// [`Error::Internal`] when it cannot be written, unless the reader has gone.
pub fn print(text: &str) -> Result<()> {
    let mut out = anstream::stdout().lock();
    heard(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// Says on standard error what went wrong.
pub fn complain(error: &Error) {
    let bold = anstyle::AnsiColor::Red.on_default().bold();
    let _ = writeln!(anstream::stderr(), "{bold}error{bold:#}: {error}");
}

/// Says on standard error what is good to know.
pub fn warn(sentence: &str) {
    let bold = anstyle::AnsiColor::Yellow.on_default().bold();
    let _ = writeln!(anstream::stderr(), "{bold}warning{bold:#}: {}", harmless(sentence));
}

fn render(report: &Report, format: Format) -> Result<String> {
    Ok(match format {
        Format::Terminal => terminal::render(report),
        Format::Json => json::render(report),
        Format::Markdown => markdown::render(report),
        Format::Github => github::render(report, &token()?),
    })
}

/// 128 random bits, which nobody could know before.
fn token() -> Result<String> {
    let (path, mut bits) = (Path::new("/dev/urandom"), [0; 16]);
    let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut bits));
    read.map_err(|error| Error::io("read", path, &error))?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bits)))
}

/// The reader may have gone (`grader | head`): there is nobody left to tell. A full disk is a failure.
fn heard(written: std::io::Result<()>) -> Result<()> {
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Error::Internal(format!("cannot write to standard output: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Adds to a file that other steps of a workflow write as well.
fn append(file: &Path, text: &str) -> Result<()> {
    let open = fs::OpenOptions::new().append(true).create(true).open(file);
    let written = open.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| Error::io("write", file, &error))
}

/// Replaces the file in one step: a reader sees the old text or the new one, never half of one.
///
/// # Errors
/// [`Error::Internal`] when it cannot be written.
pub fn write(file: &Path, text: &str) -> Result<()> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = file.with_file_name(name);
    let written = fs::write(&part, text).and_then(|()| fs::rename(&part, file));
    written.map_err(|error| {
        let _ = fs::remove_file(&part);
        Error::io("write", file, &error)
    })
}
