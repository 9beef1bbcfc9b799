//! `Check::explore`: every interleaving of a small concurrent program, in a forked worker.

use std::panic::Location;

use crate::check::Check;
use crate::exploration::{Exploration, Model};
use crate::stop::{Outcome, Stop};

impl Check {
    /// Runs `body` in every interleaving that the exploration's limits allow, in one worker, until one fails. The body
    /// makes its objects with [`Model::share`], starts threads with [`Model::spawn`], joins them, and asserts what must
    /// hold. It must do the same whenever it is run in the same way: no clock, no random numbers, no addresses.
    ///
    /// `what` names the program for the report: "two threads lock and unlock".
    ///
    /// # Errors
    /// [`Stop::Found`] with the failing execution, [`Stop::Unimplemented`] when a `todo!()` is reached,
    /// [`Stop::Inconclusive`] when the program does what cannot be explored, and as [`Check::ask`].
    #[track_caller]
    pub fn explore(&self, what: &str, exploration: Exploration, body: impl Fn(&Model)) -> Outcome {
        let number = self.explorations.get() + 1;
        self.explorations.set(number);
        let asserts = Location::caller().file();
        match &self.replay {
            Some(replay) if replay.exploration != number => Ok(()),
            _ => self.explore_number((number, asserts), what, exploration, body),
        }
    }

    #[cfg(not(feature = "explore"))]
    fn explore_number(&self, _: (u32, &str), what: &str, _: Exploration, _: impl Fn(&Model)) -> Outcome {
        Err(Stop::inconclusive(format!("{what}: needs the explored build of this check")))
    }
}

#[cfg(feature = "explore")]
mod explored {
    use explore::{Budget, Cause, Explorer, Kind, Report, Schedule};

    use super::{Check, Exploration, Model, Outcome, Stop};
    use crate::event::{Event, Finding, Line, LineKind, Place};

    /// Columns of a timeline: the report indents it by six.
    const WIDTH: usize = 94;

    /// What a `todo!()` says first.
    const TODO: &str = "not yet implemented";

    /// What the worker tells: the coverage, and what is wrong.
    type Answer = (String, Option<Problem>);
    /// Kind, headline, cause, lines, (schedule, preemptions), place.
    type Problem = (u8, String, String, Lines, (String, u32), Option<Spot>);
    /// Each with its kind: first the timeline, then, in a replay, every single step.
    type Lines = (Vec<(u8, String)>, Vec<(u8, String)>);
    type Spot = (String, u32, u32);

    const FOUND: u8 = 0;
    const UNIMPLEMENTED: u8 = 1;
    const UNDECIDED: u8 = 2;

    const HEADER: u8 = 0;
    const STEP: u8 = 1;
    const WRONG: u8 = 2;
    const REMARK: u8 = 3;

    /// More steps than anybody goes through.
    const MOST_STEPS: usize = 5_000;

    impl Check {
        pub(super) fn explore_number(
            &self,
            (number, asserts): (u32, &str),
            what: &str,
            exploration: Exploration,
            body: impl Fn(&Model),
        ) -> Outcome {
            let Exploration { bound, executions, spurious, weak } = exploration;
            let explorer = Explorer::new(Budget { bound, executions, spurious, weak, ..Budget::default() });
            let answer: Answer = match &self.replay {
                None => self.ask(what, || told(explorer.run(body), asserts))?,
                Some(replay) => {
                    let schedule: Schedule =
                        replay.schedule.parse().map_err(|error| Stop::inconclusive(format!("{error}")))?;
                    self.ask(what, || replayed(explorer.replay(&schedule, body), asserts))?
                }
            };
            let (coverage, problem) = answer;
            let Some((kind, headline, cause, (timeline, steps), (schedule, preemptions), spot)) = problem
            else {
                if self.replay.is_some() {
                    return Err(Stop::Replayed { fits: coverage.is_empty() });
                }
                self.note(coverage);
                return Ok(());
            };
            steps.into_iter().for_each(|step| self.supervisor.send(&Event::Stepped(line(step))));
            let place = spot.map(|(file, line, column)| Place { file, line, column });
            Err(match kind {
                UNIMPLEMENTED => Stop::Unimplemented { todo: headline, place },
                UNDECIDED => Stop::inconclusive(format!("{what}: {headline}\n{cause}").trim_end()),
                _ => Stop::Found(Box::new(Finding {
                    headline,
                    cause,
                    timeline: timeline.into_iter().map(line).collect(),
                    schedule: format!("{number}:{schedule}"),
                    preemptions,
                    coverage: format!("{what}: {coverage}"),
                    place,
                })),
            })
        }
    }

