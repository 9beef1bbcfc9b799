//! A message without what differs from run to run: the same mistake has the same shape every time. Pure.

/// The message with every number, list and quotation replaced by a sign, and without the command that
/// repeats the run. Neighbouring lines that become equal are one.
pub fn shape(message: &str) -> String {
    let lines = message.lines().map(str::trim).filter(|line| !line.starts_with("again "));
    let mut lines: Vec<String> =
        lines.map(|line| join_lists(&without_numbers(&without_lists(&without_quotations(line))))).collect();
    lines.dedup();
    lines.join("\n")
}

/// What stands between two `"` is a student's or a check's own text, often drawn at random.
fn without_quotations(line: &str) -> String {
    let line = line.replace("\\\"", "");
    let mut pieces: Vec<&str> = line.split('"').collect();
    // The last piece is quoted only by a mark that is never closed.
    let quoted = pieces.len() / 2;
    if pieces.len() % 2 == 1 {
        pieces.iter_mut().skip(1).step_by(2).take(quoted).for_each(|piece| *piece = "…");
    }
    pieces.join("\"")
}

/// What stands in brackets is often drawn at random, or in a random order.
fn without_lists(line: &str) -> String {
    let mut depth = 0_usize;
    let mut shaped = String::new();
    for c in line.chars() {
        match c {
            '[' => {
                if depth == 0 {
                    shaped.push_str("[…]");
                }
                depth += 1;
            }
            ']' if depth > 0 => depth -= 1,
            _ if depth == 0 => shaped.push(c),
            _ => {}
        }
    }
    if depth == 0 { shaped } else { line.to_owned() }
}

/// A word with a digit in it is a number: a count, a time, a process, an address, a line, a key.
fn without_numbers(line: &str) -> String {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let mut shaped = String::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| is_part(c) != is_part(first)).unwrap_or(rest.len());
        let (piece, after) = rest.split_at(end);
        shaped.push_str(if is_part(first) && piece.contains(|c: char| c.is_ascii_digit()) {
            "#"
        } else {
            piece
        });
        rest = after;
    }
    shaped
}

/// A list is as long as it happens to be; a fraction or a negative number is a number.
fn join_lists(line: &str) -> String {
    let mut line = line.to_owned();
    for between in ["#.#", "#, #", "#,#", "# #", " -#", "(-#"] {
        let joined = match between.strip_suffix("-#") {
            Some(before) => format!("{before}#"),
            None => "#".to_owned(),
        };
        while line.contains(between) {
            line = line.replace(between, &joined);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(message: &str, expected: &str) {
        assert_eq!(shape(message), expected);
    }

    #[test]
    fn numbers_are_alike() {
        check("process 4711 waits 0.25 s at 0x7ffd_e000", "process # waits # s at #");
        check("lib.rs:41 says -1 and 1,024", "lib.rs:# says # and #");
    }

    #[test]
    fn lists_are_alike_however_long() {
        check("expected  [3, 1, 2]", "expected  […]");
        check("expected  [7], or [Exited(1), [Signalled(9)]]", "expected  […], or […]");
        check("expected  (3, 1, 2) of [", "expected  (#) of [");
    }

    #[test]
    fn quotations_are_alike() {
        check("holds \"before-2d43 in\\\"side\" and \"\"", "holds \"…\" and \"…\"");
        check("a lone \" stays", "a lone \" stays");
    }

    #[test]
    fn equal_lines_are_one() {
        check("process 1 runs\n  process 2 runs\nso", "process # runs\nso");
    }

    #[test]
    fn the_command_that_repeats_it_is_no_part_of_it() {
        check("look at   `f`\nagain     cargo run -- fork --seed 3\n", "look at   `f`");
    }

    #[test]
    fn words_count() {
        check("two processes held `lock`", "two processes held `lock`");
    }
}
