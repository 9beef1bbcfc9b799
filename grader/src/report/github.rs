//! The report as workflow commands: annotations on the lines of the submission, and the points; above them the report as
//! people read it, of which no line is a command.

use std::fmt::Write as _;

use super::{CheckReport, Report, terminal};
use crate::verdict::Verdict;

/// GitHub shows ten annotations of a step; one is for the points.
const MOST_ERRORS: usize = 9;

/// The report, during which no command is obeyed until `token` comes, and then one command a line. Nobody who has had a say
/// in the report may know the token.
pub fn render(report: &Report, token: &str) -> String {
    let mut text = format!("::stop-commands::{token}\n");
    let shown = anstream::adapter::strip_str(&terminal::render(report)).to_string();
    shown.lines().for_each(|line| {
        // No line begins as a command does, should somebody read them who was not told to stop.
        let _ = writeln!(text, "{}", format!("| {line}").trim_end());
    });
    let _ = writeln!(text, "::{token}::");
    let lost = report.labs.iter().flat_map(|lab| lab.checks.iter().map(move |check| (lab, check)));
    let lost = lost.filter(|(_, check)| match check.verdict {
        Verdict::Passed | Verdict::Unimplemented { .. } => false,
        Verdict::Failed { .. }
        | Verdict::Found(_)
        | Verdict::DidNotCompile(_)
        | Verdict::TimedOut { .. }
        | Verdict::Crashed { .. }
        | Verdict::Leaked { .. }
        | Verdict::Inconclusive { .. } => true,
    });
    let mut uncompiled = Vec::new();
    let mut errors = Vec::new();
    for (lab, check) in lost {
        // All checks of a lab that does not compile say the same.
        if matches!(check.verdict, Verdict::DidNotCompile(_)) {
            if uncompiled.contains(&&lab.name) {
                continue;
            }
            uncompiled.push(&lab.name);
        }
        let default = format!("labs/{}/src/lib.rs", lab.directory);
        errors.push(error(check, &lab.name, &default));
    }
    for line in errors.iter().take(MOST_ERRORS) {
        text.push_str(line);
    }
    let more = errors.len().saturating_sub(MOST_ERRORS);
    let more = match more {
        0 => String::new(),
        more => format!("; {} in the summary", crate::progress::plural(more, "more problem")),
    };
    if let Some(ignored) = report.ignored_files() {
        let _ = writeln!(text, "::notice title=Ignored::{}", data(&ignored));
    }
    let _ = writeln!(text, "::notice title=Points::{}{more}", report.score);
    text
}

fn error(check: &CheckReport, lab: &str, default: &str) -> String {
    let (file, line) = match check.verdict.place() {
        Some(place) => (place.file.as_str(), place.line),
        None => (default, 1),
    };
    let message =
        format!("{}\n{}\n{}", check.says, check.why.as_deref().unwrap_or_default(), check.reproduce);
    let (file, message) = (property(file), data(&message));
    let title = property(&format!("{lab} {}: {}", check.name, check.verdict.word()));
    format!("::error file={file},line={line},title={title}::{message}\n")
}

/// The text after `::`, on one line.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// The value of a property.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(property(text), expected);
    }

    #[test]
    fn nothing_ends_a_property_early() {
        check("a:b,c", "a%3Ab%2Cc");
    }

    #[test]
    fn a_new_command_cannot_be_started() {
        check("a\n::error::b", "a%0A%3A%3Aerror%3A%3Ab");
    }

    #[test]
    fn percent_signs_survive() {
        check("100%\r", "100%25%0D");
    }
}
