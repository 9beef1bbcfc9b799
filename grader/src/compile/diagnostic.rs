//! What rustc says about a crate, as far as it is told: bounded, because a submission may make it say anything.

use std::path::PathBuf;

use serde::Deserialize;

use crate::output::cut;

/// The most of an error that is kept, in bytes: in one line, and as rustc renders it.
const LONGEST_MESSAGE: usize = 4 * 1024;
const LONGEST_RENDERED: usize = 16 * 1024;

/// An error or a warning.
#[derive(Debug, Deserialize)]
pub struct Diagnostic {
    /// In one line.
    pub message: String,
    /// `error`, `error: internal compiler error`, `warning`.
    pub level: String,
    rendered: Option<String>,
    spans: Vec<Span>,
}

#[derive(Debug, Deserialize)]
struct Span {
    file_name: String,
    line_start: u32,
    column_start: u32,
    is_primary: bool,
}

impl Diagnostic {
    /// As rustc renders it.
    pub fn rendered(&self) -> &str {
        self.rendered.as_deref().unwrap_or(&self.message)
    }

    /// File, line and column of what it is about.
    pub fn place(&self) -> Option<(&str, u32, u32)> {
        let span = self.spans.iter().find(|span| span.is_primary)?;
        Some((&span.file_name, span.line_start, span.column_start))
    }

    /// The same, with nothing in it that is too long to be read.
    pub fn bounded(self) -> Diagnostic {
        let Diagnostic { message, level, rendered, mut spans } = self;
        spans.retain(|span| span.is_primary);
        spans.truncate(1);
        spans
            .iter_mut()
            .for_each(|span| span.file_name = cut(std::mem::take(&mut span.file_name), LONGEST_MESSAGE));
        // What is cut may be coloured.
        let rendered = rendered.map(|text| match text.len() {
            0..=LONGEST_RENDERED => text,
            _ => cut(text, LONGEST_RENDERED) + "\u{1b}[0m",
        });
        Diagnostic { message: cut(message, LONGEST_MESSAGE), level, rendered, spans }
    }

    /// The package and what can be said of an error whose message is too long to be read: this is how it begins.
    pub fn of_a_beginning(line: &[u8]) -> Option<(PathBuf, Diagnostic)> {
        let text = String::from_utf8_lossy(line);
        let rest = text.strip_prefix("{\"reason\":\"compiler-message\",")?;
        let (package, _) = rest.split_once("\"manifest_path\":\"")?.1.split_once('"')?;
        // Inside a message each quotation mark would come after a backslash.
        let is_error = !rest.contains(",\"level\":\"warning\",");
        is_error.then(|| {
            let message = "an error whose text is longer than 1 MiB".to_owned();
            let error = Diagnostic { message, level: "error".to_owned(), rendered: None, spans: Vec::new() };
            (PathBuf::from(package), error)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, package: Option<&str>) {
        let found = Diagnostic::of_a_beginning(line.as_bytes()).map(|(package, _)| package);
        assert_eq!(found.as_deref(), package.map(std::path::Path::new));
    }

    #[test]
    fn an_endless_error_is_an_error_of_its_package() {
        let line = r#"{"reason":"compiler-message","package_id":"x","manifest_path":"/a/Cargo.toml","message":{"message":"\"level\":\"warning\" e"#;
        check(line, Some("/a/Cargo.toml"));
    }

    #[test]
    fn an_endless_warning_is_none() {
        let line = r#"{"reason":"compiler-message","manifest_path":"/a/Cargo.toml","message":{"message":"m","level":"warning","spans":["#;
        check(line, None);
        check(r#"{"reason":"compiler-artifact","manifest_path":"/a/Cargo.toml","#, None);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let span =
            || Span { file_name: "f".repeat(1 << 20), line_start: 1, column_start: 1, is_primary: true };
        let error = Diagnostic {
            message: "é".repeat(1 << 20),
            level: "error".to_owned(),
            rendered: Some("r".repeat(1 << 20)),
            spans: vec![span(), span()],
        };
        let error = error.bounded();
        assert!(error.message.len() + error.rendered().len() + error.place().unwrap().0.len() < 32 * 1024);
        assert!(error.rendered().ends_with("[…]\u{1b}[0m"));
    }
}
