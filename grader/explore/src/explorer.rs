//! The whole of an exploration: bound after bound, then at random, then the failing execution again for the report.

use std::collections::BTreeSet;
use std::panic::PanicHookInfo;
use std::sync::Once;

use crate::api::Model;
use crate::arena;
use crate::asm;
use crate::coverage::{Coverage, Older};
use crate::crash;
use crate::engine::{self, Ended, Engine, Rules};
use crate::finding::{Cause, Finding};
use crate::schedule::Schedule;
use crate::search::{Bounded, Policy, Random, Replay, Search};
use crate::trace::{Recorder, Trace};

/// How much is explored. All limits are counts of executions and steps, so the result never depends on the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// At most this many deviations from the default in one execution: preemptions, old values read, and so on.
    pub bound: u8,
    /// The bound to begin with: 0, unless the simplest failing execution is not what is wanted.
    pub first_bound: u8,
    /// Executions within the bounds.
    pub executions: u64,
    /// Visible operations in all of these, and half as many again at random. A lock that looks a hundred times before it
    /// sleeps makes long executions: it is explored less far, not for longer.
    pub steps: u64,
    /// Executions by partial order sampling, when the bounds could not be exhausted.
    pub sampled: u64,
    /// Executions by probabilistic concurrency testing, when the bounds could not be exhausted.
    pub prioritised: u64,
    /// Futex waits may end for no reason, or by a signal, once in an execution.
    pub spurious: bool,
    /// Reads may take old values where C11 allows it.
    pub weak: bool,
    /// Leave out executions that are equivalent to others.
    pub reduce: bool,
    /// Visible operations after which all threads take turns; three times as many, and the execution counts as endless.
    pub patience: u32,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget {
            bound: 3,
            first_bound: 0,
            executions: 200_000,
            steps: 2_500_000,
            sampled: 2_000,
            prioritised: 500,
            spurious: true,
            weak: true,
            reduce: true,
            patience: 5_000,
        }
    }
}

/// The result of an exploration.
#[derive(Debug, Clone)]
pub struct Report {
    /// What was covered before it ended.
    pub coverage: Coverage,
    /// Executions in all, those included that turned out to be equivalent to others.
    pub executions: u64,
    /// What the executions came to, by [`outcome`](crate::outcome).
    pub outcomes: BTreeSet<Vec<u64>>,
    /// The first failing execution; it has as few deviations as any.
    pub finding: Option<Finding>,
}

/// Explores a body: a closure that makes its objects and starts model threads.
#[derive(Debug, Clone, Copy, Default)]
pub struct Explorer {
    budget: Budget,
}

impl Explorer {
    /// An explorer with a budget.
    pub fn new(budget: Budget) -> Explorer {
        Explorer { budget }
    }

    /// Runs `body` in every interleaving that the budget allows, until one fails.
    pub fn run(&self, body: impl Fn(&Model)) -> Report {
        self.run_erased(&|| body(&Model::new()))
    }

    /// Runs the one execution that `schedule` describes; `None` when nothing is wrong with it.
    pub fn replay(&self, schedule: &Schedule, body: impl Fn(&Model)) -> Option<Finding> {
        self.replay_erased(schedule, &|| body(&Model::new()))
    }

    #[inline(never)]
    fn run_erased(&self, body: &dyn Fn()) -> Report {
        prepare();
        let mut exploration = Exploration::new(self.budget, body);
        match asm::engage() {
            Ok(_engaged) => exploration.run(),
            Err(why) => {
                let cause = Cause::Unseen { why };
                let finding = Some(exploration.finding(cause, Schedule::default()));
                exploration.report(finding)
            }
        }
    }

    #[inline(never)]
    fn replay_erased(&self, schedule: &Schedule, body: &dyn Fn()) -> Option<Finding> {
        prepare();
        let mut exploration = Exploration::new(self.budget, body);
        match asm::engage() {
            Ok(_engaged) => exploration.replay(schedule),
            Err(why) => {
                let cause = Cause::Unseen { why };
                Some(exploration.finding(cause, schedule.clone()))
            }
        }
    }
}

/// Executions spent on finding a plainer failure.
const MOST_PLAINER: u32 = 5_000;

/// One exploration under way.
struct Exploration<'a> {
    budget: Budget,
    body: &'a dyn Fn(),
    engine: Box<Engine>,
    coverage: Coverage,
    executions: u64,
    steps: u64,
    outcomes: BTreeSet<Vec<u64>>,
    /// Of the longest execution that came to its end.
    longest: u32,
}

