//! What a student reads for each mutant, beside the golden file `messages.md` of the lab's solution.
//!
//! A message has changed when the comparison is certain of it. An interleaving is the same text in every run and is
//! compared whole. Every other message is compared by its shape, and since a mistake may show itself in several ways, of
//! which the file keeps those that were seen, only when none of several runs shows a kept one.

pub mod golden;
mod shape;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use self::golden::{Entry, Golden, one_line};
use self::shape::shape;
use super::{Expectation, Findings, Planned};
use crate::cli::Messages;
use crate::course::Course;
use crate::error::Result;
use crate::grade::Settings;
use crate::lab::Lab;
use crate::mutant::Mutant;
use crate::report::{CheckReport, terminal};
use crate::runner::{Ran, Runner, Task};
use crate::subject::Subject;
use crate::verdict::Verdict;

/// So many runs must all show an unknown message before it counts as a changed one.
const RUNS: u64 = 6;

/// All runs of one check of one subject.
type Group<'a, 'b> = &'b [((&'a Planned<'a>, Task<'a>), Ran)];

/// What one run said.
struct Message {
    /// As the terminal shows it.
    text: String,
    /// Whether it is the same text in every run.
    is_certain: bool,
}

impl Message {
    fn is_like(&self, form: &str) -> bool {
        if self.is_certain { self.text == form } else { shape(&self.text) == shape(form) }
    }
}

/// Compares or writes the golden files of the labs.
pub struct Review<'a> {
    pub course: &'a Course,
    pub runner: &'a Runner<'a>,
    pub settings: &'a Settings,
    pub what: Messages,
}

impl Review<'_> {
    /// Goes through the mutants of a lab; what is not as the file says goes into the findings.
    ///
    /// # Errors
    /// When a check cannot be run again, or the file cannot be written.
    pub fn lab(&self, lab: &Lab, groups: &[Group<'_, '_>], findings: &mut Findings) -> Result<()> {
        // What is wrong with the file of mutants has been said.
        let Ok(mutants) = self.course.mutants(lab) else { return Ok(()) };
        let path = self.course.solution_folder(lab).join("messages.md");
        let text = fs::read_to_string(&path).unwrap_or_default();
        let kept = Golden::parse(&text);
        let mut seen = Golden { compiler: compiler(), entries: BTreeMap::new() };
        let shown = format!("solutions/{}/messages.md", lab.directory);
        for group in groups {
            let Some(((planned, task), _)) = group.first() else { continue };
            let Expectation::Caught(name) = &planned.expectation else { continue };
            let Some(mutant) = mutants.iter().find(|mutant| mutant.name == *name) else { continue };
            let entry = kept.entries.get(name);
            let known =
                entry.and_then(|entry| entry.checks.get(&task.check.name)).cloned().unwrap_or_default();
            let messages: Vec<Message> =
                group.iter().filter_map(|((_, task), ran)| self.message(mutant, task, ran)).collect();
            if messages.is_empty() {
                continue; // not caught: that has been said
            }
            match self.what {
                Messages::Write => {
                    let entry = seen
                        .entries
                        .entry(name.clone())
                        .or_insert_with(|| Entry { bug: one_line(&mutant.bug), checks: BTreeMap::new() });
                    entry.checks.insert(task.check.name.clone(), forms(&known, &messages));
                }
                Messages::Compare => {
                    if let Some(changed) = self.changed(mutant, task, &known, messages)? {
                        let (check, old) = (&task.check.name, kept.compiler.as_str());
                        let by = if old == seen.compiler || old.is_empty() {
                            String::new()
                        } else {
                            format!(" (it was written with {old}, this is {})", seen.compiler)
                        };
                        findings.add(format!(
                            "{shown}: mutant `{name}` is caught by `{check}` with a message that is not there{by}; \
                             read it, and if it names the cause: `verify {} --messages=write`\n{changed}",
                            lab.name
                        ));
                    }
                }
            }
        }
        match self.what {
            Messages::Write => crate::publish::write(&path, &seen.render(&lab.name, &order(&mutants))),
            Messages::Compare => {
                stale(&kept, &mutants).into_iter().for_each(|said| findings.add(format!("{shown}: {said}")));
                Ok(())
            }
        }
    }

    /// The message, if it is not a known one in any of several runs.
    fn changed(
        &self,
        mutant: &Mutant,
        task: &Task<'_>,
        known: &[String],
        mut messages: Vec<Message>,
    ) -> Result<Option<String>> {
        let is_known = |message: &Message| known.iter().any(|form| message.is_like(form));
        let mut run = 1;
        while !messages.iter().any(is_known) {
            let is_settled = known.is_empty() || messages.iter().all(|message| message.is_certain);
            if is_settled || run == RUNS {
                return Ok(messages.pop().map(|message| message.text));
            }
            let again = Task { seed: task.seed.wrapping_add(run), ..task.clone() };
            let ran = self.runner.run(&again)?;
            messages.extend(self.message(mutant, &again, &ran));
            run += 1;
        }
        Ok(None)
    }

    /// What a student reads about a run; nothing for one that lost no point.
    fn message(&self, mutant: &Mutant, task: &Task<'_>, ran: &Ran) -> Option<Message> {
        if matches!(ran.verdict, Verdict::Passed | Verdict::Inconclusive { .. } | Verdict::DidNotCompile(_)) {
            return None;
        }
        let lab = task.unit.lab;
        let (part, check) = lab.checks().find(|(_, check)| check.name == task.check.name)?;
        let settings = Settings { subject: Subject::Mutant(mutant.name.clone()), ..self.settings.clone() };
        let report = CheckReport::new(lab, part, check, &settings, ran.clone());
        let text = terminal::alone(&lab.name, &report);
        Some(Message { text, is_certain: matches!(ran.verdict, Verdict::Found(_)) })
    }
}

