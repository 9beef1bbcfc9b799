//! Part 3: processes that stop or die in the middle of `open_or_create`.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

use harness::{Check, Outcome, Shared, Stop, ensure};

use crate::once::{Race, answer, everybody_is_content, settled, start};
use crate::traced::Child;
use crate::trusted::posix_works;

/// More borders than any sensible `open_or_create` has.
const BORDERS: usize = 240;

/// What became of one border.
struct Border {
    /// The number of the border, and the system call there.
    number: usize,
    call: String,
    /// What is wrong, if something is.
    wrong: Option<String>,
}

/// Where the tracer is, for the message when somebody waits for ever.
struct Where {
    border: AtomicU32,
    /// 0: nothing is known to be amiss; otherwise who has to come back now.
    phase: AtomicU32,
}

/// Goes over the borders of one call of `open_or_create`, one race a border, in one worker that traces its own children.
/// Returns the number of borders.
fn over_all_borders(
    check: &mut Check,
    expected: &str,
    phases: [&str; 3],
    visit: impl Fn(&Race, Child, &dyn Fn(u32)) -> io::Result<Option<String>>,
) -> Result<usize, Stop> {
    posix_works(check)?;
    let races: Vec<Race> = (0..BORDERS).map(|_| Race::new(check, 600)).collect();
    let place = Shared::new(Where { border: AtomicU32::new(0), phase: AtomicU32::new(0) });
    let answer = check.ask("`open_or_create`, stopped at each system call in turn", || {
        for (number, race) in races.iter().enumerate() {
            place.border.store(number as u32, SeqCst);
            place.phase.store(0, SeqCst);
            let border = match one_border(race, number, &|phase| place.phase.store(phase, SeqCst), &visit) {
                Ok(Some(border)) => border,
                Ok(None) => return Ok((number as u64, String::new(), None)),
                Err(error) => return Err(error.to_string()),
            };
            if border.wrong.is_some() {
                return Ok((border.number as u64, border.call, border.wrong));
            }
        }
        Ok((BORDERS as u64, String::new(), None))
    });
    let answer = answer.map_err(|stop| match (stop, place.phase.load(SeqCst)) {
        (Stop::TimedOut(report), phase @ 1..) => {
            let (border, who) = (place.border.load(SeqCst), phases[phase as usize - 1]);
            Stop::TimedOut(format!(
                "process A had come to its system call number {}: {who}\n{report}",
                border / 2 + 1
            ))
        }
        (stop, _) => stop,
    })?;
    let (number, call, wrong) =
        answer.map_err(|error| Stop::inconclusive(format!("no process can be traced here: {error}")))?;
    match wrong {
        None => Ok(number as usize),
        Some(wrong) => Err(Stop::failed(
            expected,
            format!("{}: {wrong}", place_in_words(number, &call)),
            "`open_or_create`: what others find at this moment",
        )),
    }
}

/// Even borders are those on the way into the kernel.
fn place_in_words(number: u64, call: &str) -> String {
    let side = if number.is_multiple_of(2) { "before" } else { "after" };
    format!(
        "a process stopped just {side} its system call `{call}` (number {} since it began)",
        number / 2 + 1
    )
}

/// `None` when the call is over before that border.
fn one_border(
    race: &Race,
    number: usize,
    phase: &dyn Fn(u32),
    visit: impl Fn(&Race, Child, &dyn Fn(u32)) -> io::Result<Option<String>>,
) -> io::Result<Option<Border>> {
    // A system call in the middle of `initialise`, so that there is a border.
    let mut first = Child::start_stopped(|| {
        race.call(0, || {
            std::thread::yield_now();
            Ok(())
        });
    })?;
    let arrived = first.pass(number + 1)?;
    if !arrived || race.board.answer(0) != answer::NONE {
        return Ok(None);
    }
    let call = first.place().to_owned();
    let wrong = visit(race, first, phase)?;
    race.name.remove();
    Ok(Some(Border { number, call, wrong }))
}

