//! The live line on standard error: what is being built, how many checks are done.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A spinner while building, a bar while running; plain lines where there is no terminal.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    is_live: bool,
}

impl Progress {
    /// Shows nothing yet.
    pub fn start() -> Progress {
        Progress { bar: ProgressBar::new_spinner(), is_live: std::io::stderr().is_terminal() }
    }

    /// Another grader holds the scratch workspace.
    pub fn waiting(&self) {
        self.say("waiting for another grader to finish");
    }

    /// Compilation of `count` subjects begins, of so many a second time for the explorer.
    pub fn building(&self, count: usize, explored: usize) {
        self.bar.set_length(count as u64);
        let again = match explored {
            0 => String::new(),
            explored => format!(", {explored} of them twice: as it is, and for the explorer"),
        };
        if count > 0 {
            self.say(&format!("building {}{again}", plural(count, "subject")));
        }
    }

    /// So many subjects are ready.
    pub fn built(&self, ready: usize) {
        if self.is_live {
            self.bar.set_message(format!("building ({ready} of {} ready)", self.bar.length().unwrap_or(0)));
        }
    }

    /// Running of `count` checks begins.
    pub fn running(&self, count: usize) {
        if count > 0 {
            self.say(&format!("running {}", plural(count, "check")));
        }
        self.bar.set_length(count as u64);
        self.bar.set_position(0);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}") {
            self.bar.set_style(style);
        }
    }

    /// One check is done.
    pub fn ran(&self, check: &str) {
        if self.is_live {
            self.bar.set_message(check.to_owned());
            self.bar.inc(1);
        }
    }

    /// Prints without disturbing the live line.
    pub fn aside(&self, print: impl FnOnce()) {
        self.bar.suspend(print);
    }

    /// Checks that timed out are tried on the reference.
    pub fn control(&self) {
        self.say("running the reference solution, to see whether the machine is too slow");
    }

    /// Removes the live line.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn say(&self, text: &str) {
        if self.is_live {
            self.bar.set_message(text.to_owned());
            self.bar.enable_steady_tick(Duration::from_millis(100));
        } else {
            // Nobody may be listening any more; grading goes on.
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

/// "1 lab", "2 labs".
pub fn plural(count: usize, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}
