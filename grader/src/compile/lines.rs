//! What cargo says, cut into lines as it comes; of a line that is too long only the beginning is kept.

/// The most of a line that is kept, in bytes. What a person is to read is shorter.
pub const LONGEST: usize = 1 << 20;

/// Bytes that have come without an end of a line yet.
#[derive(Debug, Default)]
pub struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    /// Adds what was read; `hear` gets each line that has come to its end, without the end.
    pub fn push(&mut self, bytes: &[u8], mut hear: impl FnMut(&[u8])) {
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            let (text, ends) = match part.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (part, false),
            };
            let room = LONGEST - self.begun.len();
            self.begun.extend_from_slice(&text[..text.len().min(room)]);
            if ends {
                hear(&self.begun);
                self.begun.clear();
                self.begun.shrink_to(64 * 1024);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pieces: &[&[u8]], expected: &[&[u8]]) {
        let (mut lines, mut heard) = (Lines::default(), Vec::new());
        for piece in pieces {
            lines.push(piece, |line| heard.push(line.to_owned()));
        }
        assert_eq!(heard, expected);
    }

    #[test]
    fn lines_are_put_together() {
        check(&[b"a", b"b\nc\n\nd", b""], &[b"ab", b"c", b""]);
    }

    #[test]
    fn of_a_line_that_is_too_long_the_beginning_is_kept() {
        let half = vec![b'x'; LONGEST / 2 + 1];
        check(&[&half, &half, b"yz\nw\n"], &[&vec![b'x'; LONGEST], b"w"]);
    }
}
