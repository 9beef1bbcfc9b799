//! What a compiler may say and write when its input is hostile: see [`crate::properties`].

use std::io::Cursor;
use std::process::Command;
use std::sync::OnceLock;

use object::ReadCache;
use proptest::collection::vec;
use proptest::prelude::*;

use super::diagnostic::Diagnostic;
use super::inspection::{foreign_in, in_archive, sentence};
use super::lines::Lines;
use super::*;
use crate::properties::{mangled, some};
use crate::subject::Sources;

/// What cargo says of a crate with an error, and at the end.
const SAID: &str = r#"{"reason":"compiler-message","package_id":"p","manifest_path":"/s/Cargo.toml","target":{"kind":["lib"]},"message":{"rendered":"error: e\n","$message_type":"diagnostic","children":[],"code":null,"level":"error","message":"e","spans":[{"byte_end":1,"byte_start":0,"column_end":2,"column_start":1,"file_name":"src/lib.rs","is_primary":true,"line_end":1,"line_start":1,"text":[]}]}}
{"reason":"compiler-artifact","package_id":"p","manifest_path":"/c/Cargo.toml","filenames":["/t/c","/t/c.rlib"],"executable":"/t/c","fresh":false}
{"reason":"build-finished","success":true}
"#;
const JSON: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    "\"",
    "\\",
    "\n",
    "null",
    "-1",
    "4294967296",
    "1e999",
    "\\ud800",
    "\"level\":\"warning\",",
    "\"reason\":\"build-finished\"",
    "[[[[[[[[",
    "\"manifest_path\":",
    "aborting due to ",
    "No space left on device",
];
const FILES: &str =
    "/t/a.d: subjects/a/src/lib.rs\n\nsubjects/a/src/lib.rs:\nsubjects/a/src/b\\ c.rs:\n# env-dep:X=y:\n";
const SOURCE: &str = "fn already() {}\n// no_mangle\n#[unsafe(no_mangle)]\npub extern \"C\" fn read() {}\n";

/// A real library: with a constructor, an exported function, and what is Rust's own.
fn library() -> &'static [u8] {
    static LIBRARY: OnceLock<Vec<u8>> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let source = "#![no_std]\n#[unsafe(link_section = \".init_array\")]\n#[used]\nstatic F: fn() = f;\nfn f() {}\n\
                      #[unsafe(no_mangle)]\npub extern \"C\" fn read() {}\npub fn plain(x: &mut [u8]) { x[0] = 1; }\n";
        std::fs::write(folder.path().join("lib.rs"), source).unwrap();
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let mut command = Command::new(rustc);
        command.args(["--crate-type=rlib", "--edition=2024", "-Cpanic=abort", "-Cdebuginfo=0", "lib.rs", "-o", "lib.rlib"]);
        assert!(command.current_dir(folder.path()).status().unwrap().success());
        std::fs::read(folder.path().join("lib.rlib")).unwrap()
    })
}

#[test]
fn the_library_is_refused_as_it_stands() {
    assert!(in_archive(&ReadCache::new(Cursor::new(library()))).is_some());
}

/// Says what was heard, as after a build.
fn hear(bytes: &[u8], pieces: usize) -> Said {
    let (mut said, mut lines) = (Said::default(), Lines::default());
    for piece in bytes.chunks(pieces) {
        lines.push(piece, |line| said.hear(line));
    }
    said
}

proptest! {
    #![proptest_config(some())]

    #[test]
    fn what_cargo_says(bytes in mangled(SAID, JSON), pieces in 1..500_usize) {
        let said = hear(&bytes, pieces);
        drop(said.failure("no checks").to_string());
        for Errors { first, count } in said.errors.values() {
            prop_assert!(first.len() <= *count);
            prop_assert!(first.iter().all(|error| error.rendered().len() < 20_000));
            let _ = first.iter().filter_map(Diagnostic::place).count();
        }
    }

    #[test]
    fn how_an_endless_message_begins(bytes in mangled(SAID, JSON)) {
        let found = Diagnostic::of_a_beginning(&bytes);
        let is_a_message = bytes.starts_with(b"{\"reason\":\"compiler-message\",");
        prop_assert!(found.is_none() || is_a_message);
    }

    #[test]
    fn lines_come_out_as_they_went_in(bytes in vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..100), pieces in 1..50_usize) {
        let (mut lines, mut heard) = (Lines::default(), Vec::new());
        bytes.chunks(pieces).for_each(|piece| lines.push(piece, |line| heard.push(line.to_owned())));
        let mut expected: Vec<_> = bytes.split(|&byte| byte == b'\n').map(<[u8]>::to_owned).collect();
        expected.pop();
        prop_assert_eq!(heard, expected);
    }

    #[test]
    fn libraries(bytes in mangled(library(), &["\0", "\u{7f}ELF", "`\n", "!<arch>\n", "/0", "4294967295"])) {
        if let Some(finding) = in_archive(&ReadCache::new(Cursor::new(&bytes))) {
            let said = sentence(&finding, &Sources::from([("lib.rs", SOURCE)]), "labs/01-a/src");
            prop_assert!(said.starts_with("labs/01-a/src"), "{said}");
        }
    }

    #[test]
    fn lists_of_files(bytes in mangled(FILES, &["..", "/", ":\n", "\\ ", "#", "subjects/a/src"])) {
        let text = String::from_utf8_lossy(&bytes);
        if let Some(file) = foreign_in(&text, "subjects/a/src") {
            prop_assert!(text.replace("\\ ", " ").contains(&file));
        }
    }
}
