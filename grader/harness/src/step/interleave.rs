//! Interleavings of two workers, enumerated: one is stopped before each of its visible instructions in
//! turn, the other moves, the first goes on.
//!
//! Whoever is given up because it waits is resumed later; that is only one more interleaving, so
//! nothing here can accuse a correct lock.

use super::{Instruction, Limit, Mark, Reached, Stepper, Watch, mark};
use crate::check::Check;
use crate::shared::Shared;
use crate::stop::{Outcome, Stop};

const READY: u64 = 1;
const INSIDE: u64 = 2;
const DONE: u64 = 3;
const REFUSED: u64 = 4;

/// Steps for each way of stopping one worker once. A lock of usual size takes 1,000 to 5,000 (25 µs each on an idle
/// machine). The verdict depends on this number only, never on the clock.
const ONCE: usize = 16_000;

/// Steps for stopping both.
const TWICE: usize = 6_000;

/// Processor seconds that a worker may take for a call which nothing keeps from returning.
const PATIENCE: f64 = 0.3;

/// How two workers use a lock.
pub struct Section<'s> {
    /// The name of the function that `enter` calls, for messages: "`SpinLock::lock`".
    pub enter_name: &'s str,
    /// The name of the function that `leave` calls.
    pub leave_name: &'s str,
    /// Tries to get in: true when the caller is in.
    pub enter: &'s dyn Fn() -> bool,
    /// Gets out.
    pub leave: &'s dyn Fn(),
    /// Whether `enter` waits, rather than give up, while somebody else is in.
    pub waits: bool,
}

/// Where one worker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before `enter`.
    Ready,
    /// In the middle of `enter`.
    Entering,
    /// Between `enter` and `leave`.
    Inside,
    /// In the middle of `leave`.
    Leaving,
    /// After `leave`.
    Done,
    /// `enter` said no.
    Refused,
}

struct Actor<'c> {
    stepper: Stepper<'c>,
    at: At,
}

impl<'c> Actor<'c> {
    fn start(check: &'c Check, watch: Watch, section: &Section<'_>) -> Result<Actor<'c>, Stop> {
        let what = format!("{} and {}", section.enter_name, section.leave_name);
        let stepper = Stepper::start(check, &what, watch, || {
            loop {
                mark(READY, 0);
                if (section.enter)() {
                    mark(INSIDE, 0);
                    (section.leave)();
                    mark(DONE, 0);
                } else {
                    mark(REFUSED, 0);
                }
            }
        })?;
        Ok(Actor { stepper, at: At::Done })
    }

    fn arrive(&mut self, mark: Mark) {
        self.at = match mark.label {
            READY => At::Ready,
            INSIDE => At::Inside,
            REFUSED => At::Refused,
            _ => At::Done,
        };
    }

    /// Steps towards the next mark, as far as the limit allows.
    fn step(&mut self, limit: Limit) -> Result<Reached, Stop> {
        self.at = match self.at {
            At::Ready => At::Entering,
            At::Inside => At::Leaving,
            at => at,
        };
        let reached = self.stepper.step(limit, |_| {})?;
        if let Reached::Mark(mark) = reached {
            self.arrive(mark);
        }
        Ok(reached)
    }

    /// Goes as far as it can before it waits, but not beyond the entry.
    fn enter(&mut self) -> Result<(), Stop> {
        if matches!(self.at, At::Ready | At::Entering) {
            self.step(Limit::until_it_waits())?;
        }
        Ok(())
    }

    /// Runs at full speed to the next mark. False when it does not get there.
    fn run(&mut self) -> Result<bool, Stop> {
        let Some(mark) = self.stepper.run(PATIENCE)? else { return Ok(false) };
        self.arrive(mark);
        Ok(true)
    }
}