/// Wherever one process is stopped, another one that comes then neither fails nor sees an unfinished segment.
pub fn stopped_anywhere_nobody_is_misled(check: &mut Check) -> Outcome {
    let phases = ["both processes should come back once the stopped one goes on", "", ""];
    let borders = over_all_borders(
        check,
        "wherever a process is stopped in `open_or_create`, another one that comes then gets the initialised segment, at once or when the first goes on",
        phases,
        |race, mut first, phase| {
            let mut second = Child::start(|| race.call(1, || Ok(())))?;
            second.settle();
            phase(1);
            first.release();
            first.join();
            second.join();
            let wrong = [(0, "the stopped process"), (1, "the other process")]
                .into_iter()
                .find_map(|(who, name)| Some(format!("{name} {}", race.wrong(who)?)));
            let runs = race.board.runs.load(SeqCst);
            let twice = (runs != 1).then(|| format!("`initialise` ran {runs} times"));
            let dirty = race.board.dirty.load(SeqCst) > 0;
            Ok(wrong.or(twice).or(dirty.then(|| "`initialise` got other bytes than zeros".into())))
        },
    )?;
    check.note(format!("stopped before and after each system call: {borders} places"));
    Ok(())
}

/// Wherever the first process is killed, one that waits and one that comes later get the segment.
pub fn killed_anywhere_somebody_takes_over(check: &mut Check) -> Outcome {
    let phases = [
        "process A was killed there (it is dead, though nobody has waited for it yet), and process B, which had waited for it, never came back",
        "process A was killed there, process B took over, and process C, which came later, never came back",
        "",
    ];
    let borders = over_all_borders(
        check,
        "wherever the first process is killed in `open_or_create`, one that waits and one that comes later get the initialised segment",
        phases,
        |race, first, phase| {
            let mut second = Child::start(|| race.call(1, || Ok(())))?;
            second.settle();
            phase(1);
            first.kill();
            second.join();
            phase(2);
            let mut third = Child::start(|| race.call(2, || Ok(())))?;
            third.join();
            let wrong = [(1, "the process that waited"), (2, "the process that came later")]
                .into_iter()
                .find_map(|(who, name)| {
                    Some(format!("the first was killed there, and {name} {}", race.wrong(who)?))
                });
            let runs = race.board.runs.load(SeqCst);
            let often = (runs > 2).then(|| format!("`initialise` ran {runs} times, with one death"));
            let dirty = race.board.dirty.load(SeqCst) > 0;
            let dirty = dirty
                .then(|| "the successor's `initialise` got what the dead process had left, not zeros".into());
            Ok(wrong.or(often).or(dirty))
        },
    )?;
    check.note(format!("killed before and after each system call: {borders} places"));
    Ok(())
}

/// Who is killed in a round, and from when on its time runs.
enum Victim {
    /// This process: from the beginning of its call.
    Process(usize),
    /// Whoever initialises first: from the middle of `initialise`, where it stays until it is killed. So that there is always
    /// somebody who dies there, however the processes are scheduled.
    Initialiser,
}

/// One round: a segment, and a death.
struct Death {
    race: Race,
    victim: Victim,
    time: Duration,
}

impl Death {
    /// Who was killed, and when.
    fn in_words(&self) -> String {
        let micros = self.time.as_micros();
        match self.victim {
            Victim::Process(who) => format!("process {who} was killed {micros} µs after its call began"),
            Victim::Initialiser => {
                format!(
                    "the first to initialise was killed {micros} µs after it had written half of the bytes"
                )
            }
        }
    }
}

/// SIGKILL at moments drawn from the seed: the survivors get the segment.
pub fn killed_at_random_moments(check: &mut Check) -> Outcome {
    const ROUNDS: usize = 40;
    const PROCESSES: usize = 3;
    posix_works(check)?;
    let rounds: Vec<Death> = (0..ROUNDS)
        .map(|round| {
            let len = 500 + check.rng().below(5_000) as usize;
            let who = check.rng().below(PROCESSES as u64) as usize;
            let victim = if round % 4 == 3 { Victim::Initialiser } else { Victim::Process(who) };
            let time = Duration::from_micros(check.rng().below(300));
            Death { race: Race::new(check, len), victim, time }
        })
        .collect();
    let round = Shared::new(AtomicU32::new(0));
    let answer = check.ask("`open_or_create` in three processes, one of which is killed", || {
        let mut deaths = 0;
        for (number, death) in rounds.iter().enumerate() {
            round.store(number as u32, SeqCst);
            match one_death(death, PROCESSES) {
                Ok((died, None)) => deaths += u32::from(died),
                Ok((_, Some(wrong))) => return Ok((deaths, format!("in round {number} {wrong}"))),
                Err(error) => return Err(error.to_string()),
            }
            death.race.name.remove();
        }
        Ok((deaths, String::new()))
    });
    let answer = answer.map_err(|stop| match stop {
        Stop::TimedOut(report) => {
            let death = &rounds[round.load(SeqCst) as usize];
            Stop::TimedOut(if death.race.board.gate.load(SeqCst) == 0 {
                format!("none of {PROCESSES} processes has called `initialise`, and not all have come back\n{report}")
            } else {
                format!("{}, and another one of {PROCESSES} never came back\n{report}", death.in_words())
            })
        }
        stop => stop,
    })?;
    let (deaths, wrong) = answer.map_err(Stop::inconclusive)?;
    ensure!(wrong.is_empty(), expected: "of three processes that call `open_or_create` the two that are not killed get the initialised segment", observed: wrong, look: "`open_or_create`: what others find when a process has died");
    check.note(format!(
        "{ROUNDS} rounds of three processes, {deaths} of them with a death before the call was over"
    ));
    Ok(())
}

