//! What `verify` has to say: a table of what ran, and a sentence for each thing that is wrong.

use std::fmt::Write as _;

use comfy_table::{Table, presets};

use super::{Expectation, Planned};
use crate::compile::CompileErrors;
use crate::lab::Lab;
use crate::mutant::Mutant;
use crate::progress::plural;
use crate::runner::{Ran, Task};
use crate::verdict::Verdict;

/// What was found.
#[derive(Debug, Default)]
pub struct Findings {
    /// One sentence for each thing that is wrong.
    wrong: Vec<String>,
    /// In the order of the labs, their subjects, their checks.
    rows: Vec<Row>,
    /// What could not run yet; shown last.
    waiting: Vec<Row>,
}

/// A line of the table.
#[derive(Debug)]
struct Row {
    lab: String,
    subject: String,
    check: String,
    rate: Rate,
}

#[derive(Debug)]
enum Rate {
    /// So many of so many runs came out as they should.
    Right(usize, usize),
    /// Nothing ran: this kind of evidence is missing.
    WaitsFor(String),
}

impl Findings {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.wrong.is_empty()
    }

    /// A table of everything that ran, and the sentences.
    pub fn render(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["lab", "subject", "check", "as it should be"]);
        table.add_rows(self.rows.iter().chain(&self.waiting).map(|row| {
            let rate = match &row.rate {
                Rate::Right(right, all) => format!("{right}/{all}"),
                Rate::WaitsFor(kind) => format!("waits for {kind}"),
            };
            [row.lab.clone(), row.subject.clone(), row.check.clone(), rate]
        }));
        let mut text = format!("{table}\n\n");
        if self.is_sound() {
            text.push_str("the course is consistent\n");
        } else {
            let _ = writeln!(text, "{} wrong:", plural(self.wrong.len(), "thing"));
        }
        for sentence in &self.wrong {
            let _ = writeln!(text, "  ✗ {}", sentence.replace('\n', "\n    "));
        }
        text
    }

    /// One more thing is wrong.
    pub(super) fn add(&mut self, sentence: impl Into<String>) {
        self.wrong.push(sentence.into());
    }

    /// A mutant that no check is asked to catch yet.
    pub(super) fn add_waiting(&mut self, lab: &Lab, mutant: &Mutant, kind: &str) {
        self.waiting.push(Row {
            lab: lab.name.clone(),
            subject: format!("mutant {}", mutant.name),
            check: mutant.caught_by.join(", "),
            rate: Rate::WaitsFor(kind.to_owned()),
        });
    }

    /// A subject that the compiler refuses.
    pub(super) fn add_uncompiled(&mut self, planned: &Planned<'_>, errors: &CompileErrors) {
        let said = anstream::adapter::strip_str(&errors.first).to_string();
        let does = if planned.expectation == Expectation::NotStarted { "do" } else { "does" };
        let (lab, subject) = (&planned.unit.lab.name, planned.expectation.subject());
        self.add(format!("{lab}: the {subject} {does} not compile:\n{}", said.trim_end()));
    }

    /// All runs of one check of one subject.
    pub(super) fn add_runs(&mut self, group: &[((&Planned<'_>, Task<'_>), Ran)]) {
        let Some(((planned, task), _)) = group.first() else { return };
        let (lab, check) = (&task.unit.lab.name, &task.check.name);
        let is_right = |ran: &Ran| match (&planned.expectation, &ran.verdict) {
            (Expectation::Passes | Expectation::PassesToo(_), verdict) => verdict.is_passed(),
            (Expectation::NotStarted, verdict) => matches!(verdict, Verdict::Unimplemented { .. }),
            (Expectation::Caught(_), verdict) => {
                !matches!(verdict, Verdict::Passed | Verdict::Inconclusive { .. } | Verdict::DidNotCompile(_))
            }
        };
        let right = group.iter().filter(|(_, ran)| is_right(ran)).count();
        let subject = planned.expectation.subject();
        if let Some((_, ran)) = group.iter().find(|(_, ran)| !is_right(ran)) {
            let said = match ran.verdict.why() {
                Some(why) => format!("{} ({})", ran.verdict.word(), why.trim()),
                None => ran.verdict.word().to_owned(),
            };
            let should = match &planned.expectation {
                Expectation::NotStarted => "must be reported as not started",
                Expectation::Passes => "must pass",
                Expectation::PassesToo(_) => "must pass like the reference",
                Expectation::Caught(_) => "must be caught",
            };
            let wrong = group.len() - right;
            let times =
                if group.len() == 1 { String::new() } else { format!(" {wrong} of {} times", group.len()) };
            self.add(format!("{lab}: `{check}` on the {subject} {should}, but was{times} {said}"));
        }
        // A line for each check of a mutant; one line for all checks of any other subject.
        let apart = matches!(planned.expectation, Expectation::Caught(_));
        match self.rows.last_mut() {
            Some(Row { lab: last_lab, subject: last, rate: Rate::Right(sum_right, sum), .. })
                if !apart && last_lab == lab && *last == subject =>
            {
                *sum_right += right;
                *sum += group.len();
            }
            _ => {
                let check = if apart { check.as_str() } else { "all" }.to_owned();
                let rate = Rate::Right(right, group.len());
                self.rows.push(Row { lab: lab.clone(), subject, check, rate });
            }
        }
    }
}
