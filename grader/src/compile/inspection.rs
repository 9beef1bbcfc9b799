//! What a subject's object files say that its source must not do: run code before any check begins, take the place of a
//! function of the C library or of the harness, or be made of files that are not its own.
//!
//! The supervisor calls nothing of a submission; with this, nothing of it is run there either. Read after each build, from the
//! library that cargo names and from the list of files that rustc has written beside it.

use std::fs;
use std::io;
use std::path::Path;

use object::elf::STT_GNU_IFUNC;
use object::read::archive::ArchiveFile;
use object::{Object, ObjectSection, ObjectSymbol, ReadCache, ReadRef, SymbolFlags, SymbolSection};

use crate::subject::Sources;

/// Code named in these sections runs when a program starts or ends.
const UNCALLED: [&str; 6] = [".init_array", ".preinit_array", ".fini_array", ".ctors", ".dtors", ".init"];
/// The compiler's own, in every object that can unwind.
const COMPILERS: &str = "DW.ref.rust_eh_personality";

/// Why a submission is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finding {
    /// Code that nobody calls, in this section.
    Uncalled(String),
    /// A name that the whole program sees.
    Exported(String),
    /// An allocator for the whole program.
    Allocator,
    /// A file from elsewhere.
    Foreign(String),
}

/// One sentence if the built library of a subject cannot be used; `own` is where its sources are, relative to the workspace.
pub fn refusal(library: &Path, own: &str, sources: &Sources, shown: &str) -> Option<String> {
    let finding = foreign_file(library, own).or_else(|| in_objects(library))?;
    Some(sentence(&finding, sources, shown))
}

fn in_objects(library: &Path) -> Option<Finding> {
    // Names and tables are read, not the code: a library may be as large as the compiler's memory.
    in_archive(&ReadCache::new(fs::File::open(library).ok()?))
}

pub(super) fn in_archive<R: io::Read + io::Seek>(bytes: &ReadCache<R>) -> Option<Finding> {
    let archive = ArchiveFile::parse(bytes).ok()?;
    let members = archive.members().filter_map(|member| {
        let (start, size) = member.ok()?.file_range();
        // The archive also holds the crate's metadata, which is no object with code in it.
        object::File::parse(bytes.range(start, size)).ok()
    });
    members.into_iter().find_map(|file| in_object(&file))
}

fn in_object<'data>(file: &object::File<'data, impl ReadRef<'data>>) -> Option<Finding> {
    let uncalled = file.sections().find_map(|section| {
        let name = section.name().ok()?;
        let is_one = |known: &str| {
            name.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let is_uncalled = section.size() > 0 && UNCALLED.into_iter().any(is_one);
        is_uncalled.then(|| Finding::Uncalled(name.to_owned()))
    });
    uncalled.or_else(|| file.symbols().find_map(|symbol| in_symbol(&symbol)))
}

fn in_symbol<'data>(symbol: &impl ObjectSymbol<'data>) -> Option<Finding> {
    let name = symbol.name().ok()?;
    let is_resolver =
        matches!(symbol.flags(), SymbolFlags::Elf { st_info, .. } if st_info.st_type() == STT_GNU_IFUNC);
    let is_defined = !matches!(symbol.section(), SymbolSection::Undefined | SymbolSection::None);
    if is_resolver {
        return Some(Finding::Exported(name.to_owned()));
    }
    if !is_defined || !symbol.is_global() {
        return None;
    }
    if name.contains("__rust_alloc") || name.contains("__rg_alloc") {
        return Some(Finding::Allocator);
    }
    let is_mangled = name.starts_with("_R") || name.starts_with("_ZN");
    (!is_mangled && name != COMPILERS).then(|| Finding::Exported(name.to_owned()))
}

/// rustc lists what a crate was made of, a line for each file, in a file named as the library.
fn foreign_file(library: &Path, own: &str) -> Option<Finding> {
    let name = library.file_stem()?.to_str()?.strip_prefix("lib")?;
    let list = fs::read_to_string(library.with_file_name(format!("{name}.d"))).ok()?;
    foreign_in(&list, own).map(Finding::Foreign)
}

