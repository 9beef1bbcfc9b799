//! The grader of the course: builds the labs, runs their checks, and says what was earned and why.

mod calibrate;
mod cli;
mod commit;
mod compile;
mod course;
mod descendants;
mod doctor;
mod error;
mod exit_code;
mod grade;
mod hint;
mod ignored;
mod judge;
mod lab;
mod list;
mod machine_code;
mod manifest;
mod mutant;
mod output;
mod progress;
#[cfg(test)]
mod properties;
mod publish;
mod record;
mod replay;
mod report;
mod runner;
mod sandbox;
mod score;
mod scratch;
mod signals;
mod subject;
mod twin;
mod variant;
mod verdict;
mod verify;

use clap::Parser;

use crate::cli::{Cli, Command, ExitPolicy, GradeArgs, PaceArgs};
use crate::course::Course;
use crate::error::{Error, Result};
use crate::exit_code::ExitCode;
use crate::grade::Settings;
use crate::subject::Subject;

fn main() -> std::process::ExitCode {
    if let Some(code) = twin::in_place_of_rustc() {
        return code;
    }
    if let Some(code) = sandbox::warden::in_place_of_grader() {
        return code;
    }
    if let Some(code) = sandbox::probe::in_place_of_check() {
        return code;
    }
    let cli = Cli::parse();
    let ended = run(cli);
    if let Some(sentence) = sandbox::swept() {
        publish::warn(&sentence);
    }
    let code = ended.unwrap_or_else(|error| {
        publish::complain(&error);
        error.exit_code()
    });
    descendants::wait_for_the_last();
    code.into()
}

fn run(cli: Cli) -> Result<ExitCode> {
    signals::install()?;
    sandbox::adopt_orphans();
    sandbox::shut_memory();
    let course = Course::discover()?;
    match cli.command {
        None => grade(&course, &cli.grade),
        Some(Command::List { labs }) => {
            publish::print(&list::render(&course, &labs)?)?;
            Ok(ExitCode::FullMarks)
        }
        Some(Command::Hint { lab, part_or_check, level }) => {
            publish::print(&hint::render(course.lab(&lab)?, &part_or_check, level)?)?;
            Ok(ExitCode::FullMarks)
        }
        Some(Command::Replay { lab, check, schedule, step, subject, pace }) => {
            let settings = settings(subject, &pace)?;
            replay::replay(&course, &lab, &check, &schedule, step, &settings)
        }
        Some(Command::Record { report, commit, require_tier, output }) => {
            record::record(&course, &report, &commit, require_tier, output.as_deref())
        }
        Some(Command::Doctor) => doctor::doctor(&course),
        Some(Command::Verify { labs, runs, messages, pace }) => {
            let settings = settings(Subject::Submission, &pace)?;
            let findings = verify::verify(&course, &labs, runs, messages, &settings)?;
            publish::print(&findings.render())?;
            Ok(if findings.is_sound() { ExitCode::FullMarks } else { ExitCode::InconsistentCourse })
        }
    }
}

fn grade(course: &Course, args: &GradeArgs) -> Result<ExitCode> {
    let selections = course.select_for(&args.subject, &args.words)?;
    let settings = settings(args.subject.clone(), &args.pace)?;
    let mut listener = publish::Listener::new(args);
    let report = grade::grade(course, &selections, &settings, &mut listener)?;
    publish::report(&report, args.format, &args.output)?;
    let full = report.score.is_full() || args.exit_policy == ExitPolicy::Ran;
    Ok(match signals::received() {
        Some(signal) => ExitCode::Interrupted(signal),
        None if full => ExitCode::FullMarks,
        None => ExitCode::PointsLost,
    })
}

fn settings(subject: Subject, pace: &PaceArgs) -> Result<Settings> {
    let seed = match pace.seed {
        Some(seed) => seed,
        None => {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            let now = now.map_err(|_| Error::Internal("the clock is before 1970".to_owned()))?;
            // Short enough to be typed.
            u64::from(now.subsec_nanos()) % 1_000_000
        }
    };
    Ok(Settings {
        subject,
        seed,
        jobs: pace.jobs.into(),
        time_budget: pace.time_budget,
        tier: pace.tier,
        require_tier: pace.require_tier,
        without: pace.without,
    })
}
