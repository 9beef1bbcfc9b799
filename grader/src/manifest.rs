//! The text of the generated manifests. Dependencies come from the course, never from a submission.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

/// Dependencies by name, each with its workspace inheritance resolved and its paths absolute.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Dependencies(BTreeMap<String, Value>);

impl Dependencies {
    /// What `[dependencies]` of a lab's manifest asks for.
    ///
    /// # Errors
    /// One sentence when a manifest is not TOML or names an unknown workspace dependency.
    pub fn of_lab(lab: &Path, lab_text: &str, root: &Path, root_text: &str) -> Result<Dependencies, String> {
        let lab_table = parse(lab, lab_text)?;
        let workspace = workspace_dependencies(root, root_text)?;
        let mut dependencies = Dependencies::default();
        for (name, value) in lab_table.get("dependencies").and_then(Value::as_table).into_iter().flatten() {
            let inherits = value.get("workspace").and_then(Value::as_bool) == Some(true);
            let resolved = if inherits {
                let base = workspace.get(name).ok_or_else(|| {
                    format!("`{}` asks for workspace dependency `{name}`, which there is not", lab.display())
                })?;
                inherit(base, value, root)
            } else {
                absolute(value, lab)
            };
            dependencies.0.insert(name.clone(), resolved);
        }
        Ok(dependencies)
    }

    /// Adds `names` as the course's workspace states them.
    ///
    /// # Errors
    /// One sentence when one is not there.
    pub fn with(&self, names: &[&str], root: &Path, root_text: &str) -> Result<Dependencies, String> {
        let workspace = workspace_dependencies(root, root_text)?;
        let mut dependencies = self.clone();
        for name in names {
            let value = workspace
                .get(*name)
                .ok_or_else(|| format!("`{}` has no workspace dependency `{name}`", root.display()))?;
            dependencies.0.insert((*name).to_owned(), absolute(value, root));
        }
        Ok(dependencies)
    }

    /// The same, with a feature of one of them turned on.
    pub fn with_feature(&self, name: &str, feature: &str) -> Dependencies {
        let mut dependencies = self.clone();
        if let Some(Value::Table(table)) = dependencies.0.get_mut(name) {
            let features = table.entry("features").or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(features) = features {
                features.push(Value::String(feature.to_owned()));
            }
        }
        dependencies
    }

    fn section(&self) -> String {
        self.0.iter().fold("[dependencies]\n".to_owned(), |mut text, (name, value)| {
            let _ = writeln!(text, "{} = {}", quoted(name), inline(value));
            text
        })
    }
}

/// The manifest of the workspace that holds exactly `members`.
pub fn workspace(members: &[String]) -> String {
    let members: Vec<String> = members.iter().map(|member| quoted(member)).collect();
    format!(
        "[workspace]\nresolver = \"3\"\nmembers = [{}]\n\n[profile.dev]\ndebug = \"line-tables-only\"\n\n\
         [profile.dev.package.\"*\"]\ndebug = 0\n",
        members.join(", ")
    )
}

/// The manifest of the workspace of twins. Their code is optimised a little, so that what a thread keeps in its own stack
/// frame is not taken for shared memory; the explorer is optimised in full, as it runs millions of executions. No dependency
/// may be left unoptimised: rustc would share its copies of `AtomicU32::compare_exchange` and the like with the twins, and
/// what those do is not seen.
pub fn twin_workspace(members: &[String]) -> String {
    let optimised = ["explore", "corosensei", "addr2line", "gimli", "object"];
    let optimised = optimised.iter().fold(String::new(), |mut text, name| {
        let _ = write!(text, "\n[profile.dev.package.{name}]\nopt-level = 3\n");
        text
    });
    workspace(members).replace("[profile.dev]\n", "[profile.dev]\nopt-level = 1\n") + &optimised
}

/// The manifest of a subject: the lab's crate name over the sources that begin with `file`.
pub fn subject(package: &str, crate_name: &str, file: &str, dependencies: &Dependencies) -> String {
    format!(
        "{}\n[lib]\nname = {}\npath = {}\ntest = false\ndoctest = false\n\n{}",
        package_section(package),
        quoted(crate_name),
        quoted(file),
        dependencies.section()
    )
}

/// The manifest of the checks of a subject: the course's `checks.rs` over that subject.
pub fn checks(package: &str, crate_name: &str, subject: &str, checks: &Path, with: &Dependencies) -> String {
    let name = format!("{subject}-checks");
    let path = checks.display().to_string();
    let subject = format!(
        "{} = {{ path = {}, package = {} }}\n",
        quoted(crate_name),
        quoted(&format!("../../subjects/{subject}")),
        quoted(package)
    );
    format!(
        "{}\n[[bin]]\nname = {}\npath = {}\ntest = false\n\n{}{subject}",
        package_section(&format!("{package}-checks")),
        quoted(&name),
        quoted(&path),
        with.section()
    )
}