/// The forms to keep: each that was seen, in the words of the one already kept where there is one, and the other kept
/// ones as long as any of them is still seen.
fn forms(known: &[String], messages: &[Message]) -> Vec<String> {
    let is_alive = messages.iter().any(|message| known.iter().any(|form| message.is_like(form)));
    let is_certain = messages.iter().all(|message| message.is_certain);
    let mut forms = if is_alive && !is_certain { known.to_vec() } else { Vec::new() };
    for message in messages {
        if !forms.iter().any(|form| message.is_like(form)) {
            forms.push(message.text.clone());
        }
    }
    forms
}

/// What the file says about mutants and checks that are no more, or says otherwise than `mutants.toml`.
fn stale(kept: &Golden, mutants: &[Mutant]) -> Vec<String> {
    let mut found = Vec::new();
    for (name, entry) in &kept.entries {
        let Some(mutant) = mutants.iter().find(|mutant| mutant.name == *name) else {
            found.push(format!("there is no mutant `{name}`"));
            continue;
        };
        if entry.bug != one_line(&mutant.bug) {
            found.push(format!("the bug of mutant `{name}` is another one than in mutants.toml"));
        }
        let strangers = entry.checks.keys().filter(|check| !mutant.caught_by.contains(check));
        found.extend(strangers.map(|check| format!("mutant `{name}` need not be caught by `{check}`")));
    }
    found
}

fn order(mutants: &[Mutant]) -> Vec<(String, Vec<String>)> {
    mutants.iter().map(|mutant| (mutant.name.clone(), mutant.caught_by.clone())).collect()
}

/// The first two words of `rustc --version`: `rustc 1.95.0`.
fn compiler() -> String {
    let rustc = std::env::var_os("RUSTC").map_or_else(|| PathBuf::from("rustc"), PathBuf::from);
    let said = Command::new(rustc).arg("--version").output();
    let said = said.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    said.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}
