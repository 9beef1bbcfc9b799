//! Every wrong implementation of the catalogue is found, each with the kind of finding and the number of deviations that its
//! bug needs: switches away from a thread that could have run on, and then oddities (an old value read, a wait that ends for
//! no reason). Beside them are right implementations, of which nothing is said.

mod build;

use std::collections::BTreeMap;
use std::sync::OnceLock;

/// What the program of all rows printed, by row.
fn rows() -> &'static BTreeMap<String, String> {
    static ROWS: OnceLock<BTreeMap<String, String>> = OnceLock::new();
    ROWS.get_or_init(|| {
        let text = build::run_with("catalogue", &[]);
        let row = |line: &str| line.split_once(": ").map(|(name, found)| (name.to_owned(), found.to_owned()));
        text.lines().filter_map(row).collect()
    })
}

/// A number from a row's line.
fn number(line: &str, name: &str) -> u64 {
    let text = line.split_whitespace().find_map(|word| word.strip_prefix(name));
    text.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("`{name}` in {line}"))
}

/// Rows: name, kind of finding, preemptions, oddities. A right one says `right`.
fn check(family: &str, expected: &[(&str, &str, u64, u64)]) {
    let mut wrong = Vec::new();
    let mut seen: Vec<&String> = rows().keys().filter(|name| name.starts_with(family)).collect();
    for &(name, kind, preemptions, oddities) in expected {
        seen.retain(|row| *row != name);
        let Some(line) = rows().get(name) else {
            wrong.push(format!("{name} was not run"));
            continue;
        };
        let fine = match kind {
            "right" => line.starts_with("no finding; all interleavings"),
            _ => {
                line.starts_with(&format!("{kind} "))
                    && number(line, "preemptions=") == preemptions
                    && number(line, "oddities=") == oddities
            }
        };
        if !fine {
            wrong.push(format!("{name}, expected {kind} {preemptions} {oddities}: {line}"));
        }
    }
    assert!(wrong.is_empty() && seen.is_empty(), "{}\nnot expected: {seen:?}", wrong.join("\n"));
}

#[test]
fn spinlocks() {
    check(
        "sl-",
        &[
            ("sl-right", "right", 0, 0),
            ("sl-load-store", "race", 1, 0),
            ("sl-stale-expected", "race", 1, 0),
            ("sl-inverted-test", "race", 1, 0),
            ("sl-double-unlock", "race", 1, 0),
            ("sl-unlock-early", "race", 0, 0),
            ("sl-hoisted-read", "race", 0, 0),
            ("sl-no-unlock-on-path", "livelock", 0, 0),
            ("sl-relaxed-lock", "race", 0, 0),
            ("sl-relaxed-unlock", "race", 0, 0),
            ("sl-ticket-right", "right", 0, 0),
            ("sl-ticket-nonatomic", "livelock", 1, 0),
            ("sl-ticket-serve-next", "livelock", 1, 0),
            ("sl-ticket-le", "race", 1, 0),
            ("sl-peterson-right", "right", 0, 0),
            ("sl-peterson-turn-first", "race", 2, 0),
            ("sl-peterson-one-fence", "race", 0, 2),
            ("sl-peterson-no-fence", "race", 0, 1),
        ],
    );
}