pub(super) fn foreign_in(list: &str, own: &str) -> Option<String> {
    let files = list.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.strip_suffix(':'));
    let is_own = |file: &str| {
        let inside = file.split_once(own).is_some_and(|(_, rest)| rest.starts_with('/'));
        inside && !file.split('/').any(|part| part == "..")
    };
    files.map(|file| file.replace("\\ ", " ")).find(|file| !is_own(file))
}

pub(super) fn sentence(finding: &Finding, sources: &Sources, shown: &str) -> String {
    let at = |words: &[&str]| match line_with(sources, words) {
        Some((file, line)) => format!("{shown}/{file}:{line}"),
        None => shown.to_owned(),
    };
    match finding {
        Finding::Uncalled(section) => {
            let place = at(&[section, "link_section", "global_asm"]);
            format!(
                "{place} puts code into the section `{section}`, which runs before a check begins or after it has ended; \
                 a lab's functions run only when they are called"
            )
        }
        Finding::Exported(name) => {
            let place = at(&[name, "no_mangle", "export_name", "global_asm"]);
            format!(
                "{place} makes the symbol `{name}` known to the whole program (`no_mangle`, `export_name` or `global_asm!`): \
                 it would take the place of a function of the C library or of the harness; give it a Rust name only"
            )
        }
        Finding::Allocator => {
            let place = at(&["global_allocator"]);
            format!(
                "{place} sets an allocator for the whole program, the grader's part of it too; leave that to the program"
            )
        }
        Finding::Foreign(file) => {
            let place = at(&["include!", "include_str!", "include_bytes!", "path"]);
            format!(
                "{place} is compiled from `{file}`, which is no file of the lab; a submission is what is below `{shown}`"
            )
        }
    }
}

/// The first line with the first of the words that occurs, each as a word of its own; no comment.
fn line_with<'s>(sources: &'s Sources, words: &[&str]) -> Option<(&'s str, usize)> {
    let has = |line: &str, word: &str| {
        let joins = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        line.match_indices(word).any(|(start, _)| {
            let (before, after) = (&line[..start], &line[start + word.len()..]);
            !joins(before.chars().next_back()) && !joins(after.chars().next())
        })
    };
    let all = || {
        sources
            .iter()
            .flat_map(|(file, text)| text.lines().enumerate().map(move |(n, line)| (file, n + 1, line)))
            .filter(|(_, _, line)| !line.trim_start().starts_with("//"))
    };
    words
        .iter()
        .find_map(|word| all().find(|(_, _, line)| has(line, word)).map(|(file, number, _)| (file, number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(finding: &Finding, text: &str, expected: &str) {
        let said = sentence(finding, &Sources::from([("lib.rs", text)]), "labs/01-a/src");
        assert!(said.starts_with(expected), "{said}");
    }

    #[test]
    fn the_line_of_a_symbol_is_told() {
        let text = "fn already() {}\n#[unsafe(no_mangle)]\npub extern \"C\" fn read() {}\n";
        check(
            &Finding::Exported("read".to_owned()),
            text,
            "labs/01-a/src/lib.rs:3 makes the symbol `read` known",
        );
    }

    #[test]
    fn the_line_of_a_constructor_is_told() {
        let text = "\n#[unsafe(link_section = \".init_array\")]\nstatic F: fn() = f;\n";
        check(&Finding::Uncalled(".init_array".to_owned()), text, "labs/01-a/src/lib.rs:2 puts code into");
    }

    #[test]
    fn what_cannot_be_found_is_told_all_the_same() {
        check(&Finding::Allocator, "", "labs/01-a/src sets an allocator");
    }

    #[test]
    fn files_of_the_subject_are_its_own() {
        let list = "/t/a.d: subjects/a/src/lib.rs subjects/a/src/b\\ c.rs\n\nsubjects/a/src/lib.rs:\nsubjects/a/src/b\\ c.rs:\n";
        assert_eq!(foreign_in(list, "subjects/a/src"), None);
    }

    #[test]
    fn files_from_elsewhere_are_not() {
        for file in
            ["/etc/passwd", "subjects/a/src/../../b/src/lib.rs", "subjects/b/src/lib.rs", "subjects/a/srcs"]
        {
            let list = format!("x.d: y\n\nsubjects/a/src/lib.rs:\n{file}:\n# env-dep:X=y:\n");
            assert_eq!(foreign_in(&list, "subjects/a/src").as_deref(), Some(file));
        }
    }
}
