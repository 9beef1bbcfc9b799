//! A lab's rubric, as `lab.toml` states it: parts, checks, points, deadlines, hints.
//!
//! Points and names of checks come from here only, never from a binary with a student's code in it.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use serde::Deserialize;

use crate::sandbox::tier::Need;

/// One lab of the course.
#[derive(Debug, Clone)]
pub struct Lab {
    /// Folder below `labs/`: `05-spinlock`.
    pub directory: String,
    /// Short name: `spinlock`.
    pub name: String,
    /// The rubric.
    pub rubric: Rubric,
}

/// The contents of `lab.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rubric {
    /// Heading in reports.
    pub title: String,
    /// One sentence: what the student builds.
    pub summary: String,
    /// In the order in which they are meant to be solved.
    pub parts: Vec<Part>,
}

/// A group of checks about one piece of the lab.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Kebab-case, unique in the lab.
    pub name: String,
    /// Heading in reports.
    pub title: String,
    /// From a nudge to the shape of the code.
    pub hints: Vec<String>,
    /// The checks, in order.
    pub checks: Vec<Check>,
}

/// One property that the submission must have.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Kebab-case statement of the property, unique in the lab.
    pub name: String,
    /// What it is worth.
    pub points: u32,
    /// Seconds on an idle machine.
    deadline: f64,
    /// The property in one sentence.
    pub says: String,
    /// The kind of evidence the check rests on.
    pub evidence: Evidence,
    /// What its proof needs of the sandbox. Where that cannot be had, the check is Inconclusive.
    #[serde(default)]
    pub needs: Vec<Need>,
    /// What it may use that a sandbox otherwise refuses.
    #[serde(default)]
    pub uses: Vec<Use>,
}

/// What a sandbox refuses where it cannot be kept inside, unless a check is there for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Use {
    /// UNIX sockets with a name, which services of the machine have, too.
    NamedSockets,
}

/// The kinds of evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    /// Every interleaving up to a bound.
    Explore,
    /// System calls that misbehave as the manual allows.
    Faults,
    /// The kernel's word.
    Observe,
    /// Real processes on real CPUs.
    Stress,
    /// What the submission returns.
    Answers,
    /// The instructions the compiler produced.
    MachineCode,
}

impl Lab {
    /// Reads the rubric of the lab in `labs/<directory>`.
    ///
    /// # Errors
    /// One sentence with the place: `labs/05-spinlock/lab.toml:3:1: …`.
    pub fn parse(directory: &str, text: &str) -> Result<Lab, String> {
        let rubric: Rubric = toml::from_str(text).map_err(|error| {
            let place = place(text, error.span());
            format!("labs/{directory}/lab.toml:{place}: {}", error.message().replace('\n', "; "))
        })?;
        for check in rubric.parts.iter().flat_map(|part| &part.checks) {
            if !(check.deadline > 0.0 && check.deadline <= 600.0) {
                let name = &check.name;
                return Err(format!(
                    "labs/{directory}/lab.toml: the deadline of `{name}` is not between 0 and 600 seconds"
                ));
            }
        }
        let name = directory.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start_matches('-');
        Ok(Lab { directory: directory.to_owned(), name: name.to_owned(), rubric })
    }

    /// The name that `checks.rs` imports the subject by.
    pub fn crate_name(&self) -> String {
        self.name.replace('-', "_")
    }

    /// Every check with its part, in the order of the rubric.
    pub fn checks(&self) -> impl Iterator<Item = (&Part, &Check)> {
        self.rubric.parts.iter().flat_map(|part| part.checks.iter().map(move |check| (part, check)))
    }

    /// The check of that name.
    pub fn check(&self, name: &str) -> Option<&Check> {
        self.checks().map(|(_, check)| check).find(|check| check.name == name)
    }

    /// What the whole lab is worth.
    pub fn points(&self) -> u32 {
        self.checks().map(|(_, check)| check.points).sum()
    }