#[test]
fn futex_mutexes() {
    check(
        "fm-",
        &[
            ("fm-right", "right", 0, 0),
            ("fm-right-3", "right", 0, 0),
            ("fm-no-state-2", "lost-wake-up", 1, 0),
            ("fm-reacquire-1", "lost-wake-up", 1, 0),
            ("fm-wake-before-release", "lost-wake-up", 1, 0),
            ("fm-no-wake", "lost-wake-up", 1, 0),
            ("fm-wait-current-value", "lost-wake-up", 2, 0),
            ("fm-no-recheck", "race", 2, 0),
            ("fm-dec-no-store", "deadlock", 1, 0),
            ("fm-swap-ignored", "race", 1, 1),
            ("fm-relaxed-unlock", "race", 0, 0),
            ("fm-relaxed-lock", "race", 0, 0),
            ("fm-drepper-1", "panic", 3, 0),
            ("fm-drepper-2-right", "right", 0, 0),
            ("fm-shared-wake", "lost-wake-up", 1, 0),
            ("fm-counts-right", "right", 0, 0),
            ("fm-counts-fence-right", "right", 0, 0),
            ("fm-counts-relaxed-right", "right", 0, 0),
            ("fm-counts-release", "lost-wake-up", 1, 1),
            ("fm-counts-release-sequential", "lost-wake-up", 1, 1),
            ("fm-counts-weak-fence", "lost-wake-up", 1, 1),
        ],
    );
}

#[test]
fn semaphores() {
    check(
        "se-",
        &[
            ("se-right", "right", 0, 0),
            ("se-right-signal", "right", 0, 0),
            ("se-test-then-dec", "race", 2, 0),
            ("se-wake-before-post", "lost-wake-up", 1, 0),
            ("se-wake-only-if-zero", "lost-wake-up", 0, 0),
            ("se-stale-expected", "lost-wake-up", 0, 1),
            ("se-post-nonatomic", "lost-wake-up", 1, 0),
            ("se-if-not-while", "race", 2, 0),
            ("se-cas-retry-no-zero", "race", 2, 0),
            ("se-relaxed-post", "race", 0, 0),
        ],
    );
}

#[test]
fn condition_variables() {
    check(
        "cv-",
        &[
            ("cv-right", "right", 0, 0),
            ("cv-right-3", "right", 0, 0),
            ("cv-lost-wakeup", "lost-wake-up", 1, 0),
            ("cv-if", "panic", 2, 0),
            ("cv-signal-before-set", "deadlock", 1, 0),
            ("cv-set-without-lock", "race", 0, 0),
            ("cv-notify-one-two-preds", "lost-wake-up", 2, 0),
            ("cv-two-preds-right", "right", 0, 0),
            ("cv-no-relock", "race", 1, 0),
            ("cv-no-unlock", "deadlock", 0, 0),
            ("cv-sequence-wraps-right", "right", 0, 0),
            ("cv-sequence-wraps", "lost-wake-up", 0, 0),
            ("cv-relaxed-flag", "race", 0, 0),
            ("cv-broadcast-one", "lost-wake-up", 1, 0),
        ],
    );
}

#[test]
fn bounded_buffers() {
    check(
        "bb-",
        &[
            ("bb-right-semaphores", "right", 0, 0),
            ("bb-no-mutex", "race", 1, 0),
            ("bb-lock-then-sem", "deadlock", 0, 0),
            ("bb-forget-post", "deadlock", 0, 0),
            ("bb-right-monitor", "right", 0, 0),
            ("bb-if", "panic", 1, 0),
            ("bb-single-cv", "lost-wake-up", 1, 0),
            ("bb-off-by-one", "panic", 0, 0),
            ("bb-read-after-unlock", "race", 1, 0),
            ("bb-signal-wrong-cv", "lost-wake-up", 0, 0),
        ],
    );
}

#[test]
fn reader_writer_locks() {
    check(
        "rw-",
        &[
            ("rw-right", "right", 0, 0),
            ("rw-writer-check-then-set", "race", 1, 0),
            ("rw-reader-check-then-inc", "race", 2, 0),
            ("rw-last-reader-no-wake", "lost-wake-up", 1, 0),
            ("rw-writer-wakes-one", "lost-wake-up", 1, 0),
            ("rw-right-3", "right", 0, 0),
            ("rw-upgrade-deadlock", "livelock", 1, 0),
            ("rw-downgrade-gap", "panic", 1, 0),
            ("rw-downgrade-right", "right", 0, 0),
            ("rw-writer-store-zero", "lost-wake-up", 1, 1),
            ("rw-try-upgrade-keeps-read", "deadlock", 0, 0),
            ("rw-relaxed-read-unlock", "race", 0, 0),
        ],
    );
}