/// How a stage of the exploration ended.
enum Stage {
    /// All of it was done.
    Exhausted,
    /// The budget was.
    OutOfBudget,
    /// Something is wrong.
    Found(Cause),
}

impl<'a> Exploration<'a> {
    fn new(budget: Budget, body: &'a dyn Fn()) -> Exploration<'a> {
        let rules = Rules { spurious: budget.spurious, weak: budget.weak, patience: budget.patience };
        let search = Search::Bounded(Bounded::new(0, budget.reduce));
        let engine = Box::new(Engine::new(search, rules));
        Exploration {
            budget,
            body,
            engine,
            coverage: Coverage::default(),
            executions: 0,
            steps: 0,
            outcomes: BTreeSet::new(),
            longest: 0,
        }
    }

    fn run(mut self) -> Report {
        let found = self.bounds().or_else(|| self.random());
        let finding = found.map(|cause| {
            let found = (cause, self.engine.schedule());
            let (cause, schedule) = if again(&found.0) { self.plainer().unwrap_or(found) } else { found };
            self.confirm(cause, schedule)
        });
        self.report(finding)
    }

    fn report(mut self, finding: Option<Finding>) -> Report {
        self.coverage.older = match self.budget.weak {
            true if self.engine.left_out => Older::Some,
            true => Older::Allowed,
            false => Older::None,
        };
        Report { coverage: self.coverage, executions: self.executions, outcomes: self.outcomes, finding }
    }

    fn bounds(&mut self) -> Option<Cause> {
        for bound in self.budget.first_bound.min(self.budget.bound)..=self.budget.bound {
            self.engine.search = Search::Bounded(Bounded::new(bound, self.budget.reduce));
            let (stage, visited, at_bound) = self.bound(bound);
            match stage {
                Stage::Exhausted => {
                    self.coverage.bound = Some(bound);
                    self.coverage.within = visited;
                    if at_bound == 0 && bound > 0 {
                        self.coverage.complete = true;
                        return None;
                    }
                }
                Stage::OutOfBudget => {
                    self.coverage.beyond = visited;
                    return None;
                }
                Stage::Found(cause) => {
                    self.coverage.beyond = visited;
                    return Some(cause);
                }
            }
        }
        None
    }

    /// All executions within one bound: how it ended, how many there were, and how many of them used the bound up.
    fn bound(&mut self, bound: u8) -> (Stage, u64, u64) {
        let mut visited = 0;
        let mut at_bound = 0;
        loop {
            if self.executions >= self.budget.executions || self.steps >= self.budget.steps {
                return (Stage::OutOfBudget, visited, at_bound);
            }
            self.executions += 1;
            let ended = self.engine.execute(self.body);
            self.steps += u64::from(self.engine.steps);
            let Search::Bounded(search) = &mut self.engine.search else {
                unreachable!("the bounded search is set")
            };
            match ended {
                Ended::Finished => {
                    visited += 1;
                    self.longest = self.longest.max(self.engine.steps);
                    if !self.engine.outcome.is_empty() && !self.outcomes.contains(&self.engine.outcome) {
                        self.outcomes.insert(self.engine.outcome.clone());
                    }
                }
                Ended::Redundant => {}
                Ended::Stopped(cause) => return (Stage::Found(cause), visited + 1, at_bound),
            }
            at_bound += u64::from(search.spent() == bound);
            if !search.advance() {
                return (Stage::Exhausted, visited, at_bound);
            }
        }
    }

    fn random(&mut self) -> Option<Cause> {
        if self.coverage.complete || self.coverage.bound == Some(self.budget.bound) {
            return None;
        }
        let stages =
            [(Policy::PartialOrder, self.budget.sampled), (Policy::Priorities, self.budget.prioritised)];
        let most = self.budget.steps.saturating_add(self.budget.steps / 2);
        for (policy, count) in stages {
            for seed in 0..count {
                if self.steps >= most {
                    return None;
                }
                self.engine.search = Search::Random(Random::new(policy, seed, self.longest.max(10)));
                self.executions += 1;
                self.coverage.random += 1;
                let ended = self.engine.execute(self.body);
                self.steps += u64::from(self.engine.steps);
                if let Ended::Stopped(cause) = ended {
                    return Some(cause);
                }
            }
        }
        None
    }

    /// An execution with as few deviations, all of which are preemptions, is easier to understand than one with old values
    /// or waits that end without a cause: if one fails, it is reported instead.
    fn plainer(&mut self) -> Option<(Cause, Schedule)> {
        let deviations = self.engine.preemptions + self.engine.oddities;
        let bound = u8::try_from(deviations).ok().filter(|bound| *bound <= self.budget.bound)?;
        if self.engine.oddities == 0 {
            return None;
        }
        self.engine.search = Search::Bounded(Bounded::plain(bound, self.budget.reduce));
        for _ in 0..MOST_PLAINER {
            if let Ended::Stopped(cause) = self.engine.execute(self.body) {
                let schedule = self.engine.schedule();
                return (cause != Cause::Diverged).then_some((cause, schedule));
            }
            let Search::Bounded(search) = &mut self.engine.search else { return None };
            if !search.advance() {
                return None;
            }
        }
        None
    }

    /// Replays the failing execution twice, the second time for the record. A replay that goes another way is no failure of
    /// the explored code that anybody could rely on, and is said.
    fn confirm(&mut self, cause: Cause, schedule: Schedule) -> Finding {
        if !again(&cause) {
            return self.finding(cause, schedule);
        }
        let first = self.execute_schedule(&schedule);
        let second = self.replay(&schedule);
        match second {
            Some(finding) if finding.cause == cause && first.as_ref() == Some(&cause) => finding,
            _ => self.finding(Cause::Diverged, schedule),
        }
    }

    fn execute_schedule(&mut self, schedule: &Schedule) -> Option<Cause> {
        self.engine.search = Search::Replay(Replay::new(schedule.0.clone()));
        match self.engine.execute(self.body) {
            Ended::Stopped(cause) => Some(cause),
            Ended::Finished | Ended::Redundant => None,
        }
    }

    fn replay(&mut self, schedule: &Schedule) -> Option<Finding> {
        self.engine.recorder = Some(Recorder::default());
        let cause = self.execute_schedule(schedule)?;
        Some(self.finding(cause, schedule.clone()))
    }

    fn finding(&mut self, cause: Cause, schedule: Schedule) -> Finding {
        let events = self.engine.recorder.take().map(|recorder| recorder.events).unwrap_or_default();
        let threads =
            self.engine.threads[..self.engine.count].iter().map(|thread| thread.name.clone()).collect();
        Finding {
            cause,
            schedule,
            preemptions: self.engine.preemptions,
            oddities: self.engine.oddities,
            trace: Trace { threads, events },
        }
    }
}

/// Whether the execution can be run again: what a call that was not made had begun in std, `exit` for one, is not undone.
fn again(cause: &Cause) -> bool {
    !matches!(cause, Cause::Diverged | Cause::Unseen { .. } | Cause::Refused { .. } | Cause::Leaves { .. })
}

/// What must be there before the first execution.
fn prepare() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !note_panic(info) {
                previous(info);
            }
        }));
    });
    arena::prepare();
    crash::prepare();
    // What std makes on first use must not be made inside an execution, whose heap does not last.
    let _ = std::io::stdout();
    let _ = std::io::stderr();
    let _ = std::thread::current();
}

/// What std says before it aborts because a panic cannot unwind.
const ENDS: [&str; 2] = ["panic in a destructor during cleanup", "panic in a function that cannot unwind"];

/// A panic in explored code is not printed but kept; true when it was one.
fn note_panic(info: &PanicHookInfo<'_>) -> bool {
    let engine = engine::enter();
    if engine.is_null() {
        return false;
    }
    let message = match (info.payload().downcast_ref::<&str>(), info.payload().downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (None, Some(text)) => text.clone(),
        (None, None) => "a panic with a payload that is not text".to_owned(),
    };
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    // SAFETY: the engine is not borrowed while explored code runs.
    unsafe {
        // A destructor panicked while a panic unwound: std would abort the process now. What counts is the first panic.
        if std::thread::panicking() && ENDS.contains(&message.as_str()) {
            let thread = (*engine).running;
            let (message, place) = (&(*engine).threads)[thread].panic.clone().unwrap_or((message, place));
            let message = format!("{message} (and a destructor panicked while that unwound)");
            Engine::stop(engine, Cause::Panic { thread, message, place });
        }
        (*engine).caught_panic(message, place);
    }
    engine::leave(engine);
    true
}
