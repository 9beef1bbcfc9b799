//! The course's acceptance test: every stub scores nothing and says so, every reference scores full
//! marks, every mutant is caught by each check it names.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use comfy_table::{Table, presets};

use crate::compile::{self, Build};
use crate::course::{Course, nearest};
use crate::error::{Error, Result};
use crate::grade::Settings;
use crate::lab::{Check, Lab};
use crate::mutant::Mutant;
use crate::progress::Progress;
use crate::runner::{Ran, Runner, Task, check_seed};
use crate::scratch::{Scratch, Unit};
use crate::subject::Subject;
use crate::verdict::Verdict;

/// What was found.
#[derive(Debug, Default)]
pub struct Findings {
    /// One sentence for each thing that is wrong.
    wrong: Vec<String>,
    /// Lab, subject, check, and how often it came out as it should, in that order.
    rows: Vec<Row>,
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
        table.add_rows(self.rows.iter().map(|row| {
            let rate = match &row.rate {
                Rate::Right(right, all) => format!("{right}/{all}"),
                Rate::WaitsFor(kind) => format!("waits for {kind}"),
            };
            [row.lab.clone(), row.subject.clone(), row.check.clone(), rate]
        }));
        let wrong = self.wrong.join("\n  ✗ ");
        match self.wrong.len() {
            0 => format!("{table}\n\nthe course is consistent\n"),
            count => {
                format!("{table}\n\n{} wrong:\n  ✗ {wrong}\n", crate::progress::plural(count, "thing"))
            }
        }
    }
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

/// Verifies the named labs, or all; each check runs `runs` times.
///
/// # Errors
/// Failures of ours. What is wrong with the course is in the findings.
pub fn verify(course: &Course, names: &[String], runs: u32, settings: &Settings) -> Result<Findings> {
    let slowness = crate::calibrate::slowness();
    let selections = course.select(names)?;
    let mut findings = Findings::default();
    let mut plan = Vec::new();
    for lab in selections.iter().map(|selection| selection.lab) {
        findings.wrong.extend(lab.inconsistencies());
        plan.extend(plan_lab(course, lab, &mut findings)?);
    }
    let progress = Progress::start();
    let scratch = Scratch::open(course, || progress.waiting())?;
    let units: Vec<Unit<'_>> = plan.iter().map(|planned| planned.unit.clone()).collect();
    progress.building(units.len());
    scratch.write(course, &units)?;
    let builds = compile::build(&scratch, &course.root, &units, &|ready| progress.built(ready))?;
    for planned in &plan {
        compare_names(planned, &builds, &mut findings);
    }
    let runner = Runner {
        course,
        scratch: &scratch,
        slowness,
        time_budget: settings.time_budget,
        jobs: settings.jobs,
    };
    let tasks = plan.iter().flat_map(|planned| planned.tasks(&builds, runs, settings));
    let (owners, tasks): (Vec<&Planned<'_>>, Vec<Task<'_>>) = tasks.unzip();
    progress.running(tasks.len());
    let ran =
        runner.run_all(&tasks, &|_, ran| Ok(ran), &|index, _| progress.ran(&tasks[index].check.name))?;
    progress.finish();
    if let Some(signal) = crate::signals::received() {
        return Err(Error::Interrupted(signal));
    }
    let results: Vec<_> = owners.into_iter().zip(tasks).zip(ran).collect();
    for group in
        results.chunk_by(|((a, s), _), ((b, t), _)| a.unit.id == b.unit.id && s.check.name == t.check.name)
    {
        findings.add(group);
    }
    Ok(findings)
}

/// One subject and what must come of it.
struct Planned<'a> {
    unit: Unit<'a>,
    expectation: Expectation,
    checks: Vec<&'a Check>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Expectation {
    /// Stubs: every check says it is not started.
    NotStarted,
    /// The reference: every check passes.
    Passes,
    /// A mutant: no check passes.
    Caught(String),
}

