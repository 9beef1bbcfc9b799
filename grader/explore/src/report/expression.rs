//! The part of a source line that an operation comes from, and what it operates on. Only spelling is looked at.

/// The expression at `column` (from 1) of `line`: names, calls, indices, up to the first blank outside brackets. None when there is
/// no call in it.
pub fn at(line: &str, column: usize) -> Option<String> {
    let text: Vec<char> = line.chars().collect();
    let mut start = column.checked_sub(1).filter(|&start| start < text.len())?;
    // The compiler may name the place of the method rather than that of the whole chain.
    while start > 0 && chains(text[start - 1]) {
        start -= 1;
    }
    let mut end = start;
    let mut depth = 0usize;
    while let Some(&character) = text.get(end) {
        match character {
            '(' | '[' => depth += 1,
            ')' | ']' if depth == 0 => break,
            ')' | ']' => depth -= 1,
            _ if depth > 0 || chains(character) || character == '&' || character == '*' => {}
            _ => break,
        }
        end += 1;
    }
    let part: String = text[start..end].iter().collect();
    let part = part.trim_end();
    if !part.contains('(') {
        return None;
    }
    Some(if depth > 0 { format!("{part}…{}", ")".repeat(depth)) } else { part.to_owned() })
}

fn chains(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '.' | ':')
}

/// The line without the blanks around it and without a comment at its end.
pub fn without_comment(line: &str) -> &str {
    let code = line.split(" //").next().unwrap_or(line).trim();
    if code.is_empty() { line.trim() } else { code }
}

/// What a call operates on: `word` in `self.word.swap(1, Acquire)` and in `futex_wait(&self.word, 2)`.
pub fn operand(call: &str) -> Option<&str> {
    let open = call.find('(')?;
    let before = call[..open].rsplit([' ', '!', '&', '*', '(']).next().unwrap_or("");
    let receiver = match before.rsplit_once('.') {
        Some((receiver, _)) => receiver,
        None => {
            let inside = &call[open + 1..];
            let end = inside.find([',', ')']).unwrap_or(inside.len());
            inside[..end].trim().trim_start_matches('&').trim_end_matches(".as_ptr(")
        }
    };
    let plain = |character: char| chains(character) || matches!(character, '[' | ']');
    if receiver.is_empty()
        || !receiver.chars().all(plain)
        || receiver.starts_with(|first: char| first.is_numeric())
    {
        return None;
    }
    let last = receiver.rsplit('.').next().unwrap_or(receiver);
    let numbered = last.starts_with(|first: char| first.is_numeric());
    Some(if numbered { receiver } else { last }).filter(|name| *name != "self")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, column: usize, part: &str, name: &str) {
        assert_eq!(at(line, column).as_deref(), Some(part));
        assert_eq!(operand(part), Some(name));
    }

    #[test]
    fn a_method_call_in_a_condition() {
        check("    while self.word.swap(1, Acquire) != 0 {", 11, "self.word.swap(1, Acquire)", "word");
    }

    #[test]
    fn the_column_of_the_method_alone() {
        check("if self.word.swap(1, Acquire) != 0 {", 14, "self.word.swap(1, Acquire)", "word");
    }

    #[test]
    fn a_tuple_struct() {
        check("self.0.store(0, Release);", 1, "self.0.store(0, Release)", "self.0");
    }

    #[test]
    fn a_function_of_a_reference() {
        check("    wait(&self.sequence, sequence);", 5, "wait(&self.sequence, sequence)", "sequence");
    }

    #[test]
    fn an_index() {
        check("self.flag[other].load(SeqCst)", 1, "self.flag[other].load(SeqCst)", "flag[other]");
    }

    #[test]
    fn a_call_that_goes_on_in_the_next_line() {
        check("libc::syscall(word, libc::SYS_futex,", 1, "libc::syscall(word, libc::SYS_futex,…)", "word");
    }

    #[test]
    fn no_call() {
        assert_eq!(at("*value += 1;", 1), None);
        assert_eq!(at("x", 7), None);
    }
}
