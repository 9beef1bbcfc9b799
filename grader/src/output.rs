//! What a check and its workers printed: the beginning and the end of it, made harmless to show.

use std::collections::VecDeque;
use std::fmt::Write as _;

/// Bytes kept from the beginning, and as many from the end.
const KEPT: usize = 8 * 1024;

/// Captured output, bounded.
#[derive(Debug, Default)]
pub struct Output {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    total: u64,
}

impl Output {
    /// Adds what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let (head, tail) = bytes.split_at(bytes.len().min(KEPT - self.head.len()));
        self.head.extend_from_slice(head);
        self.tail.extend(tail);
        let excess = self.tail.len().saturating_sub(KEPT);
        self.tail.drain(..excess);
    }

    /// How many bytes were written in all.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The output as text without control characters; what was left out is counted.
    pub fn text(&self) -> String {
        let mut text = cut(harmless(&String::from_utf8_lossy(&self.head)), 2 * KEPT);
        let left_out = self.total - (self.head.len() + self.tail.len()) as u64;
        if left_out > 0 {
            let _ = write!(text, "\n[{left_out} bytes left out]\n");
        }
        let tail: Vec<u8> = self.tail.iter().copied().collect();
        text.push_str(&cut(harmless(&String::from_utf8_lossy(&tail)), 2 * KEPT));
        text
    }
}

/// At most so many bytes of a text, and a sign that there were more.
pub fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
        text.push_str(" […]");
        text.shrink_to_fit();
    }
    text
}

/// Text with every control character but newline and tab, and every bidirectional override, made visible.
pub fn harmless(text: &str) -> String {
    visible(text, &['\n', '\t'])
}

/// The same of what rustc says: its own colours stay, and it has made the escape characters of a submission visible itself.
pub fn harmless_but_coloured(text: &str) -> String {
    visible(text, &['\n', '\t', '\u{1b}'])
}

fn visible(text: &str, kept: &[char]) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut shown, c| {
        let turns_text_around = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if (c.is_control() && !kept.contains(&c)) || turns_text_around {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
        shown
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pieces: &[&[u8]], expected: &str) {
        let mut output = Output::default();
        for piece in pieces {
            output.push(piece);
        }
        assert_eq!(output.text(), expected);
    }

    #[test]
    fn text_is_kept() {
        check(&[b"a\n", b"\tb"], "a\n\tb");
    }

    #[test]
    fn escapes_become_visible() {
        check(&[b"\x1b[31mred\r\0"], "\\u{1b}[31mred\\r\\u{0}");
    }

    #[test]
    fn only_colours_stay_in_what_rustc_says() {
        let said = "\u{1b}[31merror\u{1b}[0m: \u{9b}31m\u{202e}\r\n";
        assert_eq!(harmless_but_coloured(said), "\u{1b}[31merror\u{1b}[0m: \\u{9b}31m\\u{202e}\\r\n");
    }

    #[test]
    fn the_middle_is_left_out() {
        let (a, b, c) = (vec![b'a'; KEPT], vec![b'b'; 1000], vec![b'c'; KEPT]);
        let expected = format!("{}\n[1000 bytes left out]\n{}", "a".repeat(KEPT), "c".repeat(KEPT));
        check(&[&a, &b, &c], &expected);
    }

    #[test]
    fn what_grows_when_it_is_made_visible_is_bounded() {
        let mut output = Output::default();
        output.push(&[0; 4 * KEPT]);
        assert!(output.text().len() < 4 * KEPT + 100);
        assert_eq!(cut("aé".to_owned(), 2), "a […]");
        assert_eq!(cut("aé".to_owned(), 3), "aé");
    }

    #[test]
    fn bytes_that_are_not_text_are_replaced() {
        check(&[&[0xff, b'a']], "\u{fffd}a");
    }
}