fn package_section(name: &str) -> String {
    format!(
        "[package]\nname = {}\nversion = \"0.0.0\"\nedition = \"2024\"\npublish = false\nautobins = false\n\
         autotests = false\nautoexamples = false\nautobenches = false\nbuild = false\n",
        quoted(name)
    )
}

fn parse(path: &Path, text: &str) -> Result<Table, String> {
    text.parse().map_err(|error: toml::de::Error| format!("`{}`: {}", path.display(), error.message()))
}

fn workspace_dependencies(root: &Path, text: &str) -> Result<Table, String> {
    let table = parse(root, text)?;
    let found = table.get("workspace").and_then(|workspace| workspace.get("dependencies"));
    Ok(found.and_then(Value::as_table).cloned().unwrap_or_default())
}

/// Where a package is that the course's manifest has a path to.
pub fn folder_of(package: &str, root: &Path, text: &str) -> Option<PathBuf> {
    let dependency = workspace_dependencies(root, text).ok()?.get(package)?.clone();
    let path = absolute(&dependency, root).get("path")?.as_str()?.to_owned();
    PathBuf::from(path).canonicalize().ok()
}

/// A workspace dependency with a member's own features on top.
fn inherit(base: &Value, member: &Value, root: &Path) -> Value {
    let Value::Table(mut table) = absolute(base, root) else { return base.clone() };
    for (key, value) in member.as_table().into_iter().flatten().filter(|(key, _)| *key != "workspace") {
        match (table.get_mut(key), value) {
            (Some(Value::Array(all)), Value::Array(more)) => all.extend(more.iter().cloned()),
            _ => {
                table.insert(key.clone(), value.clone());
            }
        }
    }
    Value::Table(table)
}

/// A dependency as a table, its path relative to no manifest.
fn absolute(value: &Value, manifest: &Path) -> Value {
    let mut table = match value {
        Value::Table(table) => table.clone(),
        other => Table::from_iter([("version".to_owned(), other.clone())]),
    };
    if let (Some(Value::String(path)), Some(folder)) = (table.get_mut("path"), manifest.parent()) {
        *path = folder.join(&*path).display().to_string();
    }
    Value::Table(table)
}

fn inline(value: &Value) -> String {
    match value {
        Value::Table(table) => {
            let pairs: Vec<_> =
                table.iter().map(|(key, value)| format!("{} = {}", quoted(key), inline(value))).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        Value::Array(values) => format!("[{}]", values.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Value::String(text) => quoted(text),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(yes) => yes.to_string(),
        Value::Datetime(when) => when.to_string(),
    }
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    let escaped = text.chars().fold(String::new(), |mut escaped, c| {
        match c {
            '"' | '\\' => escaped.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(escaped, "\\u{:04X}", u32::from(c));
            }
            c => escaped.push(c),
        }
        escaped
    });
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(dependency: &str, workspace: &str, expected: &str) {
        let lab = format!("[dependencies]\n{dependency}\n");
        let root = format!("[workspace.dependencies]\n{workspace}\n");
        let found = Dependencies::of_lab(
            Path::new("/c/labs/01-a/Cargo.toml"),
            &lab,
            Path::new("/c/Cargo.toml"),
            &root,
        );
        let said = found.map_or_else(|error| error, |dependencies| dependencies.section());
        assert!(said.contains(expected), "said: {said}");
        assert!(!said.starts_with('[') || said.parse::<Table>().is_ok(), "not TOML: {said}");
    }

    #[test]
    fn a_version_stays() {
        check("libc = '0.2'", "", r#""libc" = { "version" = "0.2" }"#);
    }

    #[test]
    fn workspace_dependencies_are_inlined() {
        check("libc.workspace = true", "libc = '0.2'", r#""libc" = { "version" = "0.2" }"#);
    }

    #[test]
    fn features_add_up() {
        check(
            "nix = { workspace = true, features = ['b'] }",
            "nix = { version = '1', features = ['a'] }",
            r#""features" = ["a", "b"]"#,
        );
    }

    #[test]
    fn paths_become_absolute() {
        check("own = { path = 'own' }", "", r#""path" = "/c/labs/01-a/own""#);
        check("own.workspace = true", "own = { path = 'grader/own' }", r#""path" = "/c/grader/own""#);
    }

    #[test]
    fn an_unknown_workspace_dependency_is_an_error() {
        check("serde.workspace = true", "", "asks for workspace dependency `serde`");
    }
}
