//! How fast the references are, beside what everybody uses; and how fast the grader is.
//!
//! ```text
//! cargo run --release --manifest-path solutions/bench/Cargo.toml                     every table
//! cargo run --release --manifest-path solutions/bench/Cargo.toml -- locks messages   some of them
//! cargo run --release --manifest-path solutions/bench/Cargo.toml -- grade            the grader's own speed
//! cargo run --release --manifest-path solutions/bench/Cargo.toml -- sandbox          what its sandbox costs
//! ```
//!
//! `--rounds N` (11), `--markdown`, `--json FILE`.

mod grade;
mod locks;
mod messages;
mod monitors;
mod round_trips;
mod sandbox;
mod semaphores;

mod contest;
mod counter;
mod machine;
mod peers;
mod stream;
mod table;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use contest::Contest;
use table::Table;

/// A word of the command line, and the contests that it stands for.
type Area = (&'static str, fn() -> Vec<Contest>);

/// What is asked of the grader, and how: the rounds are given.
type OfTheGrader = (&'static str, fn(usize) -> Result<Vec<Table>, String>);

/// Only on request: they take long.
const GRADER: [OfTheGrader; 2] = [("grade", grade::tables), ("sandbox", sandbox::tables)];

/// What can be asked for, in the order of the tables.
const AREAS: [Area; 5] = [
    ("locks", locks::contests),
    ("semaphores", semaphores::contests),
    ("monitors", monitors::contests),
    ("round-trips", round_trips::contests),
    ("messages", messages::contests),
];

struct Options {
    areas: Vec<String>,
    rounds: usize,
    is_markdown: bool,
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    match options().and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn options() -> Result<Options, String> {
    let mut options = Options { areas: Vec::new(), rounds: 11, is_markdown: false, json: None };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("`{argument}` wants a value"));
        match argument.as_str() {
            "--rounds" => options.rounds = value()?.parse().map_err(|_| "`--rounds` wants a number")?,
            "--json" => options.json = Some(value()?.into()),
            "--markdown" => options.is_markdown = true,
            area if names().chain(GRADER.map(|(name, _)| name)).any(|name| name == area) => {
                options.areas.push(area.to_owned());
            }
            other => {
                let areas: Vec<&str> = names().chain(GRADER.map(|(name, _)| name)).collect();
                return Err(format!("no area or option `{other}`; areas: {}", areas.join(", ")));
            }
        }
    }
    if options.rounds == 0 {
        return Err("`--rounds` wants at least 1".to_owned());
    }
    if options.areas.is_empty() {
        options.areas = names().map(str::to_owned).collect();
    }
    Ok(options)
}

fn names() -> impl Iterator<Item = &'static str> {
    AREAS.iter().map(|(name, _)| *name)
}

fn run(options: &Options) -> Result<(), String> {
    println!("{}\n", machine::description());
    let mut tables = Vec::new();
    let mut show = |table: Table| {
        println!("{}", if options.is_markdown { table.to_markdown() } else { table.to_text() });
        tables.push(table);
    };
    for area in &options.areas {
        for (_, contests) in AREAS.iter().filter(|(name, _)| name == area) {
            contests().into_iter().for_each(|contest| show(contest.run(options.rounds)));
        }
        for (_, tables) in GRADER.iter().filter(|(name, _)| name == area) {
            tables(options.rounds)?.into_iter().for_each(&mut show);
        }
    }
    let Some(path) = &options.json else { return Ok(()) };
    let report = serde_json::json!({
        "schema": 1,
        "machine": machine::description(),
        "rounds": options.rounds,
        "tables": tables.iter().map(Table::to_json).collect::<Vec<_>>(),
    });
    fs::write(path, format!("{report:#}\n"))
        .map_err(|error| format!("cannot write `{}`: {error}", path.display()))
}