/// The two workers, the lock, and the lock as it was in the beginning.
struct Stage<'c, 's> {
    check: &'c Check,
    section: &'s Section<'s>,
    watch: Watch,
    free: Vec<u8>,
    actors: [Actor<'c>; 2],
    schedules: usize,
}

/// Checks that never two workers are inside, and that somebody always gets in: with one preemption at every
/// visible instruction of `enter` and of `leave`, and with a second one as far as the budget goes.
/// `lock` must be free. Returns the number of interleavings.
///
/// # Errors
/// `Failed` with the interleaving; `Inconclusive` where tracing is not allowed; otherwise as [`Check::ask`].
pub fn mutual_exclusion<T: Sync>(
    check: &Check,
    lock: &Shared<T>,
    section: &Section<'_>,
) -> Result<usize, Stop> {
    let watch = Watch::of(lock);
    let actors = [Actor::start(check, watch, section)?, Actor::start(check, watch, section)?];
    let free = watch.bytes();
    let mut stage = Stage { check, section, watch, free, actors, schedules: 0 };
    stage.alone()?;
    stage.while_held()?;
    let points = stage.each_point(ONCE, |stage, at| stage.while_entering(at, None))?;
    stage.each_point(ONCE, |stage, at| stage.while_leaving(at, false))?;
    if section.waits {
        stage.each_point(ONCE, |stage, at| stage.while_leaving(at, true))?;
        stage.each_point(ONCE, Stage::after_waiting)?;
    }
    let mut pairs: Vec<(usize, usize)> =
        (0..points).flat_map(|first| (0..points).map(move |second| (first, second))).collect();
    pairs.sort_by_key(|(first, second)| first + second);
    stage.each_point(TWICE, |stage, at| match pairs.get(at) {
        Some(&(first, second)) => stage.while_entering(first, Some(second)).map(|_| false),
        None => Ok(true),
    })?;
    Ok(stage.schedules)
}

impl Stage<'_, '_> {
    /// Runs schedule 0, 1, 2, … until one says that there are no more, or the budget is used up. Returns how many.
    fn each_point(
        &mut self,
        budget: usize,
        mut schedule: impl FnMut(&mut Self, usize) -> Result<bool, Stop>,
    ) -> Result<usize, Stop> {
        let taken = |stage: &Self| stage.actors.iter().map(|actor| actor.stepper.taken()).sum::<usize>();
        let end = taken(self) + budget;
        let mut at = 0;
        while taken(self) < end && !schedule(self, at)? {
            at += 1;
        }
        Ok(at)
    }

    /// Both workers stand before `enter`, and the lock is free.
    fn reset(&mut self) -> Outcome {
        self.schedules += 1;
        self.watch.restore(&self.free);
        for actor in &mut self.actors {
            while actor.at != At::Ready {
                if !actor.run()? {
                    return Err(Stop::inconclusive("a worker did not come back to its start"));
                }
            }
        }
        Ok(())
    }

    /// Each in turn, at full speed, with nobody in the way: also where a `todo!()` shows.
    fn alone(&mut self) -> Outcome {
        self.reset()?;
        for index in [0, 1, 0] {
            let (enter, leave) = (self.section.enter_name, self.section.leave_name);
            while self.actors[index].at != At::Ready {
                self.actors[index].run()?;
            }
            if !self.actors[index].run()? || self.actors[index].at != At::Inside {
                return Err(Stop::failed(
                    format!("{enter} takes a free lock"),
                    format!("the lock was free (new, or given back by {leave}), and {enter} did not take it"),
                    format!("{enter} and {leave}"),
                ));
            }
            if !self.actors[index].run()? {
                return Err(self.stuck(leave));
            }
        }
        Ok(())
    }

    /// One is inside; the other tries.
    fn while_held(&mut self) -> Outcome {
        self.reset()?;
        self.actors[0].run()?;
        self.actors[1].enter()?;
        self.exclusive("process A held the lock; process B called it and got in as well", None)?;
        if !self.section.waits && self.actors[1].at != At::Refused {
            let enter = self.section.enter_name;
            return Err(Stop::failed(
                format!("{enter} says no at once while somebody else holds the lock"),
                format!(
                    "process A held the lock, and {enter} in process B had not returned after 400 instructions"
                ),
                enter,
            ));
        }
        if !self.section.waits {
            // A refused attempt must leave no trace: a second one is refused as well.
            self.actors[1].run()?;
            self.actors[1].enter()?;
            let enter = self.section.enter_name;
            let story =
                format!("process A held the lock; {enter} in process B said no, and the next time yes");
            self.exclusive(&story, None)?;
        }
        self.finish(None)
    }

