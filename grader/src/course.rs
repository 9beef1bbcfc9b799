//! Where things are: the labs, the solutions and their mutants, found by looking at the folders.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::lab::{Check, Lab};
use crate::mutant::Mutant;
use crate::subject::{Sources, Subject};
use crate::variant::Variant;

/// A checkout of the course.
#[derive(Debug)]
pub struct Course {
    /// The folder with `labs/` and `solutions/`.
    pub root: PathBuf,
    /// In the order of their folders' names.
    pub labs: Vec<Lab>,
}

/// Some checks of one lab, in the order of the rubric.
#[derive(Debug, Clone)]
pub struct Selection<'a> {
    /// The lab.
    pub lab: &'a Lab,
    /// The checks to run.
    pub checks: Vec<&'a Check>,
}

impl Course {
    /// The course around the current directory.
    ///
    /// # Errors
    /// [`Error::Usage`] outside a course, [`Error::Course`] for rubrics that cannot be read.
    pub fn discover() -> Result<Course> {
        let here = std::env::current_dir()
            .map_err(|error| Error::Internal(format!("there is no current directory: {error}")))?;
        let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let is_course = |path: &&Path| path.join("Cargo.toml").is_file() && path.join("labs").is_dir();
        let root = here
            .ancestors()
            .find(is_course)
            .or_else(|| package.as_ref().and_then(|path| path.ancestors().find(is_course)))
            .ok_or_else(|| {
                let here = here.display();
                Error::Usage(format!(
                    "`{here}` is not inside a course: no `labs` folder beside a `Cargo.toml`"
                ))
            })?;
        Course::open(root)
    }

