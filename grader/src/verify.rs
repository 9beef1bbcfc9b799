//! The course's acceptance test: every stub scores nothing and says so, every reference and every variant of it scores full
//! marks, every mutant is caught by each check it names.

mod findings;
pub mod messages;
mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

pub use self::findings::Findings;
use self::messages::Review;
use self::plan::{Expectation, Planned};
use crate::cli::Messages;
use crate::compile::{self, Build, CompileErrors};
use crate::course::Course;
use crate::error::{Error, Result};
use crate::grade::Settings;
use crate::lab::{Evidence, Lab};
use crate::progress::Progress;
use crate::runner::{Runner, Task, check_seed};
use crate::sandbox::probe;
use crate::scratch::{Scratch, Unit};
use crate::twin::Twins;

/// Verifies the named labs, or all; each check runs `runs` times. The golden messages are left aside unless asked for.
///
/// # Errors
/// Failures of ours. What is wrong with the course is in the findings.
pub fn verify(
    course: &Course,
    names: &[String],
    runs: u32,
    messages: Option<Messages>,
    settings: &Settings,
) -> Result<Findings> {
    let slowness = crate::calibrate::slowness();
    let labs: Vec<&Lab> = course.select(names)?.iter().map(|selection| selection.lab).collect();
    let mut findings = Findings::default();
    let mut plan = Vec::new();
    for lab in &labs {
        plan.extend(plan::plan(course, lab, &mut findings)?);
    }
    let progress = Progress::start();
    let scratch = Scratch::open(course, || progress.waiting())?;
    let units: Vec<Unit<'_>> = plan.iter().map(|planned| planned.unit.clone()).collect();
    let explored: Vec<Unit<'_>> =
        plan.iter().filter(|planned| planned.explores()).map(|planned| planned.unit.clone()).collect();
    progress.building(units.len(), explored.len());
    scratch.write(course, &units)?;
    let twins = Twins::default();
    let builds = std::thread::scope(|scope| {
        scope.spawn(|| twins.build(&scratch, course, &explored));
        compile::build(&scratch, &course.root, &units, &|ready| progress.built(ready))
    })?;
    for planned in &plan {
        match builds.get(&planned.unit.id) {
            Some(Build::Errors(errors)) => findings.add_uncompiled(planned, errors),
            Some(Build::Refused(why)) => {
                let refused = CompileErrors { first: why.clone(), ..CompileErrors::default() };
                findings.add_uncompiled(planned, &refused);
            }
            Some(Build::Binary(_)) | None => {}
        }
    }
    let mut runnable = BTreeMap::new();
    for lab in &labs {
        runnable.insert(lab.name.as_str(), compare_names(lab, &plan, &builds, &mut findings));
    }
    let tier = probe::choose(course, &scratch, settings.tier, settings.require_tier)?;
    let runner = Runner::new(course, &scratch, settings, slowness, tier);
    let tasks = plan.iter().filter_map(|planned| {
        let build = builds.get(&planned.unit.id).filter(|build| matches!(build, Build::Binary(_)))?;
        Some(planned.tasks(build, &twins, runnable.get(planned.unit.lab.name.as_str())?, runs, settings))
    });
    let (owners, tasks): (Vec<&Planned<'_>>, Vec<Task<'_>>) = tasks.flatten().unzip();
    progress.running(tasks.len());
    let ran =
        runner.run_all(&tasks, &|_, ran| Ok(ran), &|index, _| progress.ran(&tasks[index].check.name))?;
    progress.finish();
    if let Some(signal) = crate::signals::received() {
        return Err(Error::Interrupted(signal));
    }
    let results: Vec<_> = owners.into_iter().zip(tasks).zip(ran).collect();
    let groups: Vec<_> = results
        .chunk_by(|((a, s), _), ((b, t), _)| a.unit.id == b.unit.id && s.check.name == t.check.name)
        .collect();
    groups.iter().for_each(|group| findings.add_runs(group));
    if let Some(what) = messages {
        let review = Review { course, runner: &runner, settings, what };
        for lab in labs {
            let groups = groups.iter().copied().filter(|group| group[0].0.1.unit.lab.name == lab.name);
            let groups: Vec<_> = groups.collect();
            review.lab(lab, &groups, &mut findings)?;
        }
    }
    Ok(findings)
}

impl Planned<'_> {
    /// Whether some planned check explores.
    fn explores(&self) -> bool {
        self.checks.iter().any(|check| check.evidence == Evidence::Explore)
    }

    /// What there is to run; checks that the binary does not have are left out.
    fn tasks<'a>(
        &'a self,
        build: &'a Build,
        twins: &'a Twins,
        runnable: &'a BTreeSet<String>,
        runs: u32,
        settings: &'a Settings,
    ) -> impl Iterator<Item = (&'a Planned<'a>, Task<'a>)> {
        let unit = &self.unit;
        let checks = self.checks.iter().filter(|check| runnable.contains(&check.name));
        checks.flat_map(move |check| {
            (0..runs).map(move |run| {
                let seed = settings.seed.wrapping_add(run.into());
                let seed = check_seed(seed, &unit.lab.name, check);
                (self, Task { unit, build, twins, check, seed })
            })
        })
    }
}

/// The rubric and the check binaries must name the same checks. Returns those that a binary has.
fn compare_names(
    lab: &Lab,
    plan: &[Planned<'_>],
    builds: &BTreeMap<String, Build>,
    findings: &mut Findings,
) -> BTreeSet<String> {
    let mut built = plan.iter().filter(|planned| planned.unit.lab.name == lab.name);
    let binary = built.find_map(|planned| match builds.get(&planned.unit.id)? {
        Build::Binary(binary) => Some(binary),
        Build::Errors(_) | Build::Refused(_) => None,
    });
    let Some(binary) = binary else { return BTreeSet::new() };
    let output = match Command::new(binary).arg("list").output() {
        Ok(output) if output.status.success() => output,
        Ok(_) | Err(_) => {
            findings.add(format!("{}: the check binary cannot list its checks", lab.name));
            return BTreeSet::new();
        }
    };
    let listed: BTreeSet<String> =
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    let rubric: BTreeSet<String> = lab.checks().map(|(_, check)| check.name.clone()).collect();
    let directory = &lab.directory;
    for name in rubric.difference(&listed) {
        findings.add(format!("labs/{directory}/checks.rs has no check `{name}`, which lab.toml names"));
    }
    for name in listed.difference(&rubric) {
        findings.add(format!("labs/{directory}/lab.toml does not name `{name}`, a check of checks.rs"));
    }
    listed
}
