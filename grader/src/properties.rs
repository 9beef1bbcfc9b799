//! Every parser of text that others have written, fed with random bytes, with mangled valid texts and with built ones: none
//! may panic, and what is written must be read back. What a parser keeps to itself is tried beside it, in a file of this name.
//!
//! In a plain run there are some hundred cases of each. A million:
//! `PROPTEST_CASES=1000000 cargo test --release -p grader -p harness propert`

use proptest::collection::vec;
use proptest::prelude::*;

use crate::commit;
use crate::lab::Lab;
use crate::mutant::Mutant;
use crate::output::{Output, cut, harmless};
use crate::sandbox::word::{Resource, Word};
use crate::sandbox::{Exit, Said};
use crate::subject::{Sources, Subject};
use crate::variant;
use crate::verify::messages::golden::{Entry, Golden};

// Not by a dependency: it is for tests only.
#[path = "../harness/src/mangled.rs"]
mod mangling;

pub use mangling::{mangled, some};

/// The same, as text; or any text.
fn text(valid: &'static str, words: &'static [&'static str]) -> impl Strategy<Value = String> {
    let mangled = mangled(valid, words).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    prop_oneof![4 => mangled, 1 => any::<String>()]
}

const LAB: &str = "title = \"T\"\nsummary = \"S.\"\n[[parts]]\nname = \"one\"\ntitle = \"One\"\nhints = [\"a\", \"b\", \"c\"]\n\
    [[parts.checks]]\nname = \"holds\"\npoints = 100\ndeadline = 1.5\nsays = \"It holds.\"\nevidence = \"answers\"\n\
    needs = [\"private-ipc\"]\n";
const MUTANTS: &str = "[[mutants]]\nname = \"m\"\nbug = \"b\"\nfind = \"a = 1\"\nreplace = '''\na = 2'''\n\
    caught-by = [\"c\"]\nfile = \"lib.rs\"\nwaits-for = \"explore\"\n";
const TOML: &[&str] = &[
    "\n",
    "[[",
    "]]",
    "'''",
    "\"\"\"",
    "\\u",
    "1e999",
    "-nan",
    "inf",
    "18446744073709551616",
    "[[parts]]\n",
    "é",
    "\u{0}",
    "= {",
    "}",
    "1979-05-27",
    "a.b.c",
    "#",
    "0x",
];
const SCHEDULES: &[&str] =
    &["t", "r", "s", "w", "d", "a", ".", ":", "63", "64", "4294967296", "-", "+1", "é", "0"];
const WORDS: &[&str] =
    &["{", "}", "\"Left\"", "\"Ended\"", "{\"Signal\":9}", "\\u0000", "\\ud800", "[[[[[[", "\n", "1e400"];
const GOLDEN: &str = "# What\n\nprose\nBuilt with rustc 1.95.0.\n\n## m\n\nIt is `unfair`.\n\n### fair\n\n```text\na\n```\n\nor\n\n\
    ```text\nb\n```\n";
const HEADINGS: &[&str] = &["\n## ", "\n### ", "\n```text\n", "\n```\n", "\nor\n", "Built with ", "."];

const TREE: &str = "040000 tree 2 -\tlabs/01-a/src\u{0}100644 blob 3  12\tlabs/01-a/src/lib.rs\u{0}\
    120000 blob 4 9\tlabs/01-a/src/x\u{0}";
const NAMES: &[&str] = &["/", "..", "./", "\t", "\u{0}", " ", "labs/01-a/src", "160000", "\\", "\n", "-1"];

proptest! {
    #![proptest_config(some())]

    #[test]
    fn lab_toml(text in text(LAB, TOML), directory in "[0-9a-z-]{0,6}") {
        match Lab::parse(&directory, &text) {
            Ok(lab) => drop((lab.inconsistencies(), lab.crate_name(), lab.checks().map(|(_, check)| check.deadline()).max())),
            Err(why) => prop_assert!(why.starts_with(&format!("labs/{directory}/lab.toml:")), "{why}"),
        }
    }

    #[test]
    fn mutants_toml(text in text(MUTANTS, TOML), source in "(let a = 1;|a|é|\n){0,4}") {
        let sources = Sources::from([("lib.rs", source.as_str())]);
        match Mutant::parse_all("mutants.toml", &text) {
            Ok(mutants) => mutants.iter().for_each(|mutant| drop((mutant.inconsistencies(), mutant.apply(&sources)))),
            Err(why) => prop_assert!(why.starts_with("mutants.toml:"), "{why}"),
        }
    }

    #[test]
    fn the_first_line_of_a_variant(text in text("//! With a ticket.\n//! More.\n", &["//!", "\r", "\u{2028}"])) {
        prop_assert!(!variant::says(&text).contains('\n'));
    }

    #[test]
    fn subjects_on_the_command_line(text in text("mutant:name", &["variant:", "reference", "\u{0}", "/", ":"])) {
        if let Ok(subject) = text.parse::<Subject>() {
            prop_assert_eq!(subject.to_string().parse::<Subject>(), Ok(subject));
        }
    }

    #[test]
    fn lists_of_a_commit(list in mangled(TREE, NAMES)) {
        for item in commit::parse(&list, "labs/01-a/src").unwrap_or_default() {
            prop_assert!(!item.path.split('/').any(|part| part == ".." || part == "."), "{}", item.path);
            prop_assert!(!item.path.starts_with('/') && !item.path.contains('\n'), "{}", item.path);
        }
    }

    #[test]
    fn schedules(text in text("1:17t2.18t35.23r1", SCHEDULES)) {
        let _ = crate::replay::validate(&text);
        if let Ok(schedule) = text.parse::<crate::replay::schedule::Schedule>() {
            prop_assert_eq!(schedule.to_string().parse(), Ok(schedule));
        }
    }

    #[test]
    fn words_of_a_warden(bytes in mangled("{\"Left\":\"process 7 (a)\"}\n{\"Ended\":{\"Signal\":9}}\n", WORDS)) {
        let said = Said::by_the_warden(&bytes, Exit::Code(0));
        // Without a whole word about the end, nothing ended well.
        prop_assert!(said.exit != Exit::Code(0) || bytes.windows(7).any(|part| part == b"\"Code\":"));
    }

    #[test]
    fn words_survive_the_trip(name in any::<String>(), code in any::<i32>(), signal in any::<i32>()) {
        let words = [
            Word::Left(name.clone()),
            Word::Failed(name),
            Word::Ended(Exit::Code(code)),
            Word::Ended(Exit::Signal(signal)),
            Word::Exhausted(Resource::Disk),
            Word::Crowded,
            Word::Gone,
        ];
        let lines = words.iter().map(|word| serde_json::to_vec(word).unwrap());
        let bytes = lines.collect::<Vec<_>>().join(&b'\n');
        let read = Word::read_all(&bytes);
        prop_assert_eq!(read.as_deref(), Some(&words[..]));
    }

    #[test]
    fn messages_md(text in text(GOLDEN, HEADINGS)) {
        let golden = Golden::parse(&text);
        let order: Vec<_> =
            golden.entries.iter().map(|(name, entry)| (name.clone(), entry.checks.keys().cloned().collect())).collect();
        // Read once, it is read again.
        let rendered = golden.render("lab", &order);
        prop_assert!(Golden::parse(&rendered).entries.len() >= golden.entries.len().min(1));
    }

    #[test]
    fn messages_md_survives_the_trip(
        bug in "[a-z`. ]{0,20}", name in "[a-z-]{1,9}", forms in vec("[ -_a-~\u{2717}é]{1,20}(\n[ -_a-~]{0,20}){0,2}x", 1..3),
    ) {
        let bug = crate::verify::messages::golden::one_line(&bug);
        let checks = [(name.clone(), forms)].into();
        let golden = Golden { compiler: "rustc 1".to_owned(), entries: [(name.clone(), Entry { bug, checks })].into() };
        let text = golden.render("lab", &[(name.clone(), vec![name])]);
        prop_assert_eq!(Golden::parse(&text), golden);
    }

    #[test]
    fn output_of_a_check(pieces in vec(vec(any::<u8>(), 0..200), 0..8)) {
        let mut output = Output::default();
        pieces.iter().for_each(|piece| output.push(piece));
        let text = output.text();
        let turns_around = |c: char| ('\u{202a}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c);
        prop_assert!(!text.chars().any(|c| (c.is_control() && c != '\n' && c != '\t') || turns_around(c)));
        prop_assert_eq!(output.total() as usize, pieces.iter().map(Vec::len).sum::<usize>());
    }

    #[test]
    fn texts_that_are_cut(text in any::<String>(), most in 0..40_usize) {
        let shown = cut(harmless(&text), most);
        prop_assert!(shown.len() <= most + " […]".len());
    }
}
