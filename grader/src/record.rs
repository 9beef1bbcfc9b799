//! `record`: a report that was made where a submission ran becomes a grade, if it can be one.
//!
//! Nothing in the report is believed that the course knows itself: labs, checks and points are the course's, a score is added
//! up anew. No word of the report is repeated, so that nothing a submission has written comes this far.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::course::Course;
use crate::error::{Error, Result};
use crate::exit_code::ExitCode;
use crate::lab::Lab;
use crate::publish;
use crate::report::SCHEMA;
use crate::sandbox::tier::Tier;
use crate::score::Score;

/// The longest report that is read, in bytes: some hundreds of checks with all the output that is kept.
const LONGEST: u64 = 16 << 20;

/// Reads the report in `file`, prints the grade as Markdown, and writes it to `output`.
///
/// # Errors
/// [`Error::Report`] when the report is none of this commit, this course and this tier.
pub fn record(
    course: &Course,
    file: &Path,
    commit: &str,
    least: Tier,
    output: Option<&Path>,
) -> Result<ExitCode> {
    let open = File::open(file).map_err(|error| Error::io("read", file, &error))?;
    let read = serde_json::from_reader(BufReader::new(open.take(LONGEST)));
    // What the parser says quotes what it read.
    let claims: Claims = read.map_err(|error: serde_json::Error| {
        Error::Report(vec![format!("it is not a report: line {}, column {}", error.line(), error.column())])
    })?;
    let grade = judge(&course.labs, &claims, commit, least).map_err(Error::Report)?;
    if let Some(output) = output {
        let text = serde_json::to_string_pretty(&grade)
            .map_err(|error| Error::Internal(format!("cannot write the record: {error}")))?;
        publish::write(output, &(text + "\n"))?;
    }
    publish::print(&render(&grade))?;
    Ok(ExitCode::FullMarks)
}

/// A grade of record.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Grade {
    schema: u32,
    commit: String,
    tier: Option<u8>,
    seed: u64,
    score: Score,
    labs: Vec<LabGrade>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct LabGrade {
    name: String,
    score: Score,
    /// Checks that this machine could not decide.
    undecided: Vec<String>,
}

/// What a report says, as far as it is looked at.
#[derive(Debug, Clone, Deserialize)]
struct Claims {
    schema: u32,
    subject: String,
    seed: u64,
    tier: Option<u8>,
    score: Score,
    labs: Vec<LabClaims>,
}

#[derive(Debug, Clone, Deserialize)]
struct LabClaims {
    name: String,
    score: Score,
    checks: Vec<CheckClaims>,
}

#[derive(Debug, Clone, Deserialize)]
struct CheckClaims {
    name: String,
    verdict: String,
    points: u32,
    earned: u32,
}

/// The grade that the claims amount to, or everything that is wrong with them.
fn judge(
    labs: &[Lab],
    claims: &Claims,
    commit: &str,
    least: Tier,
) -> std::result::Result<Grade, Vec<String>> {
    let mut wrong = Vec::new();
    if claims.schema != SCHEMA {
        wrong.push(format!("its schema is {}, not {SCHEMA}", claims.schema));
    }
    if claims.subject.rsplit_once('@').is_none_or(|(_, graded)| graded != commit) {
        wrong.push(format!("it is not about the commit {commit}"));
    }
    let tier = Tier::ALL.into_iter().find(|tier| tier.number() == claims.tier);
    if tier.is_none_or(|tier| tier < least) {
        wrong.push(format!("the checks ran in less than tier {least}"));
    }
    let names = |names: &mut dyn Iterator<Item = &String>| names.cloned().collect::<Vec<_>>();
    if names(&mut labs.iter().map(|lab| &lab.name)) != names(&mut claims.labs.iter().map(|lab| &lab.name)) {
        wrong.push("its labs are not the course's".to_owned());
        return Err(wrong);
    }
    let grades = labs.iter().zip(&claims.labs).map(|(lab, claims)| judge_lab(lab, claims, &mut wrong));
    let grades: Vec<LabGrade> = grades.collect();
    let score = grades.iter().map(|lab| lab.score).sum();
    if claims.score != score {
        wrong.push(format!("its labs add up to {score}, which is not what it says"));
    }
    let grade = Grade {
        schema: SCHEMA,
        commit: commit.to_owned(),
        tier: claims.tier,
        seed: claims.seed,
        score,
        labs: grades,
    };
    if wrong.is_empty() { Ok(grade) } else { Err(wrong) }
}

fn judge_lab(lab: &Lab, claims: &LabClaims, wrong: &mut Vec<String>) -> LabGrade {
    let mut grade = LabGrade { name: lab.name.clone(), score: Score::default(), undecided: Vec::new() };
    if lab.checks().count() != claims.checks.len() {
        wrong.push(format!("`{}`: its checks are not the course's", lab.name));
        return grade;
    }
    for ((_, check), claims) in lab.checks().zip(&claims.checks) {
        let passed = claims.verdict == "passed";
        let earned = if passed { check.points } else { 0 };
        grade.score.earned += earned;
        grade.score.possible += check.points;
        if claims.verdict == "inconclusive" {
            grade.undecided.push(check.name.clone());
        }
        if claims.name != check.name || claims.points != check.points || claims.earned != earned {
            wrong.push(format!("`{}`: `{}` is not what the course says of it", lab.name, check.name));
        }
    }
    if claims.score != grade.score {
        wrong
            .push(format!("`{}`: its checks add up to {}, which is not what it says", lab.name, grade.score));
    }
    grade
}