/// Whether the victim died within the call, and what is wrong with the others.
fn one_death(death: &Death, processes: usize) -> io::Result<(bool, Option<String>)> {
    let Death { race, victim, time } = death;
    // 1 + the process whose time runs.
    let gate = &race.board.gate;
    let mut children = Vec::new();
    for who in 0..processes {
        let number = 1 + who as u32;
        children.push(Child::start(|| {
            if matches!(victim, Victim::Process(victim) if *victim == who) {
                gate.store(number, SeqCst);
            }
            race.call(who, || {
                if matches!(victim, Victim::Initialiser)
                    && gate.compare_exchange(0, number, SeqCst, SeqCst).is_ok()
                {
                    loop {
                        std::thread::park();
                    }
                }
                spin_for(Duration::from_micros(100));
                Ok(())
            });
        })?);
    }
    while gate.load(SeqCst) == 0 && !children.iter_mut().all(Child::ended) {
        std::thread::yield_now();
    }
    let killed = gate.load(SeqCst).checked_sub(1).map(|who| who as usize);
    if let Some(killed) = killed {
        spin_for(*time);
        children[killed].kill();
    }
    let died = killed.is_some_and(|killed| race.board.answer(killed) == answer::NONE);
    let mut survivors = (0..processes).filter(|&who| Some(who) != killed);
    survivors.clone().for_each(|who| children[who].join());
    let (runs, dirty) = (race.board.runs.load(SeqCst), race.board.dirty.load(SeqCst));
    let after = killed.map_or_else(|| "nobody called `initialise`".into(), |_| death.in_words());
    let wrong = survivors.find_map(|who| Some(format!("{after}; process {who} {}", race.wrong(who)?)));
    let often = (runs > 2).then(|| format!("{after}; `initialise` ran {runs} times"));
    let dirty = (dirty > 0).then(|| format!("{after}; `initialise` got other bytes than zeros"));
    Ok((died, wrong.or(often).or(dirty)))
}

fn spin_for(time: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// Death in the middle of `initialise`, which has written half of the bytes: with somebody waiting, and with nobody.
pub fn a_dead_initialiser_is_replaced(check: &mut Check) -> Outcome {
    posix_works(check)?;
    for waiting in [true, false] {
        let len = 2_000 + check.rng().below(20_000) as usize;
        let race = Race::new(check, len);
        let board = &race.board;
        let mut first = check.spawn("the process that dies in `initialise`", || {
            race.call(0, || {
                board.gate.store(1, SeqCst);
                while board.gate.load(SeqCst) < 2 {
                    std::thread::yield_now();
                }
                // SAFETY: ends this process without a chance to clean up.
                unsafe { libc::raise(libc::SIGKILL) };
                Ok(())
            });
        })?;
        check
            .wait_until("`initialise` is called", || board.gate.load(SeqCst) == 1 || board.answer(0) != 0)?;
        let mut others = Vec::new();
        if waiting {
            for who in 1..3 {
                others.push(start(check, &race, who, "a process that waits")?);
            }
            others.iter_mut().for_each(|other| _ = settled(other));
        }
        board.gate.store(2, SeqCst);
        check.wait_until("the initialiser is dead", || first.ended())?;
        if !waiting {
            others.push(start(check, &race, 1, "a process that comes later")?);
        }
        let count = others.len();
        let what = if waiting {
            "the processes that waited have come back; the initialiser was killed half-way"
        } else {
            "the process that came later has come back; the initialiser had been killed half-way"
        };
        for mut other in others {
            check.wait_until(what, || other.ended())?;
            other.join()?;
        }
        everybody_is_content(&race, 1..1 + count, 2)?;
    }
    Ok(())
}
