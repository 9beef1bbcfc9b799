//! How the grader ends: one number for each kind of outcome.

/// The exit code of the grader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitCode {
    /// 0: every possible point was earned (or, with `--exit-policy ran`, grading ran to its end).
    FullMarks,
    /// 1: points were lost.
    PointsLost,
    /// 2: the command line makes no sense.
    Usage,
    /// 3: the course is inconsistent: a bad `lab.toml`, a mutant that survives.
    InconsistentCourse,
    /// 4: the machine does not offer the sandbox that `--tier` or `--require-tier` asks for.
    NoSandbox,
    /// 5: a report cannot be recorded: it is of another commit, another course, or a lower tier.
    NoRecord,
    /// 70: the grader, the toolchain or the machine failed.
    Internal,
    /// 128 + n: ended by signal n (130 for SIGINT, 143 for SIGTERM).
    Interrupted(i32),
}

impl ExitCode {
    /// The number given to `exit`.
    pub fn number(self) -> u8 {
        match self {
            ExitCode::FullMarks => 0,
            ExitCode::PointsLost => 1,
            ExitCode::Usage => 2,
            ExitCode::InconsistentCourse => 3,
            ExitCode::NoSandbox => 4,
            ExitCode::NoRecord => 5,
            ExitCode::Internal => 70,
            ExitCode::Interrupted(signal) => u8::try_from(128 + signal).unwrap_or(255),
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        code.number().into()
    }
}