fn render(grade: &Grade) -> String {
    let mut text = format!("## {} points\n\n| Lab | Points | Undecided |\n|---|---:|---|\n", grade.score);
    for LabGrade { name, score, undecided } in &grade.labs {
        let _ = writeln!(text, "| {name} | {score} | {} |", undecided.join(", "));
    }
    let tier = grade.tier.map_or("open".to_owned(), |tier| tier.to_string());
    let _ = writeln!(text, "\nCommit {}, tier {tier}, seed {}.", grade.commit, grade.seed);
    if grade.labs.iter().any(|lab| !lab.undecided.is_empty()) {
        text.push_str("\nThe machine could not decide some checks: grade this commit again.\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn lab() -> Lab {
        let check = |name: &str, points: u32| {
            format!(
                "[[parts.checks]]\nname = '{name}'\npoints = {points}\ndeadline = 1.0\nsays = 'S.'\nevidence = 'answers'\n"
            )
        };
        let head =
            "title = 'A'\nsummary = 'A.'\n[[parts]]\nname = 'a'\ntitle = 'A'\nhints = ['a', 'b', 'c']\n";
        Lab::parse("01-a", &[head, &check("one", 60), &check("two", 40)].concat()).unwrap()
    }

    fn report() -> Value {
        json!({
            "schema": 1, "subject": format!("s.git@{COMMIT}"), "seed": 7, "tier": 2,
            "score": { "earned": 60, "possible": 100 },
            "labs": [{ "name": "a", "score": { "earned": 60, "possible": 100 }, "checks": [
                { "name": "one", "verdict": "passed", "points": 60, "earned": 60, "output": "::error::x" },
                { "name": "two", "verdict": "failed", "points": 40, "earned": 0 },
            ]}],
        })
    }

    /// The report with one value replaced is no grade, for this reason and for nobody else's.
    #[track_caller]
    fn check(place: &str, value: Value, expected: &str) {
        let mut report = report();
        *report.pointer_mut(place).unwrap() = value;
        let claims: Claims = serde_json::from_value(report).unwrap();
        let wrong = judge(&[lab()], &claims, COMMIT, Tier::Namespaces).unwrap_err();
        assert!(wrong.iter().any(|why| why.contains(expected)), "{wrong:?}");
        assert!(!wrong.iter().any(|why| why.contains("forged")), "{wrong:?}");
    }

    #[test]
    fn an_honest_report_is_a_grade() {
        let claims: Claims = serde_json::from_value(report()).unwrap();
        let grade = judge(&[lab()], &claims, COMMIT, Tier::Namespaces).unwrap();
        assert_eq!(grade.score, Score { earned: 60, possible: 100 });
        assert!(render(&grade).starts_with("## 60/100 points\n"));
    }

    #[test]
    fn an_undecided_check_is_named() {
        let mut report = report();
        *report.pointer_mut("/labs/0/checks/1/verdict").unwrap() = json!("inconclusive");
        let claims: Claims = serde_json::from_value(report).unwrap();
        let text = render(&judge(&[lab()], &claims, COMMIT, Tier::Namespaces).unwrap());
        assert!(text.contains("| a | 60/100 | two |") && text.contains("grade this commit again"), "{text}");
    }

    #[test]
    fn another_commit_is_refused() {
        check("/subject", json!("forged"), "not about the commit");
        check("/subject", json!(format!("s.git@{}", COMMIT.replace('0', "1"))), "not about the commit");
    }

    #[test]
    fn a_lower_tier_is_refused() {
        check("/tier", json!(1), "less than tier 2");
        check("/tier", Value::Null, "less than tier 2");
        check("/tier", json!(9), "less than tier 2");
    }

    #[test]
    fn another_schema_is_refused() {
        check("/schema", json!(2), "its schema is 2");
    }

    #[test]
    fn points_that_were_not_earned_are_refused() {
        check("/score/earned", json!(100), "add up to 60/100");
        check("/labs/0/score/earned", json!(4_000_000_000_u32), "add up to 60/100");
        check("/labs/0/checks/1/earned", json!(40), "`two` is not what");
        check("/labs/0/checks/0/points", json!(1), "`one` is not what");
        check("/labs/0/checks/0/verdict", json!("forged"), "add up to 0/100");
    }

    #[test]
    fn other_labs_and_checks_are_refused() {
        check("/labs/0/name", json!("forged"), "labs are not the course's");
        check("/labs", json!([]), "labs are not the course's");
        check("/labs/0/checks", json!([]), "checks are not the course's");
        check("/labs/0/checks/0/name", json!("forged"), "`one` is not what");
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;
        use crate::properties::{mangled, some};

        const JSON: &[&str] = &[
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"",
            "\\",
            "0",
            "9",
            "-",
            "1e9",
            "null",
            "true",
            "4294967295",
            "passed",
            "\"earned\":40",
            "\"earned\":60",
            "\"tier\":3,",
            "[[[[[[[[",
        ];

        proptest! {
            #![proptest_config(some())]

            #[test]
            fn a_garbled_report_is_never_worth_more(bytes in mangled(report().to_string(), JSON)) {
                if let Ok(claims) = serde_json::from_slice::<Claims>(&bytes)
                    && let Ok(grade) = judge(&[lab()], &claims, COMMIT, Tier::Namespaces)
                {
                    prop_assert_eq!(grade.score, Score { earned: 60, possible: 100 });
                }
            }
        }
    }
}
