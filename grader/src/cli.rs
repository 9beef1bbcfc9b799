//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::sandbox::protection::Protection;
use crate::sandbox::tier::Tier;
use crate::subject::Subject;

/// Builds the labs, runs their checks, and says what was earned and why.
///
/// Exit codes: 0 every possible point earned; 1 points lost; 2 usage; 3 the course is inconsistent;
/// 4 the sandbox that is asked for cannot be had here; 5 a report cannot be recorded; 70 internal error; 130 and 143 when interrupted.
#[derive(Debug, Parser)]
#[command(name = "grader", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do instead of grading.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to grade.
    #[command(flatten)]
    pub grade: GradeArgs,
}

/// Everything but grading.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the labs, or the checks of some labs
    List {
        /// Labs to list in full
        labs: Vec<String>,
    },
    /// Show a hint for a part of a lab, or for the part that a check belongs to
    Hint {
        /// The lab
        lab: String,
        /// A part or a check of that lab
        part_or_check: String,
        /// From 1 (a nudge) to 3 (the shape of the code)
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=3))]
        level: u8,
    },
    /// Run one failing execution of a check again, and show it
    ///
    /// Exit codes: 0 it does not fail any more; 1 it fails; 2 there is no such check, or no such schedule.
    Replay {
        /// The lab
        lab: String,
        /// A check of that lab whose evidence is `explore`
        check: String,
        /// The schedule that the report shows: 1:17t2.23r1
        schedule: String,
        /// Show one step at a time: Enter goes on, q quits
        #[arg(long)]
        step: bool,
        /// Whose execution: submission, reference, mutant:NAME, variant:NAME, or a path
        #[arg(long, default_value = "submission")]
        subject: Subject,
        /// How the check is run
        #[command(flatten)]
        pace: PaceArgs,
    },
    /// Say how well this machine can shut checks in, and what to do for better
    Doctor,
    /// Make a grade of record of a report that was made elsewhere
    Record {
        /// The report, as --output FILE.json wrote it
        report: PathBuf,
        /// The commit that it must be about
        #[arg(long)]
        commit: String,
        /// The tier that the checks must have run in, or a better one
        #[arg(long, value_name = "TIER", default_value = "2")]
        require_tier: Tier,
        /// Also write the grade to a file, as JSON
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Check the course itself: stubs score nothing, references and variants everything, mutants are caught
    Verify {
        /// Labs to verify (default: all)
        labs: Vec<String>,
        /// How often each check is run
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        runs: u32,
        /// Compare what a student reads for each mutant with solutions/*/messages.md, or write those files
        #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "compare")]
        messages: Option<Messages>,
        /// How the checks are run
        #[command(flatten)]
        pace: PaceArgs,
    },
}

/// What to grade and how to report it.
#[derive(Debug, Args)]
pub struct GradeArgs {
    /// Labs, each optionally followed by some of its checks (default: all labs)
    #[arg(value_name = "LAB [CHECK…]")]
    pub words: Vec<String>,
    /// What to grade: submission, reference, mutant:NAME, variant:NAME, a path, or REPOSITORY@COMMIT
    #[arg(long, default_value = "submission")]
    pub subject: Subject,
    /// How to show the result
    #[arg(long, value_enum, default_value_t = Format::Terminal)]
    pub format: Format,
    /// Also write the report to a file, as its name ends: .json or .md (may be repeated)
    #[arg(long, value_name = "FILE", value_parser = ReportFile::parse)]
    pub output: Vec<ReportFile>,
    /// What decides the exit code
    #[arg(long, value_enum, default_value_t = ExitPolicy::Scored)]
    pub exit_policy: ExitPolicy,
    /// How the checks are run
    #[command(flatten)]
    pub pace: PaceArgs,
}

/// How checks are run.
#[derive(Debug, Args)]
pub struct PaceArgs {
    /// Repeat a run: the seed its report shows
    #[arg(long)]
    pub seed: Option<u64>,
    /// How many checks run at a time
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub jobs: u16,
    /// Stretch every deadline by this factor
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = factor)]
    pub time_budget: f64,
    /// Shut checks in this way and no other: 0, 1, 2, 3 or open (default: the best that works here)
    #[arg(long, value_name = "TIER")]
    pub tier: Option<Tier>,
    /// Do not run checks that are shut in less well than this
    #[arg(long, value_name = "TIER")]
    pub require_tier: Option<Tier>,
    /// Leave a protection of the sandbox out, to see that it is one
    #[arg(long, hide = true)]
    pub without: Option<Protection>,
}

/// The forms of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Terminal,
    /// For programs
    Json,
    /// For a summary page
    Markdown,
    /// Annotations in a workflow run
    Github,
}

/// What to do about the golden messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Messages {
    /// A message that is not in the file is wrong
    Compare,
    /// What is read now is kept
    Write,
}

/// Where a report goes besides standard output, in the form that its extension names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportFile {
    /// The file.
    pub path: PathBuf,
    /// Its form.
    pub format: Format,
}

impl ReportFile {
    fn parse(text: &str) -> Result<ReportFile, String> {
        let path = PathBuf::from(text);
        let format = match path.extension().and_then(|extension| extension.to_str()) {
            Some("json") => Format::Json,
            Some("md") => Format::Markdown,
            _ => return Err("the name must end in .json or .md".to_owned()),
        };
        Ok(ReportFile { path, format })
    }
}

/// What decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExitPolicy {
    /// 0 only for full marks
    Scored,
    /// 0 whenever grading ran to its end
    Ran,
}

fn factor(text: &str) -> Result<f64, String> {
    let factor: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.1..=100.0).contains(&factor) { Ok(factor) } else { Err("not between 0.1 and 100".to_owned()) }
}
