//! The headline of a report: one line that says what went wrong and to whom.

use super::relevance::stuck;
use crate::finding::{Blocked, Cause};
use crate::memory::race::Touch;

/// `lost wake-up: thread 2 sleeps for ever`
pub fn headline(cause: &Cause, names: &[String]) -> String {
    let name = |thread: usize| names.get(thread).map_or("a thread", String::as_str);
    match cause {
        Cause::Panic { thread, message: text, .. } => format!("{} panics: {}", name(*thread), message(text)),
        Cause::Race { earlier, later, .. } if later.touch == Touch::Free => format!(
            "freed too early: {} frees memory that {} may still use",
            name(later.thread),
            name(earlier.thread)
        ),
        Cause::Race { earlier, later, .. } => format!(
            "data race: {} {} and {} {} the same memory, and nothing orders the two",
            name(earlier.thread),
            touch(earlier.touch),
            name(later.thread),
            touch(later.touch)
        ),
        Cause::UseAfterFree { freed, used, .. } if used.touch == Touch::Free => {
            format!("double free: {} frees memory that {} has freed", name(used.thread), name(freed.thread))
        }
        Cause::UseAfterFree { freed, used, .. } => format!(
            "use after free: {} {} memory that {} has freed",
            name(used.thread),
            touch(used.touch),
            name(freed.thread)
        ),
        Cause::Deadlock { blocked } | Cause::LostWakeUp { blocked } => {
            let who: Vec<&str> = blocked.iter().filter_map(stuck).map(name).collect();
            let kind = if matches!(cause, Cause::Deadlock { .. }) { "deadlock" } else { "lost wake-up" };
            match who.as_slice() {
                [] => format!("{kind}: every thread waits for another's end"),
                [one] => format!("{kind}: {one} sleeps for ever"),
                all => format!("{kind}: {} sleep for ever", list(all)),
            }
        }
        Cause::Livelock { blocked } => {
            let spins = |blocked: &Blocked| match blocked {
                Blocked::Spinning { thread, .. } => Some(name(*thread)),
                Blocked::Waiting { .. } | Blocked::Joining { .. } => None,
            };
            let who: Vec<&str> = blocked.iter().filter_map(spins).collect();
            match who.as_slice() {
                [one] => format!("livelock: {one} spins for ever"),
                all => format!("livelock: {} spin for ever", list(all)),
            }
        }
        Cause::Endless { steps } => {
            format!("no end in sight: after {steps} steps the threads are still running")
        }
        Cause::Refused { thread, call } => {
            format!("{} makes a call that cannot be explored: {call}", name(*thread))
        }
        Cause::Leaves { thread, call } => {
            let what = match call.as_str() {
                "exit" | "_exit" | "exit_group" => "ends the process",
                "execve" | "execveat" => "replaces the process's program",
                _ => "starts a process",
            };
            format!("{} {what}: it calls `{call}`", name(*thread))
        }
        Cause::Crash { thread, signal, address, .. } => {
            let how = match (*signal, *address) {
                ("SIGSEGV" | "SIGBUS", 0..4096) => "it uses a null pointer",
                ("SIGSEGV" | "SIGBUS", _) => "it uses a bad pointer",
                ("SIGILL", _) => "it runs an illegal instruction",
                ("SIGABRT", _) => "it aborts",
                ("SIGFPE", _) => "it divides by zero",
                _ => "it gets a signal",
            };
            format!("{} crashes: {how} ({signal})", name(*thread))
        }
        Cause::StackOverflow { thread } => format!("{} overflows its stack", name(*thread)),
        Cause::Unseen { why } => format!("it cannot be explored here: {why}"),
        Cause::Diverged => {
            "the program is not deterministic: run again in the same way, it did something else".to_owned()
        }
    }
}

/// A panic's message in one line: `two threads are inside (left: 1, right: 0)`.
pub fn message(text: &str) -> String {
    let mut lines = text.lines().map(str::trim);
    let first = lines.next().unwrap_or_default();
    let side = |line: &&str| line.starts_with("left:") || line.starts_with("right:");
    let sides: Vec<&str> = lines.filter(side).collect();
    let first = match (first.strip_prefix("assertion `"), first.split_once("` failed: ")) {
        (Some(_), Some((_, said))) => said,
        (_, _) => first,
    };
    if sides.is_empty() { first.to_owned() } else { format!("{first} ({})", sides.join(", ")) }
}

/// `a, b and c`
pub fn list(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [all @ .., last] => format!("{} and {last}", all.join(", ")),
    }
}

/// What an access does, in the third person.
pub fn touch(touch: Touch) -> &'static str {
    match touch {
        Touch::Read => "reads",
        Touch::Write => "writes",
        Touch::AtomicRead => "reads (atomically)",
        Touch::AtomicWrite => "writes (atomically)",
        Touch::Free => "frees",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assertion_with_a_message_says_the_message() {
        let text = "assertion `left == right` failed: two are inside\n  left: 1\n right: 0";
        assert_eq!(message(text), "two are inside (left: 1, right: 0)");
    }

    #[test]
    fn an_assertion_without_a_message_says_what_failed() {
        let text = "assertion `left == right` failed\n  left: 1\n right: 2";
        assert_eq!(message(text), "assertion `left == right` failed (left: 1, right: 2)");
    }

    #[test]
    fn any_other_message_is_its_first_line() {
        assert_eq!(message("empty\nreally"), "empty");
    }
}
