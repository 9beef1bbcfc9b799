//! What the warden tells the grader about a check, over a pipe that no submission ever holds.
//!
//! One JSON value a line. A line that is none is taken for a broken warden, never for a pass.

use std::fs::File;
use std::io::Write;

use serde::{Deserialize, Serialize};

use super::Exit;
use super::sweep::Swept;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Word {
    /// The sandbox could not be made: what failed.
    Failed(String),
    /// The check process ended.
    Ended(Exit),
    /// A process that outlived the check, by number and name.
    Left(String),
    /// The sandbox made a call of the check fail that would not have failed without.
    Interrupted,
    /// What the check had made on the machine, which has been removed.
    Swept(Swept),
    /// The check was refused a socket with a name.
    RefusedSocket,
    /// The check was ended because it took too much.
    Exhausted(Resource),
    /// The check was ended because memory of the machine was taken, and it is not known by whom.
    Crowded,
    /// The last one: nothing is left in the namespaces but the warden, which is about to end.
    Gone,
}

/// What a check can take too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resource {
    /// Memory of all its processes together.
    Memory,
    /// Processes, or threads.
    Processes,
    /// Room in its directory.
    Disk,
    /// Memory that no process shows: memory files, segments, names in `/dev/shm`.
    Unmapped,
}

impl Word {
    /// Writes the line. A grader that is gone is not told.
    pub fn say(&self, mut to: &File) {
        if let Ok(mut line) = serde_json::to_vec(self) {
            line.push(b'\n');
            let _ = to.write_all(&line);
        }
    }

    /// Whether the last of these lines has come.
    pub fn is_last(bytes: &[u8]) -> bool {
        let line = bytes.split(|&byte| byte == b'\n').rev().nth(1);
        bytes.ends_with(b"\n")
            && line.is_some_and(|line| matches!(serde_json::from_slice(line), Ok(Word::Gone)))
    }

    /// Reads all lines; `None` if one is broken.
    pub fn read_all(bytes: &[u8]) -> Option<Vec<Word>> {
        let lines = bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_through() {
        let words = [
            Word::Left("process 7 (a\nb)".to_owned()),
            Word::Exhausted(Resource::Memory),
            Word::Ended(Exit::Signal(9)),
            Word::Gone,
        ];
        let mut bytes = Vec::new();
        for word in &words {
            bytes.extend(serde_json::to_vec(word).expect("a line"));
            bytes.push(b'\n');
        }
        assert_eq!(Word::read_all(&bytes).as_deref(), Some(&words[..]));
        assert!(Word::is_last(&bytes));
        bytes.truncate(bytes.len() - 3);
        assert!(!Word::is_last(&bytes));
        assert_eq!(Word::read_all(&bytes), None);
    }
}
