//! The report as Markdown, for the summary page of a workflow run.

use std::fmt::Write as _;

use super::{CheckReport, LabReport, Report};
use crate::verdict::Verdict;

/// The whole report.
pub fn render(report: &Report) -> String {
    let mut text =
        format!("## {} points\n\n| Lab | Checks passed | Points |\n|---|---:|---:|\n", report.score);
    for lab in &report.labs {
        let passed = lab.checks.iter().filter(|check| check.verdict.is_passed()).count();
        let (title, checks) = (cell(&lab.title), lab.checks.len());
        let _ = writeln!(text, "| {} {title} | {passed} of {checks} | {} |", lab.directory, lab.score);
    }
    for lab in report.labs.iter().filter(|lab| !lab.score.is_full()) {
        render_lab(&mut text, lab);
    }
    if let Some(ignored) = report.ignored_files() {
        let _ = writeln!(text, "\n{ignored}.");
    }
    let _ = writeln!(text, "\nSeed {}.", report.seed);
    text
}

fn render_lab(text: &mut String, lab: &LabReport) {
    let _ = writeln!(text, "\n### {} {}\n", lab.directory, lab.title);
    let same_build = lab.checks.iter().all(|check| matches!(check.verdict, Verdict::DidNotCompile(_)));
    if let (true, Some(check)) = (same_build, lab.checks.first()) {
        let _ = writeln!(text, "None of the checks could run.\n");
        fenced(text, check.why.as_deref().unwrap_or_default());
        return;
    }
    for check in lab.checks.iter().filter(|check| !check.verdict.is_passed()) {
        render_check(text, check);
    }
}

fn render_check(text: &mut String, check: &CheckReport) {
    let word = match &check.verdict {
        Verdict::Passed => "passed",
        Verdict::Failed { .. } | Verdict::Found(_) => "failed",
        Verdict::Unimplemented { .. } => "not started",
        Verdict::DidNotCompile(_) => "did not compile",
        Verdict::TimedOut { .. } => "not done in time",
        Verdict::Crashed { .. } => "crashed",
        Verdict::Leaked { .. } => "left something behind",
        Verdict::Inconclusive { .. } => "not decided",
    };
    let place = check.place.as_ref().map(|place| format!(", at `{place}`")).unwrap_or_default();
    let _ = writeln!(text, "- **{}** ({} points): {word}{place}. {}", check.name, check.points, check.says);
    if matches!(check.verdict, Verdict::Unimplemented { .. }) {
        return;
    }
    text.push('\n');
    let mut details = String::new();
    fenced(&mut details, check.why.as_deref().unwrap_or_default());
    if let Verdict::Found(finding) = &check.verdict {
        let lines: Vec<&str> = finding.timeline.iter().map(|line| line.text.as_str()).collect();
        fenced(&mut details, &lines.join("\n"));
    }
    fenced(&mut details, &check.output);
    let _ = writeln!(details, "Again: `{}`", check.reproduce);
    for line in details.lines() {
        let _ = writeln!(text, "  {line}");
    }
    text.push('\n');
}

/// A code block that its own content cannot end.
fn fenced(text: &mut String, content: &str) {
    if content.trim().is_empty() {
        return;
    }
    let longest = content.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    let _ = writeln!(text, "{fence}text\n{}\n{fence}\n", content.trim_end());
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
