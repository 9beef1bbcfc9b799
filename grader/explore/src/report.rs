//! A finding in words: what went wrong, the failing execution as a timeline with one column per thread, and why.

mod cause;
pub mod source;
mod timeline;

use crate::finding::Finding;
use source::Sources;

/// A finding in words, in the pieces that a report is put together from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// `lost wake-up: thread 2 never goes on`
    pub headline: String,
    /// The failing execution, a line for each step; empty when there is nothing to show.
    pub timeline: String,
    /// Why it fails, in a sentence or two.
    pub cause: String,
}

impl Finding {
    /// The finding in words, in pieces; no line of the timeline is longer than `width`.
    pub fn told(&self, width: usize) -> Told {
        let mut sources = Sources::of_this_program();
        Told {
            headline: cause::headline(&self.cause, &self.trace.threads),
            timeline: timeline::render(self, &mut sources, width),
            cause: cause::explain(self, &mut sources),
        }
    }

    /// The report for a reader: a headline, the timeline, and the cause; no line is longer than `width`.
    pub fn render(&self, width: usize) -> String {
        let Told { headline, timeline, cause: why } = self.told(width);
        let mut text = format!("{headline}\n");
        if !timeline.is_empty() {
            text.push_str(&format!("\n{timeline}"));
        }
        if !why.is_empty() {
            text.push('\n');
            for line in wrap(&why, width) {
                text.push_str(&line);
                text.push('\n');
            }
        }
        text
    }

    /// The headline alone: `lost wake-up: thread 2 sleeps for ever`.
    pub fn headline(&self) -> String {
        cause::headline(&self.cause, &self.trace.threads)
    }
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}