impl Planned<'_> {
    fn tasks<'a>(
        &'a self,
        builds: &'a BTreeMap<String, Build>,
        runs: u32,
        settings: &'a Settings,
    ) -> impl Iterator<Item = (&'a Planned<'a>, Task<'a>)> {
        let unit = &self.unit;
        let build = builds.get(&unit.id).into_iter();
        let checks = build.flat_map(|build| self.checks.iter().map(move |check| (build, *check)));
        checks.flat_map(move |(build, check)| {
            (0..runs).map(move |run| {
                let seed = settings.seed.wrapping_add(run.into());
                let seed = check_seed(seed, &unit.lab.name, &check.name);
                (self, Task { unit, build, check, seed })
            })
        })
    }
}

impl Findings {
    /// Adds the runs of one check of one subject.
    fn add(&mut self, group: &[((&Planned<'_>, Task<'_>), Ran)]) {
        let Some(((planned, task), _)) = group.first() else { return };
        let (lab, check) = (&task.unit.lab.name, &task.check.name);
        let is_right = |ran: &Ran| match (&planned.expectation, &ran.verdict) {
            (Expectation::Passes, verdict) => verdict.is_passed(),
            (Expectation::NotStarted, verdict) => matches!(verdict, Verdict::Unimplemented { .. }),
            (Expectation::Caught(_), verdict) => {
                !matches!(verdict, Verdict::Passed | Verdict::Inconclusive { .. } | Verdict::DidNotCompile(_))
            }
        };
        let right = group.iter().filter(|(_, ran)| is_right(ran)).count();
        let subject = match &planned.expectation {
            Expectation::NotStarted => "stubs".to_owned(),
            Expectation::Passes => "reference".to_owned(),
            Expectation::Caught(name) => format!("mutant {name}"),
        };
        if let Some((_, ran)) = group.iter().find(|(_, ran)| !is_right(ran)) {
            let said = match ran.verdict.why() {
                Some(why) => format!("{} ({})", ran.verdict.word(), why.trim()),
                None => ran.verdict.word().to_owned(),
            };
            let should = match &planned.expectation {
                Expectation::NotStarted => "must be reported as not started",
                Expectation::Passes => "must pass",
                Expectation::Caught(_) => "must be caught",
            };
            let wrong = group.len() - right;
            let times =
                if group.len() == 1 { String::new() } else { format!(" {wrong} of {} times", group.len()) };
            self.wrong.push(format!("{lab}: `{check}` on the {subject} {should}, but was{times} {said}"));
        }
        self.count(
            lab,
            subject,
            check,
            matches!(planned.expectation, Expectation::Caught(_)),
            (right, group.len()),
        );
    }
}

impl Findings {
    /// A line for each check of a mutant; one line for all checks of any other subject.
    fn count(&mut self, lab: &str, subject: String, check: &str, apart: bool, (right, all): (usize, usize)) {
        match self.rows.last_mut() {
            Some(Row { lab: last_lab, subject: last, rate: Rate::Right(sum_right, sum), .. })
                if !apart && last_lab == lab && *last == subject =>
            {
                *sum_right += right;
                *sum += all;
            }
            _ => {
                let check = if apart { check } else { "all" }.to_owned();
                self.rows.push(Row { lab: lab.to_owned(), subject, check, rate: Rate::Right(right, all) });
            }
        }
    }
}

