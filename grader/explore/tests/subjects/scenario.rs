//! What the explored programs share: a table of scenarios, of which the command line picks one.

use explore::{Budget, Explorer, Model, Report};

/// A named body.
pub type Scenario = (&'static str, fn(&Model));

/// Runs the scenario that the command line names, or all, and prints one line for each.
pub fn main(scenarios: &[Scenario]) {
    let wanted = std::env::args().nth(1);
    for (name, body) in scenarios {
        if wanted.as_deref().is_none_or(|wanted| wanted == *name) {
            let begin = std::time::Instant::now();
            let report = Explorer::new(budget()).run(body);
            print(name, &report, begin.elapsed());
        }
    }
}

/// The default budget, with what the environment says.
pub fn budget() -> Budget {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let mut budget = Budget::default();
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
    }
    budget
}

fn print(name: &str, report: &Report, elapsed: std::time::Duration) {
    match &report.finding {
        None => print!("{name}: no finding; {} ({} executions)", report.coverage, report.executions),
        Some(finding) => print!(
            "{name}: {:?} preemptions={} oddities={} executions={} schedule={}",
            finding.cause, finding.preemptions, finding.oddities, report.executions, finding.schedule
        ),
    }
    if std::env::var_os("TIME").is_some() {
        print!(" {:.1} ms, {:.0}/s", elapsed.as_secs_f64() * 1e3, report.executions as f64 / elapsed.as_secs_f64());
    }
    println!();
    if let (Some(finding), true) = (&report.finding, std::env::var_os("REPORT").is_some()) {
        println!("{}", finding.render(110));
    }
}
