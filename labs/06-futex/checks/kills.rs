//! Part 6: owners die while others come and go.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use futex::RobustMutex;
use harness::{Check, Outcome, Shared, Stop, Student, ensure};

use crate::robust::{NOTICED, died, free_mutex};
use crate::sleepers::{asleep_for_ever, falls_asleep, until};

/// What the processes count under the mutex, and what they find there.
#[derive(Default)]
struct Count {
    /// Equal, unless somebody is in the middle of a change or has died there.
    numbers: [AtomicU64; 2],
    /// Who changes them, or has died in the middle of it.
    changing: AtomicU32,
    turns: AtomicU32,
    /// How often somebody was told of a death.
    deaths: AtomicU32,
    wrong: AtomicU32,
    /// How many are still to stop in the middle of a change, until they are killed.
    to_stop: AtomicU32,
    /// Who has stopped there.
    stopped: AtomicU32,
    /// Somebody has got the mutex beside the one that has stopped.
    beside: AtomicU32,
}

/// A process found another one's mark.
const NOT_ALONE: u32 = 1;
/// A process found different numbers.
const HALF_CHANGED: u32 = 2;

impl Count {
    /// A process: counts for ever.
    fn run(&self, mutex: &RobustMutex) {
        let me = std::process::id();
        loop {
            let owner_died = died(mutex.lock());
            self.beside.fetch_or(self.stopped.load(SeqCst), SeqCst);
            let before = self.changing.swap(me, SeqCst);
            let [first, second] = [0, 1].map(|index: usize| self.numbers[index].load(SeqCst));
            if owner_died {
                self.deaths.fetch_add(1, SeqCst);
            } else if before != 0 {
                self.wrong.store(NOT_ALONE, SeqCst);
            } else if first != second {
                self.wrong.store(HALF_CHANGED, SeqCst);
            }
            let next = first.max(second) + 1;
            for number in &self.numbers {
                number.store(next, SeqCst);
                if self.to_stop.fetch_update(SeqCst, SeqCst, |more| more.checked_sub(1)).is_ok() {
                    self.stopped.store(me, SeqCst);
                    until(&AtomicU32::new(0));
                }
                // Long enough that many die in here.
                (0..300).for_each(|_| std::hint::spin_loop());
            }
            self.turns.fetch_add(1, SeqCst);
            self.changing.store(0, SeqCst);
            mutex.unlock();
        }
    }

    fn is_wrong(&self) -> bool {
        self.wrong.load(SeqCst) != 0
    }
}

/// Three processes count. One is killed in the middle of a change while the others sleep, and so is its heir; and then one after the
/// other, whatever it is doing.
pub fn random_kills_are_survived(check: &mut Check) -> Outcome {
    const KILLS: usize = 20;
    const IN_A_CHANGE: [&str; 2] = [
        "after one was killed in the middle of a change",
        "after one was killed in the middle of a change, and the next one to get the mutex as well",
    ];
    let mutex = free_mutex();
    let count = Shared::new(Count::default());
    let start = || check.spawn("`RobustMutex::lock` and `unlock`", || count.run(&mutex));
    count.to_stop.store(IN_A_CHANGE.len() as u32, SeqCst);
    let mut students = vec![start()?, start()?, start()?];
    let mut when = "before any kill";
    for next in IN_A_CHANGE {
        go_on(check, &students, &mutex, &count, when, || count.stopped.load(SeqCst) != 0)?;
        let Some(stopped) =
            students.iter().position(|one| one.pid().cast_unsigned() == count.stopped.load(SeqCst))
        else {
            break;
        };
        let stopped = students.swap_remove(stopped);
        for other in &students {
            falls_asleep(check, other, &mutex, &count.beside, "`RobustMutex::lock`")?;
        }
        count.stopped.store(0, SeqCst);
        stopped.kill();
        when = next;
    }
    take_turns(check, &students, &mutex, &count, 2, when)?;
    while students.len() < 3 {
        students.push(start()?);
    }
    let mut rng = harness::Rng::new(check.seed());
    for kill in 1..=KILLS {
        if count.is_wrong() {
            break;
        }
        let pause = Instant::now() + Duration::from_micros(rng.below(600));
        while Instant::now() < pause {
            std::hint::spin_loop();
        }
        students.swap_remove(rng.below(3) as usize).kill();
        take_turns(check, &students, &mutex, &count, 2, &format!("after random kill {kill}"))?;
        students.push(start()?);
    }
    students.into_iter().for_each(Student::kill);
    let what = match count.wrong.load(SeqCst) {
        0 => None,
        NOT_ALONE => Some(
            "a process got the mutex as `Clean` while another one was in the critical section, or had died there",
        ),
        _ => Some("a process got the mutex as `Clean` and found the two numbers different"),
    };
    if let Some(what) = what {
        return Err(Stop::failed(
            "two numbers that are changed under the mutex are equal for whoever gets it as `Clean`",
            what,
            "`RobustMutex::lock` and `unlock`",
        ));
    }
    let (turns, deaths) = (count.turns.load(SeqCst), count.deaths.load(SeqCst));
    let killed = KILLS + IN_A_CHANGE.len();
    check.note(format!("{killed} processes killed in {turns} turns; {deaths} times the next one was told"));
    Ok(())
}

/// Waits until there have been `more` turns.
fn take_turns(
    check: &Check,
    students: &[Student<()>],
    mutex: &Shared<RobustMutex>,
    count: &Count,
    more: u32,
    when: &str,
) -> Outcome {
    let goal = count.turns.load(SeqCst).saturating_add(more);
    go_on(check, students, mutex, count, when, || count.turns.load(SeqCst) >= goal)
}

/// Waits for a fact that comes when those who are left go on, or until something is found to be wrong.
fn go_on(
    check: &Check,
    students: &[Student<()>],
    mutex: &Shared<RobustMutex>,
    count: &Count,
    when: &str,
    fact: impl Fn() -> bool,
) -> Outcome {
    let done = || fact() || count.is_wrong();
    let start = Instant::now();
    let pids: Vec<i32> = students.iter().map(Student::pid).collect();
    let (mut asleep, mut stuck) = (None, false);
    check.wait_within("the processes that are left go on", NOTICED, &pids, || {
        // Two looks, and nobody has been awake in between.
        let now: Option<Vec<u64>> =
            students.iter().map(|student| asleep_for_ever(student.pid(), mutex)).collect();
        stuck = now.is_some() && now == asleep;
        asleep = now;
        done() || stuck
    })?;
    let observed = if stuck {
        format!(
            "{when}, all that were left slept on the mutex without a time limit, and nobody was there to wake them"
        )
    } else {
        format!("{when}, nobody got the mutex for {} ms", start.elapsed().as_millis())
    };
    ensure!(
        done(),
        expected: "after the death of one process the others go on",
        observed: observed,
        look: "`RobustMutex`: where was it killed, and who slept at that time? The kernel finds the word by `futex_offset`, and wakes a sleeper only if `FUTEX_WAITERS` is in it",
    );
    Ok(())
}