    /// What is wrong with the rubric as a rubric; empty for a sound one.
    pub fn inconsistencies(&self) -> Vec<String> {
        let file = format!("labs/{}/lab.toml", self.directory);
        let mut found = Vec::new();
        if self.points() != 100 {
            found.push(format!("{file}: the points of the checks add up to {}, not 100", self.points()));
        }
        for part in &self.rubric.parts {
            if part.hints.len() != 3 {
                found.push(format!(
                    "{file}: part `{}` has {} hints; give it three",
                    part.name,
                    part.hints.len()
                ));
            }
        }
        let parts = self.rubric.parts.iter().map(|part| part.name.as_str());
        let checks = self.checks().map(|(_, check)| check.name.as_str());
        for (kind, names) in [("part", parts.collect::<Vec<_>>()), ("check", checks.collect())] {
            for (index, name) in names.iter().enumerate() {
                if !is_kebab_case(name) {
                    found.push(format!("{file}: the {kind} name `{name}` is not kebab-case"));
                }
                if names[..index].contains(name) {
                    found.push(format!("{file}: two {kind}s are named `{name}`"));
                }
            }
        }
        for (_, check) in self.checks().filter(|(_, check)| check.points == 0) {
            found.push(format!("{file}: `{}` is worth nothing", check.name));
        }
        found
    }
}

impl Check {
    /// Time allowed on an idle machine.
    pub fn deadline(&self) -> Duration {
        Duration::from_secs_f64(self.deadline)
    }
}

impl Evidence {
    /// Every kind.
    pub const ALL: [Evidence; 6] = [
        Evidence::Explore,
        Evidence::Faults,
        Evidence::Observe,
        Evidence::Stress,
        Evidence::Answers,
        Evidence::MachineCode,
    ];
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Evidence::Explore => "explore",
            Evidence::Faults => "faults",
            Evidence::Observe => "observe",
            Evidence::Stress => "stress",
            Evidence::Answers => "answers",
            Evidence::MachineCode => "machine-code",
        })
    }
}

/// `line:column`, both from 1, of a place in `text`.
pub fn place(text: &str, span: Option<Range<usize>>) -> String {
    let before = text.get(..span.map_or(0, |span| span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("{line}:{column}")
}

/// Whether it is small words and numbers with hyphens between them.
pub fn is_kebab_case(name: &str) -> bool {
    let word =
        |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    name.split('-').all(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = r#"
title = "T"
summary = "S."
[[parts]]
name = "one"
title = "One"
hints = ["a", "b", "c"]
[[parts.checks]]
name = "holds"
points = 100
deadline = 1.5
says = "It holds."
evidence = "answers"
"#;

    #[track_caller]
    fn check(change: (&str, &str), expected: &str) {
        let text = SOUND.replace(change.0, change.1);
        assert_ne!(text, SOUND, "the change changes nothing");
        let said = match Lab::parse("05-spin-lock", &text) {
            Ok(lab) => lab.inconsistencies().join("\n"),
            Err(error) => error,
        };
        assert!(said.contains(expected), "said: {said}");
    }

    #[test]
    fn a_sound_rubric_is_read() {
        let lab = Lab::parse("05-spin-lock", SOUND).unwrap();
        assert_eq!((lab.name.as_str(), lab.crate_name().as_str()), ("spin-lock", "spin_lock"));
        assert_eq!(lab.check("holds").unwrap().deadline(), Duration::from_millis(1500));
        assert!(lab.inconsistencies().is_empty());
    }

    #[test]
    fn points_must_add_up_to_100() {
        check(("100", "99"), "add up to 99, not 100");
    }

    #[test]
    fn a_syntax_error_has_a_place() {
        check(("points = 100", "points = "), "labs/05-spin-lock/lab.toml:10:");
    }

    #[test]
    fn an_unknown_key_has_a_place() {
        check(("points =", "pionts ="), "lab.toml:10:1: unknown field `pionts`");
    }

    #[test]
    fn a_deadline_is_positive() {
        check(("1.5", "0.0"), "deadline of `holds`");
    }

    #[test]
    fn every_part_has_three_hints() {
        check((r#", "c""#, ""), "part `one` has 2 hints");
    }

    #[test]
    fn names_are_kebab_case() {
        check((r#""holds""#, r#""It_holds""#), "not kebab-case");
    }
}