    /// The course in `root`.
    ///
    /// # Errors
    /// [`Error::Course`] with every rubric that cannot be read.
    pub fn open(root: &Path) -> Result<Course> {
        let folder = root.join("labs");
        let entries = fs::read_dir(&folder).map_err(|error| Error::io("read", &folder, &error))?;
        let mut directories: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| folder.join(name).join("lab.toml").is_file())
            .collect();
        directories.sort();
        let (mut labs, mut wrong) = (Vec::<Lab>::new(), Vec::new());
        for directory in directories {
            let path = folder.join(&directory).join("lab.toml");
            let text = fs::read_to_string(&path).map_err(|error| Error::io("read", &path, &error))?;
            match Lab::parse(&directory, &text) {
                Ok(lab) if labs.iter().any(|other| other.name == lab.name) => {
                    wrong.push(format!("two labs are named `{}`", lab.name));
                }
                Ok(lab) => labs.push(lab),
                Err(sentence) => wrong.push(sentence),
            }
        }
        if wrong.is_empty() { Ok(Course { root: root.to_owned(), labs }) } else { Err(Error::Course(wrong)) }
    }

    /// The lab called `spinlock`, `05-spinlock` or `05`.
    ///
    /// # Errors
    /// [`Error::Usage`] with the nearest name.
    pub fn lab(&self, word: &str) -> Result<&Lab> {
        self.find_lab(word).ok_or_else(|| {
            let names = self.labs.iter().map(|lab| lab.name.as_str());
            Error::Usage(format!("no lab named `{word}`; {}", nearest(word, names)))
        })
    }

    /// What the words of the command line choose: labs, each followed by some of its checks.
    ///
    /// # Errors
    /// [`Error::Usage`] for a word that is neither.
    pub fn select(&self, words: &[String]) -> Result<Vec<Selection<'_>>> {
        let all = |lab| Selection { lab, checks: Lab::checks(lab).map(|(_, check)| check).collect() };
        if words.is_empty() {
            return Ok(self.labs.iter().map(all).collect());
        }
        let mut chosen: Vec<(&Lab, Vec<&str>)> = Vec::new();
        for word in words {
            if let Some(lab) = self.find_lab(word) {
                if !chosen.iter().any(|(other, _)| other.name == lab.name) {
                    chosen.push((lab, Vec::new()));
                }
            } else if let Some((lab, checks)) = chosen.last_mut() {
                if lab.check(word).is_none() {
                    let checks = lab.checks().map(|(_, check)| check.name.as_str());
                    let names = checks.chain(self.labs.iter().map(|lab| lab.name.as_str()));
                    let near = nearest(word, names);
                    return Err(Error::Usage(format!("`{}` has no check named `{word}`; {near}", lab.name)));
                }
                checks.push(word);
            } else {
                self.lab(word)?;
            }
        }
        let some = |(lab, names): (_, Vec<&str>)| {
            let mut selection = all(lab);
            selection.checks.retain(|check| names.is_empty() || names.contains(&check.name.as_str()));
            selection
        };
        Ok(chosen.into_iter().map(some).collect())
    }

    /// As [`Course::select`]; without words, the folder of a single lab stands for that lab.
    ///
    /// # Errors
    /// [`Error::Usage`] for an unknown word, or a folder that is neither a checkout nor named like a lab.
    pub fn select_for(&self, subject: &Subject, words: &[String]) -> Result<Vec<Selection<'_>>> {
        if let Subject::Committed(commit) = subject {
            commit.look().map_err(Error::Usage)?;
        }
        let Subject::At(path) = subject else { return self.select(words) };
        if !words.is_empty() || path.join("labs").is_dir() {
            return self.select(words);
        }
        let folder = fs::canonicalize(path).map_err(|error| Error::io("find", path, &error))?;
        let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        match self.find_lab(name) {
            Some(lab) => self.select(std::slice::from_ref(&lab.name)),
            None => Err(Error::Usage(format!(
                "no lab is named `{name}`, so it is not clear what `{}` is; say the lab's name as well",
                path.display()
            ))),
        }
    }

    /// The folder of a lab.
    pub fn lab_folder(&self, lab: &Lab) -> PathBuf {
        self.root.join("labs").join(&lab.directory)
    }

    /// The folder of a lab's solution, present or not.
    pub fn solution_folder(&self, lab: &Lab) -> PathBuf {
        self.root.join("solutions").join(&lab.directory)
    }

    /// Whether the course carries the lab's answer (a student's copy may not).
    pub fn has_solution(&self, lab: &Lab) -> bool {
        self.solution_folder(lab).join("src/lib.rs").is_file()
    }

    /// The known wrong answers of a lab; none when there is no file.
    ///
    /// # Errors
    /// [`Error::Course`] when the file cannot be read.
    pub fn mutants(&self, lab: &Lab) -> Result<Vec<Mutant>> {
        let path = self.solution_folder(lab).join("mutants.toml");
        if !path.exists() {
            return Ok(Vec::new());
        }
        let text = fs::read_to_string(&path).map_err(|error| Error::io("read", &path, &error))?;
        let shown = format!("solutions/{}/mutants.toml", lab.directory);
        Mutant::parse_all(&shown, &text).map_err(|sentence| Error::Course(vec![sentence]))
    }

    /// The other right answers to a lab.
    pub fn variants(&self, lab: &Lab) -> Vec<Variant> {
        Variant::all(&self.variants_folder(lab))
    }

    fn variants_folder(&self, lab: &Lab) -> PathBuf {
        self.solution_folder(lab).join("variants")
    }

    /// How many mutants every lab must have, as `[workspace.metadata.course]` of the course's manifest says.
    ///
    /// # Errors
    /// [`Error::Course`] when the manifest cannot be read.
    pub fn least_mutants(&self) -> Result<usize> {
        let path = self.root.join("Cargo.toml");
        let text = fs::read_to_string(&path).map_err(|error| Error::io("read", &path, &error))?;
        let manifest: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            Error::Course(vec![format!("Cargo.toml: {}", error.message())])
        })?;
        let keys = ["workspace", "metadata", "course", "mutants"];
        let manifest = toml::Value::Table(manifest);
        let mut value = Some(&manifest);
        for key in keys {
            value = value.and_then(|value| value.get(key));
        }
        let wrong = || Error::Course(vec![format!("Cargo.toml: `{}` is not a count", keys.join("."))]);
        match value {
            None => Ok(0),
            Some(value) => value.as_integer().and_then(|count| count.try_into().ok()).ok_or_else(wrong),
        }
    }

    /// The source folder of a subject of `lab`, and how messages name it.
    pub fn source_root(&self, lab: &Lab, subject: &Subject) -> (PathBuf, String) {
        match subject {
            Subject::Submission => (self.lab_folder(lab).join("src"), format!("labs/{}/src", lab.directory)),
            Subject::Reference | Subject::Mutant(_) => {
                (self.solution_folder(lab).join("src"), format!("solutions/{}/src", lab.directory))
            }
            Subject::Variant(name) => {
                (self.variants_folder(lab).join(name), format!("solutions/{}/variants/{name}", lab.directory))
            }
            Subject::At(path) => {
                let in_checkout = path.join("labs").join(&lab.directory).join("src");
                let is_checkout = path.join("labs").is_dir();
                let root = if is_checkout { in_checkout } else { path.join("src") };
                let shown = root.display().to_string();
                (root, shown)
            }
            // Nothing of it is checked out: the path is for messages.
            Subject::Committed(_) => {
                let shown = format!("labs/{}/src", lab.directory);
                (PathBuf::from(&shown), shown)
            }
        }
    }

    /// Reads the sources of a subject.
    ///
    /// # Errors
    /// The outer error is ours (no such mutant, no solution); the inner one is a sentence for the student.
    pub fn sources(&self, lab: &Lab, subject: &Subject) -> Result<std::result::Result<Sources, String>> {
        let (root, shown) = self.source_root(lab, subject);
        if let Subject::Variant(name) = subject {
            let variants = self.variants(lab);
            if !variants.iter().any(|variant| variant.name == *name) {
                let near = nearest(name, variants.iter().map(|variant| variant.name.as_str()));
                return Err(Error::Usage(format!("`{}` has no variant named `{name}`; {near}", lab.name)));
            }
        }
        let needs_solution = matches!(subject, Subject::Reference | Subject::Mutant(_));
        if needs_solution && !self.has_solution(lab) {
            return Err(Error::Usage(format!("`{}` has no solution here (`{shown}/lib.rs`)", lab.name)));
        }
        let sources = match subject {
            Subject::Committed(commit) => commit.sources(&shown),
            _ => Sources::read(&root, &shown),
        };
        let Subject::Mutant(name) = subject else { return Ok(sources) };
        let mutants = self.mutants(lab)?;
        let Some(mutant) = mutants.iter().find(|mutant| mutant.name == *name) else {
            let near = nearest(name, mutants.iter().map(|mutant| mutant.name.as_str()));
            return Err(Error::Usage(format!("`{}` has no mutant named `{name}`; {near}", lab.name)));
        };
        let mutated = sources.and_then(|sources| mutant.apply(&sources));
        let file = format!("solutions/{}/mutants.toml", lab.directory);
        mutated.map(Ok).map_err(|sentence| Error::Course(vec![format!("{file}: {sentence}")]))
    }

    fn find_lab(&self, word: &str) -> Option<&Lab> {
        let word = word.trim_end_matches('/').trim_start_matches("labs/");
        self.labs.iter().find(|lab| {
            let number = lab.directory.split('-').next().unwrap_or_default();
            word == lab.name || word == lab.directory || word == number
        })
    }
}

/// "did you mean `spinlock`?", or the list when nothing is near.
pub fn nearest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    let near = names
        .iter()
        .map(|name| (strsim::damerau_levenshtein(word, name), *name))
        .filter(|(distance, name)| *distance <= (name.len() / 3).max(2))
        .min();
    match near {
        Some((_, name)) => format!("did you mean `{name}`?"),
        None if names.is_empty() => "there are none".to_owned(),
        None => {
            let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
            format!("there are {}", names.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(word: &str, expected: &str) {
        assert_eq!(nearest(word, ["spinlock", "futex", "pipes"].into_iter()), expected);
    }

    #[test]
    fn a_misspelt_name_is_suggested() {
        check("spinlok", "did you mean `spinlock`?");
        check("pipe", "did you mean `pipes`?");
    }

    #[test]
    fn a_word_near_nothing_gets_the_list() {
        check("semaphore", "there are `spinlock`, `futex`, `pipes`");
    }
}
