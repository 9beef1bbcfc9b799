//! Hands text to its reader: standard output, standard error, or a file. A closed stream is no error.

use std::fs;
use std::io::Write;
use std::path::Path;

use crate::cli::Format;
use crate::error::{Error, Result};
use crate::report::{Report, github, json, markdown, terminal};

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
            print(&text);
            Ok(())
        }
        (None, Format::Json | Format::Markdown | Format::Github) => {
            let _ = std::io::stdout().lock().write_all(text.as_bytes());
            Ok(())
        }
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
