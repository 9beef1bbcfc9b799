//! The report as a student reads it. Styled; the stream it is written to removes what it cannot show.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use comfy_table::{CellAlignment, Table, presets};

use harness::event::{Line, LineKind};

use super::{CheckReport, Report};
use crate::verdict::{Uncompiled, Verdict};

/// Beside the word in front of it, a cause is as wide as the timeline above.
const CAUSE_WIDTH: usize = 84;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GREEN: Style = AnsiColor::Green.on_default();
const RED: Style = AnsiColor::Red.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default();

/// Lines of a submission's own output that are shown for one check.
const OUTPUT_LINES: usize = 20;

/// Writes the report piece by piece, as results come in.
#[derive(Debug, Default)]
pub struct Writer {
    /// The lab whose checks are being written.
    lab: Option<String>,
    /// The part and text of the last `todo!()`: a part's task is told once.
    last_todo: Option<(String, String)>,
    /// Whether the lab's build failure has been told.
    told_build: bool,
}

impl Writer {
    /// One check, with the lab's heading before its first one. `width` is that of the longest name in the lab.
    pub fn check(&mut self, lab: &Heading<'_>, check: &CheckReport) -> String {
        let mut text = String::new();
        if self.lab.as_deref() != Some(lab.name) {
            if self.lab.is_some() {
                text.push('\n');
            }
            *self = Writer { lab: Some(lab.name.to_owned()), ..Writer::default() };
            let _ = writeln!(text, "{BOLD}{} {}{BOLD:#}", lab.directory, lab.title);
        }
        if let Verdict::DidNotCompile(uncompiled) = &check.verdict {
            if !self.told_build {
                render_build_failure(&mut text, uncompiled);
            }
            self.told_build = true;
            return text;
        }
        let (style, mark) = mark(&check.verdict);
        let width = lab.width;
        let _ = writeln!(
            text,
            "  {style}{mark}{style:#} {:width$}  {:>2}/{:<2}{}",
            check.name,
            check.earned,
            check.points,
            remark(check)
        );
        match &check.verdict {
            Verdict::Passed => {}
            Verdict::Unimplemented { todo, .. } => {
                let now = (check.part.clone(), todo.clone());
                if self.last_todo.as_ref() != Some(&now) {
                    let place = check.place.as_ref().map(|place| format!("  ({place})")).unwrap_or_default();
                    field(&mut text, "to do", &format!("{todo}{place}"));
                }
                self.last_todo = Some(now);
            }
            _ => render_loss(&mut text, lab.name, check),
        }
        text
    }
}

/// What stands above the checks of a lab.
#[derive(Debug, Clone, Copy)]
pub struct Heading<'a> {
    /// Short name, for commands.
    pub name: &'a str,
    /// Folder below `labs/`.
    pub directory: &'a str,
    /// Title.
    pub title: &'a str,
    /// Length of the longest name of a check.
    pub width: usize,
}

/// The whole report.
pub fn render(report: &Report) -> String {
    let mut text = String::new();
    let mut writer = Writer::default();
    for lab in &report.labs {
        let heading = Heading {
            name: &lab.name,
            directory: &lab.directory,
            title: &lab.title,
            width: lab.checks.iter().map(|check| check.name.len()).max().unwrap_or(0),
        };
        for check in &lab.checks {
            text.push_str(&writer.check(&heading, check));
        }
    }
    text + &tail(report)
}

/// One check by itself, without a heading and without styles.
pub fn alone(lab: &str, check: &CheckReport) -> String {
    let mut writer = Writer { lab: Some(lab.to_owned()), ..Writer::default() };
    let heading = Heading { name: lab, directory: "", title: "", width: check.name.len() };
    anstream::adapter::strip_str(&writer.check(&heading, check)).to_string().trim_end().to_owned()
}

/// What stands below the last check: the points.
pub fn tail(report: &Report) -> String {
    let mut text = String::from("\n");
    if report.labs.len() > 1 {
        let _ = writeln!(text, "{}\n", points_table(report));
    }
    if let Some(ignored) = report.ignored_files() {
        let _ = writeln!(text, "{YELLOW}{ignored}{YELLOW:#}\n");
    }
    let style = if report.score.is_full() { GREEN } else { BOLD };
    let _ = writeln!(text, "{style}{} points{style:#}  {DIM}seed {}{DIM:#}", report.score, report.seed);
    text
}

/// A line of a timeline: the names of the threads stand out, and so do the steps that go wrong.
pub fn timeline_line(Line { kind, text }: &Line) -> String {
    let style = match kind {
        LineKind::Header => BOLD,
        LineKind::Step => Style::new(),
        LineKind::Wrong => RED,
        LineKind::Remark => YELLOW,
    };
    format!("{style}{text}{style:#}")
}

