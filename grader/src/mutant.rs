//! Known wrong answers: small edits of the reference that the checks must catch.

use serde::Deserialize;

use crate::lab::{is_kebab_case, place};
use crate::subject::Sources;

/// One entry of `mutants.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Mutant {
    /// Kebab-case, unique in the lab.
    pub name: String,
    /// The mistake, as a student makes it.
    pub bug: String,
    /// Text that occurs exactly once in the reference.
    find: String,
    /// What stands there instead.
    replace: String,
    /// Names of checks, each of which must notice.
    pub caught_by: Vec<String>,
    /// The file that is edited, relative to `src/`.
    #[serde(default = "root_file")]
    file: String,
    /// The kind of evidence that is still missing to catch it every time.
    pub waits_for: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    mutants: Vec<Mutant>,
}

impl Mutant {
    /// Reads `mutants.toml`, known as `path` in messages.
    ///
    /// # Errors
    /// One sentence with the place.
    pub fn parse_all(path: &str, text: &str) -> Result<Vec<Mutant>, String> {
        let file: File = toml::from_str(text).map_err(|error| {
            let place = place(text, error.span());
            format!("{path}:{place}: {}", error.message().replace('\n', "; "))
        })?;
        Ok(file.mutants)
    }

    /// What is wrong with the entry by itself; empty for a sound one.
    pub fn inconsistencies(&self) -> Vec<String> {
        let name = &self.name;
        let mut found = Vec::new();
        if !is_kebab_case(name) {
            found.push(format!("the mutant name `{name}` is not kebab-case"));
        }
        if self.bug.trim().is_empty() {
            found.push(format!("mutant `{name}` does not say what its bug is"));
        }
        if self.caught_by.is_empty() {
            found.push(format!("mutant `{name}` is caught by no check"));
        }
        found
    }

    /// The reference with this mistake in it.
    ///
    /// # Errors
    /// One sentence when the text to replace is not there exactly once.
    pub fn apply(&self, reference: &Sources) -> Result<Sources, String> {
        let name = &self.name;
        let text = reference
            .get(&self.file)
            .ok_or_else(|| format!("mutant `{name}` edits `{}`, which is not there", self.file))?;
        match text.matches(self.find.as_str()).count() {
            1 if self.find == self.replace => Err(format!("mutant `{name}` changes nothing")),
            1 => Ok(reference.with(&self.file, text.replacen(&self.find, &self.replace, 1))),
            count => Err(format!(
                "mutant `{name}`: its `find` text occurs {count} times in `{}`, not once",
                self.file
            )),
        }
    }
}

fn root_file() -> String {
    "lib.rs".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(find: &str, replace: &str, expected: Result<&str, &str>) {
        let toml = format!(
            "[[mutants]]\nname = 'm'\nbug = 'b'\nfind = '{find}'\nreplace = '{replace}'\ncaught-by = ['c']"
        );
        let mutant = &Mutant::parse_all("mutants.toml", &toml).unwrap()[0];
        let reference = Sources::from([("lib.rs", "let a = 1;\nlet b = 1;\n")]);
        let applied = mutant.apply(&reference);
        match expected {
            Ok(text) => assert_eq!(applied.unwrap().get("lib.rs"), Some(text)),
            Err(part) => assert!(applied.unwrap_err().contains(part)),
        }
    }

    #[test]
    fn one_place_is_edited() {
        check("a = 1", "a = 2", Ok("let a = 2;\nlet b = 1;\n"));
    }

    #[test]
    fn two_places_are_refused() {
        check("= 1", "= 2", Err("occurs 2 times"));
    }

    #[test]
    fn no_place_is_refused() {
        check("c = 1", "c = 2", Err("occurs 0 times"));
    }

    #[test]
    fn an_edit_that_changes_nothing_is_refused() {
        check("a = 1", "a = 1", Err("changes nothing"));
    }

    #[test]
    fn a_missing_key_has_a_place() {
        let error = Mutant::parse_all("mutants.toml", "[[mutants]]\nname = 'm'\n").unwrap_err();
        assert!(error.starts_with("mutants.toml:1:1: missing field"), "{error}");
    }
}
