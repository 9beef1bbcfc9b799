//! The report as JSON: the model itself.

use super::Report;

/// The whole report, with a newline at the end.
pub fn render(report: &Report) -> String {
    // Only numbers, strings and lists are in it: there is nothing that could fail.
    let mut text = serde_json::to_string_pretty(report).unwrap_or_default();
    text.push('\n');
    text
}
