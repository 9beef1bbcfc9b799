//! Other right answers: whole implementations beside the reference that must get full marks as well.

use std::fs;
use std::path::Path;

use crate::lab::is_kebab_case;

/// A folder below `solutions/NN-name/variants/`: a `src/` root of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// The folder's name.
    pub name: String,
    /// In what it differs from the reference: the first line of its `lib.rs`, after `//!`.
    pub says: String,
}

impl Variant {
    /// The variants in a folder, by name; none when there is no such folder.
    pub fn all(folder: &Path) -> Vec<Variant> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut variants: Vec<Variant> = entries
            .filter(|entry| entry.path().is_dir())
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let text = fs::read_to_string(entry.path().join("lib.rs")).unwrap_or_default();
                Some(Variant { name, says: says(&text) })
            })
            .collect();
        variants.sort_by(|a, b| a.name.cmp(&b.name));
        variants
    }

    /// What is wrong with it by itself; empty for a sound one.
    pub fn inconsistencies(&self) -> Vec<String> {
        let name = &self.name;
        let mut found = Vec::new();
        if !is_kebab_case(name) {
            found.push(format!("the variant name `{name}` is not kebab-case"));
        }
        if self.says.is_empty() {
            found.push(format!(
                "variant `{name}` does not say in the first line of its `lib.rs` (`//! …`) in what it differs"
            ));
        }
        found
    }
}

pub fn says(text: &str) -> String {
    text.lines().next().and_then(|line| line.strip_prefix("//!")).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(says(text), expected);
    }

    #[test]
    fn the_first_line_says_in_what_it_differs() {
        check("//! With a ticket.\n//! More.\n", "With a ticket.");
    }

    #[test]
    fn another_first_line_says_nothing() {
        check("use std::fmt;\n//! Late.\n", "");
        check("", "");
    }
}
