//! What the grader's sandbox costs in each tier that this machine offers: for a check that does nothing, beside an open one; at
//! a deadline; and until a check of many processes is gone, when the grader is killed and when it is interrupted.

mod course;

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use course::{Course, DEADLINE, Kind, PROCESSES};

use crate::table::{Row, Spread, TAIL, Table};

/// The tiers, and the open one that the others are compared with, which comes first.
const TIERS: [&str; 5] = ["open", "3", "2", "1", "0"];
/// No crowd takes so long to gather or to go, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(120);

/// The figures of one tier, in milliseconds.
#[derive(Default)]
struct Figures {
    tier: &'static str,
    /// Checks that do nothing, from start to end.
    whole: Vec<f64>,
    /// The same without what the open check beside each took.
    more: Vec<f64>,
    /// From a deadline to the end.
    late: Vec<f64>,
    /// From a signal to the grader until all processes of its check have ended.
    killed: Vec<f64>,
    interrupted: Vec<f64>,
}

/// A table for each question, with the tiers in turn in each of the `rounds`.
pub fn tables(rounds: usize) -> Result<Vec<Table>, String> {
    let course = Course::new()?;
    let mut all = Vec::new();
    for tier in TIERS {
        // Also builds the checks.
        if course.seconds(Kind::Empty, tier)?.is_some() {
            all.push(Figures { tier, ..Figures::default() });
        }
    }
    for _ in 0..rounds {
        one_round(&course, &mut all)?;
    }
    let table = |title: &str, rows: Vec<Row>| Table {
        title: title.to_owned(),
        unit: "milliseconds, less is better",
        columns: TAIL,
        rows,
    };
    let each = |of: fn(&Figures) -> &Vec<f64>| all.iter().filter_map(|tier| tier.row("", of(tier))).collect();
    let mut empty: Vec<Row> = each(|tier| &tier.whole);
    empty.extend(all.iter().filter_map(|tier| tier.row(": more than open", &tier.more)));
    Ok(vec![
        table("a check that does nothing", empty),
        table("from a deadline of 0.2 s to the end", each(|tier| &tier.late)),
        table(&format!("{PROCESSES} processes gone, the grader killed"), each(|tier| &tier.killed)),
        table(&format!("{PROCESSES} processes gone, the grader interrupted"), each(|tier| &tier.interrupted)),
    ])
}

fn one_round(course: &Course, all: &mut [Figures]) -> Result<(), String> {
    let mut beside = Vec::new();
    for figures in all {
        let Some(run) = course.seconds(Kind::Empty, figures.tier)? else { continue };
        let whole: Vec<f64> = run.seconds.iter().map(|seconds| seconds * 1e3).collect();
        match figures.tier {
            "open" => beside.clone_from(&whole),
            _ => figures.more.extend(whole.iter().zip(&beside).map(|(shut_in, open)| shut_in - open)),
        }
        figures.whole.extend(whole);
        if let Some(run) = course.seconds(Kind::Overruns, figures.tier)? {
            let deadline = DEADLINE * run.slowness;
            figures.late.extend(run.seconds.iter().map(|seconds| (seconds - deadline) * 1e3));
        }
        figures.killed.push(until_gone(course, figures.tier, libc::SIGKILL)?);
        figures.interrupted.push(until_gone(course, figures.tier, libc::SIGINT)?);
    }
    Ok(())
}

/// Milliseconds from the signal to the end of the last process.
fn until_gone(course: &Course, tier: &str, signal: i32) -> Result<f64, String> {
    let mut grader = course.start(Kind::Crowd, tier)?;
    let start = Instant::now();
    let crowd = loop {
        let crowd = course::processes_of(grader.id());
        if crowd.len() > PROCESSES {
            break crowd;
        }
        if start.elapsed() > PATIENCE || !matches!(grader.try_wait(), Ok(None)) {
            return Err(format!("only {} processes came together in tier {tier}", crowd.len()));
        }
        std::thread::park_timeout(Duration::from_millis(5));
    };
    let processes: Vec<OwnedFd> = crowd.into_iter().filter_map(pidfd).collect();
    let start = Instant::now();
    // SAFETY: our own child, not waited for yet.
    unsafe { libc::kill(grader.id().cast_signed(), signal) };
    for process in &processes {
        let mut ended = libc::pollfd { fd: process.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid entry.
        if unsafe { libc::poll(&raw mut ended, 1, PATIENCE.as_millis() as i32) } != 1 {
            return Err(format!("a process is left in tier {tier}"));
        }
    }
    let elapsed = start.elapsed();
    grader.wait().map_err(|error| format!("the grader: {error}"))?;
    Ok(elapsed.as_secs_f64() * 1e3)
}

/// Can be polled for the end of the process; none if it has ended already.
fn pidfd(pid: i32) -> Option<OwnedFd> {
    // SAFETY: takes a number and flags.
    let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    // SAFETY: a descriptor just made for us.
    (descriptor >= 0).then(|| unsafe { OwnedFd::from_raw_fd(descriptor as i32) })
}

impl Figures {
    fn row(&self, what: &str, figures: &[f64]) -> Option<Row> {
        let name = match self.tier {
            "open" => format!("open{what}"),
            number => format!("tier {number}{what}"),
        };
        (!figures.is_empty()).then(|| Row { name, figures: Spread::of(figures), peer: None })
    }
}
