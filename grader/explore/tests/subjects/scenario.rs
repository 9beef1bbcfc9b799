//! What the explored programs share: a table of scenarios, of which the command line picks one.

use std::io::Write;

use explore::{Budget, Cause, Explorer, Model, Report};

/// A named body.
pub type Scenario = (&'static str, fn(&Model));

/// Runs the scenario that the command line names, or all for `all` or none, and prints one line for each. A second argument
/// is a number of executions, to be used up as far as there are so many.
pub fn main(scenarios: &[Scenario]) {
    let wanted = std::env::args().nth(1).filter(|name| name != "all");
    for (name, body) in scenarios {
        if wanted.as_deref().is_none_or(|wanted| wanted == *name) {
            let begin = std::time::Instant::now();
            let report = Explorer::new(budget()).run(body);
            print(name, &report, begin.elapsed());
        }
    }
    end();
}

/// Ends the process without std, which takes an `exit` of explored code for one that is under way.
pub fn end() -> ! {
    let _ = std::io::stdout().flush();
    unsafe { libc::_exit(0) }
}

/// The default budget, with what the environment says.
pub fn budget() -> Budget {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let mut budget = Budget::default();
    if let Some(executions) = std::env::args().nth(2).and_then(|text| text.parse().ok()) {
        budget.executions = executions;
        budget.steps = u64::MAX;
        budget.bound = 12;
    }
    if let Some(bound) = number("BOUND") {
        budget.bound = bound as u8;
    }
    if let Some(reduce) = number("REDUCE") {
        budget.reduce = reduce != 0;
    }
    if let Some(weak) = number("WEAK") {
        budget.weak = weak != 0;
    }
    if let Some(executions) = number("EXECUTIONS") {
        budget.executions = executions;
        budget.steps = u64::MAX;
    }
    budget
}

/// One word for what was found.
pub fn kind(cause: &Cause) -> &'static str {
    match cause {
        Cause::Panic { .. } => "panic",
        Cause::Race { .. } => "race",
        Cause::UseAfterFree { .. } => "use-after-free",
        Cause::Deadlock { .. } => "deadlock",
        Cause::LostWakeUp { .. } => "lost-wake-up",
        Cause::Livelock { .. } => "livelock",
        Cause::Endless { .. } => "endless",
        Cause::Refused { .. } => "refused",
        Cause::Leaves { .. } => "leaves",
        Cause::Crash { .. } => "crash",
        Cause::StackOverflow { .. } => "stack-overflow",
        Cause::Unseen { .. } => "unseen",
        Cause::Diverged => "diverged",
    }
}

fn print(name: &str, report: &Report, elapsed: std::time::Duration) {
    let micros = elapsed.as_micros();
    let kilobytes = peak();
    match &report.finding {
        None => println!(
            "{name}: no finding; {} ({} executions) micros={micros} kilobytes={kilobytes}",
            report.coverage, report.executions
        ),
        Some(finding) => println!(
            "{name}: {} preemptions={} oddities={} executions={} schedule={} micros={micros} kilobytes={kilobytes} {:?}",
            kind(&finding.cause),
            finding.preemptions,
            finding.oddities,
            report.executions,
            finding.schedule,
            finding.cause
        ),
    }
    if let (Some(finding), true) = (&report.finding, std::env::var_os("REPORT").is_some()) {
        println!("{}", finding.render(110));
    }
}

/// The most memory that this process has had so far, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