fn plan_lab<'a>(course: &Course, lab: &'a Lab, findings: &mut Findings) -> Result<Vec<Planned<'a>>> {
    let all: Vec<&Check> = lab.checks().map(|(_, check)| check).collect();
    let mut plan = Vec::new();
    let mut add = |subject: &Subject, expectation, checks, findings: &mut Findings| -> Result<()> {
        let (_, shown) = course.source_root(lab, subject);
        match course.sources(lab, subject) {
            Ok(Ok(sources)) => {
                let unit = Unit { id: format!("{}-{}", lab.name, subject.id()), lab, sources, shown };
                plan.push(Planned { unit, expectation, checks });
            }
            Ok(Err(sentence)) => findings.wrong.push(sentence),
            Err(Error::Course(sentences)) => {
                findings.wrong.extend(sentences.into_iter().map(|said| format!("{}: {said}", lab.name)));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    };
    add(&Subject::Submission, Expectation::NotStarted, all.clone(), findings)?;
    if !course.has_solution(lab) {
        findings
            .wrong
            .push(format!("`{}` has no solution: solutions/{}/src/lib.rs", lab.name, lab.directory));
        return Ok(plan);
    }
    add(&Subject::Reference, Expectation::Passes, all, findings)?;
    let mutants = match course.mutants(lab) {
        Ok(mutants) => mutants,
        Err(Error::Course(sentences)) => {
            findings.wrong.extend(sentences);
            return Ok(plan);
        }
        Err(error) => return Err(error),
    };
    let mut names = BTreeSet::new();
    for mutant in &mutants {
        let checks = named_checks(lab, mutant, &mut names, findings);
        if let Some(kind) = &mutant.waits_for {
            findings.rows.push(Row {
                lab: lab.name.clone(),
                subject: format!("mutant {}", mutant.name),
                check: mutant.caught_by.join(", "),
                rate: Rate::WaitsFor(kind.clone()),
            });
        } else {
            let subject = Subject::Mutant(mutant.name.clone());
            add(&subject, Expectation::Caught(mutant.name.clone()), checks, findings)?;
        }
    }
    Ok(plan)
}

fn named_checks<'a>(
    lab: &'a Lab,
    mutant: &Mutant,
    names: &mut BTreeSet<String>,
    findings: &mut Findings,
) -> Vec<&'a Check> {
    let (name, file) = (&mutant.name, format!("solutions/{}/mutants.toml", lab.directory));
    if !names.insert(name.clone()) {
        findings.wrong.push(format!("{file}: two mutants are named `{name}`"));
    }
    if mutant.bug.trim().is_empty() {
        findings.wrong.push(format!("{file}: mutant `{name}` does not say what its bug is"));
    }
    if mutant.caught_by.is_empty() {
        findings.wrong.push(format!("{file}: mutant `{name}` is caught by no check"));
    }
    let mut checks = Vec::new();
    for word in &mutant.caught_by {
        match lab.check(word) {
            Some(check) => checks.push(check),
            None => {
                let near = nearest(word, lab.checks().map(|(_, check)| check.name.as_str()));
                findings.wrong.push(format!(
                    "{file}: mutant `{name}` is caught by `{word}`, which is no check; {near}"
                ));
            }
        }
    }
    checks
}

/// The rubric and the check binary must name the same checks.
fn compare_names(planned: &Planned<'_>, builds: &BTreeMap<String, Build>, findings: &mut Findings) {
    let lab = planned.unit.lab;
    let binary = match builds.get(&planned.unit.id) {
        Some(Build::Binary(binary)) => binary,
        Some(Build::Errors(errors)) => {
            let said = anstream::adapter::strip_str(&errors.first).to_string();
            findings.wrong.push(format!("{} does not compile:\n{}", planned.unit.id, said.trim_end()));
            return;
        }
        None => return,
    };
    if planned.expectation != Expectation::Passes {
        return;
    }
    let Ok(output) = Command::new(binary).arg("list").output() else {
        findings.wrong.push(format!("{}: the check binary cannot list its checks", lab.name));
        return;
    };
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    let listed: BTreeSet<&str> = listed.lines().collect();
    let rubric: BTreeSet<&str> = lab.checks().map(|(_, check)| check.name.as_str()).collect();
    let directory = &lab.directory;
    for name in rubric.difference(&listed) {
        findings
            .wrong
            .push(format!("labs/{directory}/checks.rs has no check `{name}`, which lab.toml names"));
    }
    for name in listed.difference(&rubric) {
        findings
            .wrong
            .push(format!("labs/{directory}/lab.toml does not name `{name}`, a check of checks.rs"));
    }
}