#[test]
fn rings() {
    check(
        "ri-",
        &[
            ("ri-right", "right", 0, 0),
            ("ri-publish-first", "race", 0, 0),
            ("ri-full-is-empty", "panic", 0, 0),
            ("ri-two-producers", "race", 0, 0),
            ("ri-cached-head", "livelock", 0, 0),
            ("ri-sleep-lost", "lost-wake-up", 1, 0),
            ("ri-count-nonatomic", "panic", 1, 0),
            ("ri-count-right", "right", 0, 0),
            ("ri-index-advance-twice", "panic", 0, 0),
            ("ri-relaxed-publish", "race", 0, 0),
            ("ri-relaxed-take", "race", 0, 0),
        ],
    );
}

#[test]
fn mailboxes() {
    check(
        "mb-",
        &[
            ("mb-right", "right", 0, 0),
            ("mb-flag-first", "race", 0, 0),
            ("mb-overwrite", "livelock", 0, 0),
            ("mb-two-senders", "race", 1, 0),
            ("mb-ack-before-take", "race", 0, 0),
            ("mb-relaxed-flag", "race", 0, 0),
            ("mb-right-sleeping", "right", 0, 0),
            ("mb-notify-before-set", "lost-wake-up", 1, 0),
            ("mb-close-no-wake", "lost-wake-up", 0, 0),
            ("mb-shared-reply", "panic", 0, 0),
            ("mb-right-reply", "right", 0, 0),
            ("mb-torn-pair", "panic", 1, 0),
            ("mb-seqlock-right", "right", 0, 0),
            ("mb-seqlock-no-recheck", "panic", 1, 0),
            ("mb-seqlock-no-fence", "panic", 1, 1),
        ],
    );
}

#[test]
fn barriers() {
    check(
        "ba-",
        &[
            ("ba-right", "right", 0, 0),
            ("ba-right-3", "right", 0, 0),
            ("ba-no-generation", "livelock", 0, 0),
            ("ba-count-nonatomic", "deadlock", 1, 0),
            ("ba-wake-one", "lost-wake-up", 0, 0),
            ("ba-off-by-one", "panic", 0, 0),
            ("ba-late-generation", "lost-wake-up", 1, 0),
            ("ba-spurious-no-loop", "lost-wake-up", 1, 0),
            ("ba-one-turnstile", "panic", 0, 0),
            ("ba-sense-shared", "deadlock", 0, 1),
            ("ba-relaxed-arrival", "race", 0, 0),
        ],
    );
}

#[test]
#[expect(clippy::print_stdout, reason = "the figures, for who asks with --nocapture")]
fn none_is_missed_and_the_first_failing_execution_comes_early() {
    let found: Vec<&String> = rows().values().filter(|line| !line.starts_with("no finding")).collect();
    let sorted = |name| {
        let mut numbers: Vec<u64> = found.iter().map(|line| number(line, name)).collect();
        numbers.sort_unstable();
        numbers
    };
    let (executions, micros) = (sorted("executions="), sorted("micros="));
    let right = rows().len() - found.len();
    let most = rows().values().map(|line| number(line, "kilobytes=")).max().unwrap_or(0);
    println!(
        "{} wrong ones found, {right} right ones not; first failing execution: median {}, at most {}; with two replays: median \
         {} us, together {} us; at most {} MiB of memory",
        found.len(),
        executions[executions.len() / 2],
        executions[executions.len() - 1],
        micros[micros.len() / 2],
        micros.iter().sum::<u64>(),
        most / 1024
    );
    assert!(most < 100 * 1024, "an exploration takes less than 100 MiB, and took {most} KiB");
    assert!(executions[executions.len() / 2] <= 20, "{executions:?}");
    assert!(executions[executions.len() - 1] <= 10_000, "{executions:?}");
}