    fn told(report: Report, asserts: &str) -> Answer {
        match report.finding {
            None => (report.coverage.to_string(), None),
            Some(finding) => (format!("execution {}", report.executions), Some(problem(finding, asserts))),
        }
    }

    /// Text where a coverage would be: the schedule does not fit the program.
    fn replayed(finding: Option<explore::Finding>, asserts: &str) -> Answer {
        match finding {
            None => (String::new(), None),
            Some(finding) if finding.cause == Cause::Diverged => (finding.headline(), None),
            Some(finding) => {
                let steps = finding.steps().take(MOST_STEPS);
                let steps = steps.map(|step| (if step.matters { WRONG } else { STEP }, step.to_string()));
                let steps = steps.collect();
                let mut problem = problem(finding, asserts);
                problem.3.1 = steps;
                ("replayed".to_owned(), Some(problem))
            }
        }
    }

    fn problem(finding: explore::Finding, asserts: &str) -> Problem {
        if let Cause::Panic { message, place, .. } = &finding.cause
            && let Some(todo) = message.strip_prefix(TODO)
        {
            let todo = todo.trim_start_matches(": ").to_owned();
            return (UNIMPLEMENTED, todo, String::new(), Lines::default(), Default::default(), spot(place));
        }
        let told = finding.told(WIDTH);
        let (kind, place) = match &finding.cause {
            Cause::Refused { .. } | Cause::Unseen { .. } | Cause::Diverged => (UNDECIDED, None),
            Cause::Panic { place, .. } => (FOUND, spot(place)),
            Cause::Race { .. }
            | Cause::UseAfterFree { .. }
            | Cause::Deadlock { .. }
            | Cause::LostWakeUp { .. }
            | Cause::Livelock { .. }
            | Cause::Endless { .. }
            | Cause::Leaves { .. }
            | Cause::Crash { .. }
            | Cause::StackOverflow { .. } => (FOUND, told.place.map(|place| (place.file, place.line, 1))),
        };
        let place = place.map(|place| line_of_the_student(&finding, asserts, &place).unwrap_or(place));
        let kind_of = |kind| match kind {
            Kind::Header => HEADER,
            Kind::Rule | Kind::Step => STEP,
            Kind::Wrong => WRONG,
            Kind::Remark | Kind::Folded => REMARK,
        };
        let timeline = told.lines.into_iter().map(|line| (kind_of(line.kind), line.text)).collect();
        let replay = (finding.schedule.to_string(), finding.preemptions);
        (kind, told.headline, told.cause, (timeline, Vec::new()), replay, place)
    }

    /// For a line of the check, or of a file that the student is given, the last line before it of the student's own file.
    /// `asserts` is a file of the check's.
    fn line_of_the_student(finding: &explore::Finding, asserts: &str, (file, ..): &Spot) -> Option<Spot> {
        // `checks.rs`, and what is in `checks/` beside it.
        let checks = &asserts[..asserts.rfind("/checks")? + "/checks".len()];
        let is_own = |file: &str| !file.starts_with(checks) && file.ends_with("/lib.rs");
        if is_own(file) {
            return None;
        }
        let place = finding.last_line(is_own)?;
        Some((place.file, place.line, 1))
    }

    /// A line, as it came from the worker.
    fn line((kind, text): (u8, String)) -> Line {
        let kind = match kind {
            HEADER => LineKind::Header,
            WRONG => LineKind::Wrong,
            REMARK => LineKind::Remark,
            _ => LineKind::Step,
        };
        Line { kind, text }
    }

    /// `file:line:column` in parts.
    fn spot(place: &str) -> Option<Spot> {
        let mut parts = place.rsplitn(3, ':');
        let (column, line, file) = (parts.next()?, parts.next()?, parts.next()?);
        Some((file.to_owned(), line.parse().ok()?, column.parse().ok()?))
    }
}
