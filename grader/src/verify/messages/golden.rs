//! The file `messages.md` of a solution: for each mutant its bug, and for each check that must catch it what the student
//! reads, in one form or more. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What a student reads about a mistake, in each of the forms that it may take.
pub type Forms = Vec<String>;

/// A mutant's mistake and what its checks say about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// The mistake, as `mutants.toml` puts it.
    pub bug: String,
    /// The messages, by check.
    pub checks: BTreeMap<String, Forms>,
}

/// The whole file, by mutant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Golden {
    /// The compiler that built what was run: interleavings are told in its instructions.
    pub compiler: String,
    /// By name of the mutant.
    pub entries: BTreeMap<String, Entry>,
}

const COMPILER: &str = "Built with ";

impl Golden {
    /// Reads a file that [`Golden::render`] has written; prose elsewhere is left aside.
    pub fn parse(text: &str) -> Golden {
        let mut golden = Golden::default();
        let (mut mutant, mut check) = (None::<String>, None::<String>);
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if let Some(name) = line.strip_prefix("### ") {
                check = Some(name.to_owned());
            } else if let Some(name) = line.strip_prefix("## ") {
                (mutant, check) = (Some(name.to_owned()), None);
                golden.entries.entry(name.to_owned()).or_default();
            } else if let Some(compiler) = line.strip_prefix(COMPILER) {
                golden.compiler = compiler.trim_end_matches('.').to_owned();
            }
            let Some(entry) = mutant.as_ref().and_then(|mutant| golden.entries.get_mut(mutant)) else {
                continue;
            };
            match &check {
                Some(check) if line == "```text" => {
                    let form: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
                    entry.checks.entry(check.clone()).or_default().push(form.join("\n"));
                }
                None if !line.is_empty() && !line.starts_with('#') => {
                    entry.bug = format!("{} {line}", entry.bug).trim().to_owned();
                }
                Some(_) | None => {}
            }
        }
        golden
    }

    /// The file, with the mutants and their checks in the order given.
    pub fn render(&self, lab: &str, order: &[(String, Vec<String>)]) -> String {
        let mut text = format!(
            "# What a student reads for each mistake\n\n\
             For every mutant of this lab and every check that must catch it: the report, as a terminal shows it.\n\
             `cargo run -p grader -- verify {lab} --messages` compares what is read today, `--messages=write` writes this\n\
             file. An interleaving is compared word for word; elsewhere numbers and quotations may differ, and where a\n\
             mistake shows itself in more than one way, each is kept.\n\n\
             {COMPILER}{}.\n",
            self.compiler
        );
        for (mutant, checks) in order {
            let Some(entry) = self.entries.get(mutant) else { continue };
            let _ = write!(text, "\n## {mutant}\n\n{}\n", entry.bug);
            for check in checks {
                let Some(forms) = entry.checks.get(check) else { continue };
                let _ = write!(text, "\n### {check}\n");
                for (index, form) in forms.iter().enumerate() {
                    let or = if index == 0 { "" } else { "\nor\n" };
                    let _ = write!(text, "{or}\n```text\n{form}\n```\n");
                }
            }
        }
        text
    }
}

/// A text on one line, as [`Golden::parse`] reads a bug.
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let forms = vec!["  ✗ fair  0/5\n      rule      r".to_owned(), "  ✗ fair  0/5".to_owned()];
        let checks = BTreeMap::from([("fair".to_owned(), forms)]);
        let entry = Entry { bug: "It is `unfair`.".to_owned(), checks };
        let golden = Golden {
            compiler: "rustc 1.95.0".to_owned(),
            entries: BTreeMap::from([("m".to_owned(), entry)]),
        };
        let text = golden.render("lab", &[("m".to_owned(), vec!["fair".to_owned()])]);
        assert_eq!(Golden::parse(&text), golden);
    }

    #[test]
    fn no_file_is_an_empty_one() {
        assert_eq!(Golden::parse(""), Golden::default());
    }
}
