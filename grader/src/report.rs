//! The one result model. Every format is a rendering of it.

pub mod github;
pub mod json;
pub mod markdown;
pub mod terminal;

use harness::event::{Finding, Place};
use serde::Serialize;

use crate::grade::Settings;
use crate::lab::{Check, Lab, Part};
use crate::runner::Ran;
use crate::sandbox::tier::Tier;
use crate::score::Score;
use crate::verdict::Verdict;

/// The version of the JSON report.
pub const SCHEMA: u32 = 1;

/// The result of grading one subject.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    schema: u32,
    /// The subject, as the command line names it.
    pub subject: String,
    /// The seed that repeats the run.
    pub seed: u64,
    /// The factor by which this machine was found slower than expected.
    pub slowness: f64,
    /// The tier of the sandbox that the checks ran in; none for an open one.
    pub tier: Option<u8>,
    /// Over all labs.
    pub score: Score,
    /// In the order of the course.
    pub labs: Vec<LabReport>,
    /// Files of the submission that nobody looked at.
    pub ignored: Vec<String>,
}

/// The result of one lab.
#[derive(Debug, Clone, Serialize)]
pub struct LabReport {
    /// Short name.
    pub name: String,
    /// Folder below `labs/`.
    pub directory: String,
    /// Heading.
    pub title: String,
    /// Over all selected checks.
    pub score: Score,
    /// In the order of the rubric.
    pub checks: Vec<CheckReport>,
}

/// The result of one check.
#[derive(Debug, Clone, Serialize)]
pub struct CheckReport {
    /// The check's name.
    pub name: String,
    /// The name of the part it belongs to.
    pub part: String,
    /// The property, in one sentence.
    pub says: String,
    /// What was found.
    pub verdict: Verdict,
    /// What it is worth.
    pub points: u32,
    /// What was earned: all or nothing.
    pub earned: u32,
    /// The verdict's reason, in plain text.
    pub why: Option<String>,
    /// `labs/05-spinlock/src/lib.rs:41`, when known.
    #[serde(rename = "where")]
    pub place: Option<String>,
    /// The kind of evidence.
    pub evidence: String,
    /// The failing execution, where one was found by exploring.
    pub finding: Option<FindingReport>,
    /// What was covered.
    pub notes: Vec<String>,
    /// What the submission printed.
    pub output: String,
    /// How long it took.
    pub seconds: f64,
    /// The check's own seed.
    pub seed: u64,
    /// The command that does it again.
    pub reproduce: String,
}

/// A failing execution.
#[derive(Debug, Clone, Serialize)]
pub struct FindingReport {
    /// What is wrong, in one line.
    pub headline: String,
    /// A line for each step that matters.
    pub timeline: Vec<String>,
    /// What `replay` takes.
    pub schedule: String,
    /// How often a thread was interrupted that could have run on.
    pub preemptions: u32,
}

impl Report {
    /// Adds up the labs.
    pub fn new(
        labs: Vec<LabReport>,
        ignored: Vec<String>,
        settings: &Settings,
        slowness: f64,
        tier: Tier,
    ) -> Report {
        Report {
            schema: SCHEMA,
            subject: settings.subject.to_string(),
            seed: settings.seed,
            slowness,
            tier: tier.number(),
            score: labs.iter().map(|lab| lab.score).sum(),
            labs,
            ignored,
        }
    }

    /// One sentence about files that nobody looked at.
    pub fn ignored_files(&self) -> Option<String> {
        let names = self.ignored.join("`, `");
        (!names.is_empty()).then(|| format!("ignored: `{names}`; only labs/*/src is graded"))
    }
}

impl LabReport {
    /// Adds up the checks.
    pub fn new(lab: &Lab, checks: Vec<CheckReport>) -> LabReport {
        LabReport {
            name: lab.name.clone(),
            directory: lab.directory.clone(),
            title: lab.rubric.title.clone(),
            score: checks.iter().map(|check| Score { earned: check.earned, possible: check.points }).sum(),
            checks,
        }
    }
}

impl CheckReport {
    /// Puts together what the rubric says and what was found.
    pub fn new(lab: &Lab, part: &Part, check: &Check, settings: &Settings, ran: Ran) -> CheckReport {
        let subject = match settings.subject.to_string() {
            word if word == "submission" => String::new(),
            word => format!(" --subject {}", shell_word(&word)),
        };
        let seed = settings.seed;
        let (name, lab_name) = (&check.name, &lab.name);
        let finding = match &ran.verdict {
            Verdict::Found(Finding { headline, timeline, schedule, preemptions, .. }) => {
                Some(FindingReport {
                    headline: headline.clone(),
                    timeline: timeline.iter().map(|line| line.text.clone()).collect(),
                    schedule: schedule.clone(),
                    preemptions: *preemptions,
                })
            }
            _ => None,
        };
        let reproduce = match &finding {
            Some(finding) => {
                format!("cargo run -p grader -- replay {lab_name} {name} {}{subject}", finding.schedule)
            }
            None => format!("cargo run -p grader -- {lab_name} {name}{subject} --seed {seed}"),
        };
        CheckReport {
            name: check.name.clone(),
            part: part.name.clone(),
            says: check.says.clone(),
            points: check.points,
            earned: if ran.verdict.is_passed() { check.points } else { 0 },
            why: ran.verdict.why(),
            place: ran.verdict.place().filter(|place| is_of_the_course(place)).map(show_place),
            verdict: ran.verdict,
            evidence: check.evidence.to_string(),
            notes: ran.notes,
            output: ran.output,
            seconds: ran.elapsed.as_secs_f64(),
            seed: crate::runner::check_seed(seed, &lab.name, check),
            reproduce,
            finding,
        }
    }
}

/// Nobody looks for a mistake in the standard library, where a panic may be raised for one of the student's.
fn is_of_the_course(place: &Place) -> bool {
    !place.file.starts_with("/rustc/")
}

fn show_place(place: &Place) -> String {
    format!("{}:{}", place.file, place.line)
}

/// A word that a shell reads as it stands.
fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:".contains(c);
    if word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}