fn mark(verdict: &Verdict) -> (Style, &'static str) {
    match verdict {
        Verdict::Passed => (GREEN, "✓"),
        Verdict::Failed { .. }
        | Verdict::Found(_)
        | Verdict::DidNotCompile(_)
        | Verdict::TimedOut { .. }
        | Verdict::Crashed { .. }
        | Verdict::Leaked { .. } => (RED, "✗"),
        Verdict::Unimplemented { .. } => (DIM, "○"),
        Verdict::Inconclusive { .. } => (YELLOW, "?"),
    }
}

fn remark(check: &CheckReport) -> String {
    match &check.verdict {
        Verdict::Passed if check.notes.is_empty() => String::new(),
        Verdict::Passed => format!("  {DIM}{}{DIM:#}", check.notes.join("; ")),
        Verdict::Unimplemented { .. } => format!("  {DIM}not started{DIM:#}"),
        Verdict::Inconclusive { .. } => "  not decided".to_owned(),
        Verdict::TimedOut { .. } => "  not done in time".to_owned(),
        Verdict::Crashed { .. } => "  crashed".to_owned(),
        Verdict::Leaked { .. } => "  left something behind".to_owned(),
        Verdict::Failed { .. } | Verdict::Found(_) | Verdict::DidNotCompile(_) => String::new(),
    }
}

fn render_loss(text: &mut String, lab: &str, check: &CheckReport) {
    field(text, "rule", &check.says);
    match &check.verdict {
        Verdict::Failed { expected, observed, look, .. } => {
            field(text, "expected", expected);
            field(text, "observed", observed);
            let places = [Some(look.clone()).filter(|look| !look.is_empty()), check.place.clone()];
            let places: Vec<String> = places.into_iter().flatten().collect();
            field(text, "look at", &places.join(", "));
        }
        Verdict::Found(finding) => {
            field(text, "observed", &finding.headline);
            text.push('\n');
            for line in &finding.timeline {
                let _ = writeln!(text, "      {}", timeline_line(line));
            }
            text.push('\n');
            field(text, "because", &textwrap::fill(&finding.cause, CAUSE_WIDTH));
            field(text, "look at", check.place.as_deref().unwrap_or_default());
        }
        Verdict::TimedOut { why: what }
        | Verdict::Crashed { how: what, .. }
        | Verdict::Leaked { what }
        | Verdict::Inconclusive { why: what } => {
            field(text, "observed", what);
            field(text, "look at", check.place.as_deref().unwrap_or_default());
        }
        Verdict::Passed | Verdict::Unimplemented { .. } => {}
        Verdict::DidNotCompile(_) => field(text, "observed", check.why.as_deref().unwrap_or_default()),
    }
    let lines: Vec<&str> = check.output.lines().collect();
    if !lines.is_empty() {
        field(text, "printed", &crate::progress::plural(lines.len(), "line"));
        for line in lines.iter().take(OUTPUT_LINES) {
            let _ = writeln!(text, "      {DIM}|{DIM:#} {line}");
        }
        if lines.len() > OUTPUT_LINES {
            let _ = writeln!(text, "      {DIM}| ({} more){DIM:#}", lines.len() - OUTPUT_LINES);
        }
    }
    field(text, "again", &check.reproduce);
    field(text, "hint", &format!("cargo run -p grader -- hint {lab} {}", check.name));
}

/// One labelled text, its further lines below the first; nothing for an empty text.
fn field(text: &mut String, label: &str, value: &str) {
    for (index, line) in value.trim_end().lines().enumerate() {
        let label = if index == 0 { label } else { "" };
        let _ = writeln!(text, "      {DIM}{label:9}{DIM:#} {line}");
    }
}

fn render_build_failure(text: &mut String, uncompiled: &Uncompiled) {
    match uncompiled {
        Uncompiled::Unreadable(why) => {
            let _ = writeln!(text, "  {RED}✗{RED:#} nothing could be checked: {why}\n");
        }
        Uncompiled::Compiler(errors) => {
            let why = if errors.in_checks {
                "the checks do not fit it; was a signature changed?"
            } else {
                "it does not compile"
            };
            let _ = writeln!(text, "  {RED}✗{RED:#} nothing could be checked: {why}\n");
            for line in errors.first.trim_end().lines() {
                let _ = writeln!(text, "    {line}");
            }
            if errors.more > 0 {
                let _ = writeln!(text, "\n    and {}", crate::progress::plural(errors.more, "more error"));
            }
            text.push('\n');
        }
    }
}

fn points_table(report: &Report) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["lab", "passed", "points"]);
    for lab in &report.labs {
        let passed = lab.checks.iter().filter(|check| check.verdict.is_passed()).count();
        table.add_row([
            lab.directory.clone(),
            format!("{passed} of {}", lab.checks.len()),
            lab.score.to_string(),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