    /// A is stopped in `enter` before visible instruction `first`, B goes as far as it can (or is stopped
    /// before its visible instruction `second`), then A goes on, then B. True when A was through before.
    fn while_entering(&mut self, first: usize, second: Option<usize>) -> Result<bool, Stop> {
        self.reset()?;
        let whole = self.actors[0].step(Limit { spinning: true, ..Limit::visible(first) })?;
        let through = matches!(whole, Reached::Mark(_) | Reached::Spinning);
        let place = if through { None } else { Some(self.actors[0].stepper.standing_at()?) };
        let mut other = None;
        match second {
            None => self.actors[1].enter()?,
            Some(second) => {
                let reached = self.actors[1].step(Limit { spinning: true, ..Limit::visible(second) })?;
                if reached == Reached::Limit {
                    other = Some(self.actors[1].stepper.standing_at()?);
                }
            }
        }
        let place = other.or(place);
        self.actors[0].enter()?;
        self.actors[1].enter()?;
        let enter = self.section.enter_name;
        let story = match second {
            None => format!(
                "process A was stopped in the middle of {enter}; process B called {enter} and got in; \
                 process A went on and got in as well"
            ),
            Some(_) => format!(
                "processes A and B were both stopped in the middle of {enter}, A went on and got in, \
                 then B went on and got in as well"
            ),
        };
        self.exclusive(&story, place.as_ref())?;
        self.finish(place.as_ref())?;
        Ok(through)
    }

    /// A holds the lock and is stopped in `leave` before visible instruction `at`; B tries (or has been
    /// waiting all along); A finishes and comes again. True when A was through before.
    fn while_leaving(&mut self, at: usize, waiting: bool) -> Result<bool, Stop> {
        self.reset()?;
        self.actors[0].run()?;
        if waiting {
            self.actors[1].enter()?;
        }
        let whole = self.actors[0].step(Limit { spinning: true, ..Limit::visible(at) })?;
        let through = matches!(whole, Reached::Mark(_) | Reached::Spinning);
        let place = if through { None } else { Some(self.actors[0].stepper.standing_at()?) };
        self.actors[1].enter()?;
        let (enter, leave) = (self.section.enter_name, self.section.leave_name);
        while self.actors[0].at != At::Ready {
            if !self.actors[0].run()? {
                return Err(self.stuck(leave));
            }
        }
        self.actors[0].enter()?;
        self.actors[1].enter()?;
        let story = format!(
            "process A was stopped in the middle of {leave}; process B called {enter} and got in; process A \
             finished {leave}, called {enter} again and got in as well"
        );
        self.exclusive(&story, place.as_ref())?;
        self.finish(place.as_ref())?;
        Ok(through)
    }

    /// A holds the lock, B waits; A gives it back; B is stopped before visible instruction `at` of what it
    /// does then; A comes again; B goes on. True when B was through before.
    fn after_waiting(&mut self, at: usize) -> Result<bool, Stop> {
        self.reset()?;
        let (enter, leave) = (self.section.enter_name, self.section.leave_name);
        self.actors[0].run()?;
        self.actors[1].enter()?;
        while self.actors[0].at != At::Ready {
            if !self.actors[0].run()? {
                return Err(self.stuck(leave));
            }
        }
        let whole = self.actors[1].step(Limit { spinning: true, ..Limit::visible(at) })?;
        let through = whole != Reached::Limit;
        let place = if through { None } else { Some(self.actors[1].stepper.standing_at()?) };
        self.actors[0].enter()?;
        self.actors[1].enter()?;
        let story = format!(
            "process B had waited in {enter} and was stopped just when the lock had been given back; process A \
             called {enter} and got in; process B went on and got in as well"
        );
        self.exclusive(&story, place.as_ref())?;
        self.finish(place.as_ref())?;
        Ok(through)
    }

    /// Never two inside.
    fn exclusive(&self, story: &str, place: Option<&Instruction>) -> Outcome {
        if self.actors.iter().all(|actor| actor.at == At::Inside) {
            self.point_out(place);
            return Err(Stop::failed(
                "at most one process holds the lock at any time, wherever a process is interrupted",
                format!("2 processes held the lock at the same time: {story}"),
                self.section.enter_name,
            ));
        }
        Ok(())
    }

