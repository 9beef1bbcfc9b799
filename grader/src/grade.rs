//! Grades one subject: reads, builds, runs, and puts the report together.

use std::collections::BTreeMap;

use crate::compile::{self, Build};
use crate::course::{Course, Selection};
use crate::error::Result;
use crate::progress::Progress;
use crate::report::{CheckReport, LabReport, Report};
use crate::runner::{Ran, Runner, Task, check_seed};
use crate::scratch::{Scratch, Unit};
use crate::subject::Subject;
use crate::verdict::{Uncompiled, Verdict};

/// How to grade.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What to grade.
    pub subject: Subject,
    /// The seed every check's own seed is derived from.
    pub seed: u64,
    /// How many checks run at a time.
    pub jobs: usize,
    /// Stretches every deadline.
    pub time_budget: f64,
}

/// Grades the selected checks.
///
/// # Errors
/// Failures of ours; whatever the student did is in the report.
pub fn grade(course: &Course, selections: &[Selection<'_>], settings: &Settings) -> Result<Report> {
    let slowness = crate::calibrate::slowness();
    let mut unreadable = BTreeMap::new();
    let mut units = Vec::new();
    for Selection { lab, .. } in selections {
        match course.sources(lab, &settings.subject)? {
            Ok(sources) => {
                let (_, shown) = course.source_root(lab, &settings.subject);
                units.push(Unit {
                    id: format!("{}-{}", lab.name, settings.subject.id()),
                    lab,
                    sources,
                    shown,
                });
            }
            Err(why) => {
                unreadable.insert(lab.name.as_str(), why);
            }
        }
    }
    let progress = Progress::start();
    let scratch = Scratch::open(course, || progress.waiting())?;
    progress.building(units.len());
    let builds = build(&scratch, course, &units, &progress)?;
    let runner = Runner {
        course,
        scratch: &scratch,
        slowness,
        time_budget: settings.time_budget,
        jobs: settings.jobs,
    };
    let tasks: Vec<Task<'_>> = selections
        .iter()
        .filter_map(|selection| {
            let unit = units.iter().find(|unit| unit.lab.name == selection.lab.name)?;
            let build = builds.get(&unit.id)?;
            Some((selection, unit, build))
        })
        .flat_map(|(selection, unit, build)| {
            selection.checks.iter().map(move |check| Task {
                unit,
                build,
                check,
                seed: check_seed(settings.seed, &selection.lab.name, &check.name),
            })
        })
        .collect();
    progress.running(tasks.len());
    let ran = runner.run_all(&tasks, &|task| progress.ran(&task.check.name))?;
    let mut results: BTreeMap<(&str, &str), Ran> = tasks
        .iter()
        .zip(ran)
        .map(|(task, ran)| ((task.unit.lab.name.as_str(), task.check.name.as_str()), ran))
        .collect();
    excuse_slow_machine(&runner, &tasks, settings, &progress, &mut results)?;
    progress.finish();

    let labs = selections.iter().map(|selection| {
        let lab = selection.lab;
        let checks = lab.checks().filter(|(_, check)| selection.checks.iter().any(|c| c.name == check.name));
        let checks = checks.map(|(part, check)| {
            let ran = results.remove(&(lab.name.as_str(), check.name.as_str())).unwrap_or_else(|| {
                let why = unreadable.get(lab.name.as_str()).cloned().unwrap_or_default();
                Ran::without_running(Verdict::DidNotCompile(Uncompiled::Unreadable(why)))
            });
            CheckReport::new(lab, part, check, settings, ran)
        });
        LabReport::new(lab, checks.collect())
    });
    Ok(Report::new(labs.collect(), settings, slowness))
}

fn build(
    scratch: &Scratch,
    course: &Course,
    units: &[Unit<'_>],
    progress: &Progress,
) -> Result<BTreeMap<String, Build>> {
    if units.is_empty() {
        return Ok(BTreeMap::new());
    }
    scratch.write(course, units)?;
    compile::build(scratch, &course.root, units, &|ready| progress.built(ready))
}

/// A check that timed out is run on the reference as well: when that does not pass here and now either,
/// the time says nothing about the submission.
fn excuse_slow_machine<'a>(
    runner: &Runner<'_>,
    tasks: &[Task<'a>],
    settings: &Settings,
    progress: &Progress,
    results: &mut BTreeMap<(&'a str, &'a str), Ran>,
) -> Result<()> {
    let course = runner.course;
    let late: Vec<&Task<'a>> = tasks
        .iter()
        .filter(|task| {
            let ran = results.get(&(task.unit.lab.name.as_str(), task.check.name.as_str()));
            ran.is_some_and(|ran| matches!(ran.verdict, Verdict::TimedOut { .. }))
        })
        .filter(|task| course.has_solution(task.unit.lab))
        .collect();
    if late.is_empty() || settings.subject == Subject::Reference || crate::signals::received().is_some() {
        return Ok(());
    }
    let mut units: Vec<Unit<'_>> = Vec::new();
    for task in &late {
        let lab = task.unit.lab;
        if units.iter().any(|unit| unit.lab.name == lab.name) {
            continue;
        }
        if let Ok(sources) = course.sources(lab, &Subject::Reference)? {
            let (_, shown) = course.source_root(lab, &Subject::Reference);
            units.push(Unit { id: format!("{}-reference", lab.name), lab, sources, shown });
        }
    }
    progress.control();
    let builds = build(runner.scratch, course, &units, progress)?;
    for task in late {
        let Some(unit) = units.iter().find(|unit| unit.lab.name == task.unit.lab.name) else { continue };
        let Some(build) = builds.get(&unit.id) else { continue };
        let control = runner.run(&Task { unit, build, ..task.clone() })?;
        let ran = results.get_mut(&(task.unit.lab.name.as_str(), task.check.name.as_str()));
        if let (Some(ran), false) = (ran, control.verdict.is_passed()) {
            ran.verdict = Verdict::Inconclusive {
                why: "the check took too long, and so did the reference solution on this machine just now; \
                      run it again when the machine is less busy, or with `--time-budget 4`"
                    .to_owned(),
            };
        }
    }
    Ok(())
}
