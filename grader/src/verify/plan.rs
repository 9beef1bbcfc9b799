//! What is to be run of a lab, and what can be seen to be wrong without running anything.

use crate::course::{Course, nearest};
use crate::error::{Error, Result};
use crate::lab::{Check, Evidence, Lab};
use crate::mutant::Mutant;
use crate::scratch::Unit;
use crate::subject::Subject;

use super::Findings;

/// One subject and what must come of it.
pub struct Planned<'a> {
    /// What to compile.
    pub unit: Unit<'a>,
    /// What must come of each check.
    pub expectation: Expectation,
    /// What to run on it.
    pub checks: Vec<&'a Check>,
}

/// What must come of every planned check of a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expectation {
    /// Stubs: every check says it is not started.
    NotStarted,
    /// The reference: every check passes.
    Passes,
    /// Another right answer of that name: every check passes.
    PassesToo(String),
    /// The mutant of that name: no check passes.
    Caught(String),
}

impl Expectation {
    /// The subject of whom it is expected, in words.
    pub fn subject(&self) -> String {
        match self {
            Expectation::NotStarted => "stubs".to_owned(),
            Expectation::Passes => "reference".to_owned(),
            Expectation::PassesToo(name) => format!("variant {name}"),
            Expectation::Caught(name) => format!("mutant {name}"),
        }
    }
}

/// The subjects of a lab: its stubs, its reference, its variants, its mutants.
///
/// # Errors
/// Failures of ours. What is wrong with the lab goes into the findings.
pub fn plan<'a>(course: &Course, lab: &'a Lab, findings: &mut Findings) -> Result<Vec<Planned<'a>>> {
    lab.inconsistencies().into_iter().for_each(|sentence| findings.add(sentence));
    let all: Vec<&Check> = lab.checks().map(|(_, check)| check).collect();
    let mut plan = Vec::new();
    plan.extend(subject(course, lab, &Subject::Submission, Expectation::NotStarted, &all, findings)?);
    if !course.has_solution(lab) {
        findings.add(format!("`{}` has no solution: solutions/{}/src/lib.rs", lab.name, lab.directory));
        return Ok(plan);
    }
    plan.extend(subject(course, lab, &Subject::Reference, Expectation::Passes, &all, findings)?);
    for variant in course.variants(lab) {
        let place = format!("solutions/{}/variants", lab.directory);
        variant.inconsistencies().iter().for_each(|said| findings.add(format!("{place}: {said}")));
        let name = variant.name;
        let expectation = Expectation::PassesToo(name.clone());
        plan.extend(subject(course, lab, &Subject::Variant(name), expectation, &all, findings)?);
    }
    let mutants = match course.mutants(lab) {
        Ok(mutants) => mutants,
        Err(Error::Course(sentences)) => {
            sentences.into_iter().for_each(|sentence| findings.add(sentence));
            return Ok(plan);
        }
        Err(error) => return Err(error),
    };
    let (running, least) =
        (mutants.iter().filter(|mutant| mutant.waits_for.is_none()).count(), course.least_mutants()?);
    if running < least {
        let count = crate::progress::plural(running, "mutant");
        findings.add(format!("{}: {count} to be caught, not {least} or more", file(lab)));
    }
    if least > 0 {
        for check in all.iter().filter(|check| !may_fail(check, &mutants)) {
            findings.add(format!("{}: no mutant is caught by `{}`", file(lab), check.name));
        }
    }
    for (index, mutant) in mutants.iter().enumerate() {
        let name = &mutant.name;
        if mutants[..index].iter().any(|other| other.name == *name) {
            findings.add(format!("{}: two mutants are named `{name}`", file(lab)));
            continue;
        }
        mutant.inconsistencies().iter().for_each(|said| findings.add(format!("{}: {said}", file(lab))));
        let checks = named_checks(lab, mutant, findings);
        let expectation = Expectation::Caught(name.clone());
        let planned = subject(course, lab, &Subject::Mutant(name.clone()), expectation, &checks, findings)?;
        match &mutant.waits_for {
            // Its edit has been seen to fit; nothing catches it yet.
            Some(kind) => {
                if !Evidence::ALL.iter().any(|known| known.to_string() == *kind) {
                    let kinds = Evidence::ALL.map(|kind| kind.to_string());
                    let near = nearest(kind, kinds.iter().map(String::as_str));
                    findings.add(format!(
                        "{}: mutant `{name}` waits for `{kind}`, which is no kind of evidence; {near}",
                        file(lab)
                    ));
                }
                findings.add_waiting(lab, mutant, kind);
            }
            None => plan.extend(planned),
        }
    }
    Ok(plan)
}

/// One subject, if its sources can be had.
fn subject<'a>(
    course: &Course,
    lab: &'a Lab,
    subject: &Subject,
    expectation: Expectation,
    checks: &[&'a Check],
    findings: &mut Findings,
) -> Result<Option<Planned<'a>>> {
    let (_, shown) = course.source_root(lab, subject);
    match course.sources(lab, subject) {
        Ok(Ok(sources)) => {
            let unit = Unit { id: format!("{}-{}", lab.name, subject.id()), lab, sources, shown };
            return Ok(Some(Planned { unit, expectation, checks: checks.to_vec() }));
        }
        Ok(Err(sentence)) => findings.add(sentence),
        Err(Error::Course(sentences)) => sentences.into_iter().for_each(|sentence| findings.add(sentence)),
        Err(error) => return Err(error),
    }
    Ok(None)
}

/// Whether there is something to show that the check can fail.
fn may_fail(check: &Check, mutants: &[Mutant]) -> bool {
    mutants.iter().any(|mutant| mutant.waits_for.is_none() && mutant.caught_by.contains(&check.name))
}

fn named_checks<'a>(lab: &'a Lab, mutant: &Mutant, findings: &mut Findings) -> Vec<&'a Check> {
    let mut checks = Vec::new();
    for word in &mutant.caught_by {
        match lab.check(word) {
            Some(check) => checks.push(check),
            None => {
                let near = nearest(word, lab.checks().map(|(_, check)| check.name.as_str()));
                findings.add(format!(
                    "{}: mutant `{}` is caught by `{word}`, which is no check; {near}",
                    file(lab),
                    mutant.name
                ));
            }
        }
    }
    checks
}

fn file(lab: &Lab) -> String {
    format!("solutions/{}/mutants.toml", lab.directory)
}