    /// Lets everybody get in and out, one after the other.
    fn finish(&mut self, place: Option<&Instruction>) -> Outcome {
        let (enter, leave) = (self.section.enter_name, self.section.leave_name);
        let refused = self.actors.iter().all(|actor| actor.at == At::Refused);
        if refused {
            self.point_out(place);
            return Err(Stop::failed(
                format!("when two processes call {enter} on a free lock, one of them gets it"),
                "both were refused",
                enter,
            ));
        }
        for _ in 0..2 {
            self.let_out()?;
            let Some(next) = self.actors.iter().position(|actor| actor.at == At::Entering) else { continue };
            // At full speed, but the other one may have to move first.
            let mut entered = self.actors[next].step(Limit::steps(2000))? != Reached::Limit;
            let other = 1 - next;
            if !entered && self.actors[other].at == At::Entering {
                entered = self.actors[other].step(Limit::steps(2000))? != Reached::Limit;
            }
            if !entered && !self.actors[next].run()? {
                self.point_out(place);
                return Err(Stop::failed(
                    format!("{enter} returns once the lock is free"),
                    format!(
                        "nobody held the lock any more, and {enter} went on waiting: the lock's bytes are {:02x?}",
                        self.watch.bytes()
                    ),
                    format!("{leave}, and how {enter} recognises a free lock"),
                ));
            }
            self.exclusive("the second got in while the first was still there", place)?;
        }
        self.let_out()?;
        Ok(())
    }

    /// Whoever is inside leaves.
    fn let_out(&mut self) -> Outcome {
        match self.actors.iter().position(|actor| actor.at == At::Inside) {
            Some(holder) if !self.actors[holder].run()? => Err(self.stuck(self.section.leave_name)),
            _ => Ok(()),
        }
    }

    fn stuck(&self, name: &str) -> Stop {
        Stop::failed(
            format!("{name} returns"),
            format!("{name} was still running after {PATIENCE} s, with nobody in its way"),
            name,
        )
    }

    /// Tells the grader where the preemption was; it knows the source lines.
    fn point_out(&self, place: Option<&Instruction>) {
        if let Some(place) = place {
            place.report(self.check, "preempted-here");
        }
    }
}

/// Two calls, one of which ran while the other was stopped in the middle.
#[derive(Debug, Clone)]
pub struct Race {
    /// What the calls returned: of worker 0, which was interrupted, and of worker 1.
    pub results: [u64; 2],
    /// Where worker 0 was interrupted; `None` when it was through already.
    pub place: Option<Instruction>,
}

/// Runs `call(0)` in one worker, stopped before each of its visible instructions in turn, and `call(1)`
/// in another from beginning to end in the meantime; shows every outcome to `judge`, with `memory` as
/// the two calls left it. `memory` is the same before each pair. Returns the number of interleavings.
///
/// # Errors
/// What `judge` returns; `Inconclusive` where tracing is not allowed; otherwise as [`Check::ask`].
pub fn races<T: Sync>(
    check: &Check,
    memory: &Shared<T>,
    what: &str,
    call: &dyn Fn(usize) -> u64,
    mut judge: impl FnMut(&Race) -> Outcome,
) -> Result<usize, Stop> {
    let watch = Watch::of(memory);
    let start = |index: usize| {
        Stepper::start(check, what, watch, move || {
            loop {
                mark(READY, 0);
                let result = call(index);
                mark(DONE, result);
            }
        })
    };
    let mut workers = [start(0)?, start(1)?];
    let before = watch.bytes();
    let finish = |worker: &mut Stepper<'_>| -> Result<Mark, Stop> {
        worker.run(PATIENCE)?.ok_or_else(|| {
            let look = what.to_string();
            Stop::failed(format!("{what} returns"), format!("still running after {PATIENCE} s"), look)
        })
    };
    // Once each at full speed: also where a `todo!()` shows.
    for worker in &mut workers {
        finish(worker)?;
        finish(worker)?;
    }
    for point in 0..200 {
        watch.restore(&before);
        for worker in &mut workers {
            finish(worker)?;
        }
        let [first, second] = &mut workers;
        let stopped = first.step(Limit::visible(point), |_| {})?;
        let place = if stopped == Reached::Limit { Some(first.standing_at()?) } else { None };
        let interrupting = finish(second)?.value;
        let interrupted = match stopped {
            Reached::Mark(mark) => mark.value,
            _ => finish(first)?.value,
        };
        let race = Race { results: [interrupted, interrupting], place };
        if let Err(stop) = judge(&race) {
            if let Some(place) = &race.place {
                place.report(check, "preempted-here");
            }
            return Err(stop);
        }
        if race.place.is_none() {
            return Ok(point + 1);
        }
    }
    Ok(200)
}
