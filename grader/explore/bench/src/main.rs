//! The same programs on explore, loom and shuttle in one run:
//!
//! ```text
//! cargo run --release --manifest-path grader/explore/bench/Cargo.toml            speed and findings
//! cargo run --release --manifest-path grader/explore/bench/Cargo.toml -- --stress   and five seconds of threads for each
//! ```

mod command;
mod programs;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use programs::{CATALOGUE, Program, SPEED};

/// For the programs' own `sync`, which is not used here: the tables need only the names.
mod sync {
    use std::sync::atomic::Ordering;

    pub use std::sync::Arc as Shared;

    pub struct Word;
    pub struct Data;
    pub struct JoinHandle;

    impl Word {
        pub fn new(_: u32) -> Word {
            Word
        }
        pub fn load(&self, _: Ordering) -> u32 {
            0
        }
        pub fn store(&self, _: u32, _: Ordering) {}
        pub fn swap(&self, _: u32, _: Ordering) -> u32 {
            0
        }
        pub fn fetch_add(&self, _: u32, _: Ordering) -> u32 {
            0
        }
        pub fn compare_exchange(&self, _: u32, _: u32, _: Ordering, _: Ordering) -> Result<u32, u32> {
            Ok(0)
        }
        pub fn wait(&self, _: u32) {}
        pub fn wake(&self, _: u32) {}
    }

    impl Data {
        pub fn new(_: u64) -> Data {
            Data
        }
        pub fn get(&self) -> u64 {
            0
        }
        pub fn set(&self, _: u64) {}
    }

    impl JoinHandle {
        pub fn join(self) {}
    }

    pub fn spawn(_: impl FnOnce() + 'static) -> JoinHandle {
        JoinHandle
    }

    pub fn spin() {}
}

/// The built programs.
struct Built {
    explore: PathBuf,
    loom: PathBuf,
    shuttle: PathBuf,
    threads: PathBuf,
}

fn main() {
    let _ = (command::program as fn() -> _, command::result as fn(_, _, _));
    let stress = std::env::args().any(|argument| argument == "--stress");
    let built = build();
    speed(&built);
    catalogue(&built, stress);
}

fn build() -> Built {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let cargo = |arguments: &[&str], directory: &Path, wrapper: Option<&Path>| {
        let mut command = Command::new(env!("CARGO"));
        command.arg("build").args(arguments).current_dir(root).env("CARGO_TARGET_DIR", directory);
        if let Some(wrapper) = wrapper {
            command.env("RUSTC_WORKSPACE_WRAPPER", wrapper);
        }
        assert!(command.status().is_ok_and(|status| status.success()), "cargo build {arguments:?}");
    };
    let course = root.join("../Cargo.toml");
    let course = course.to_str().unwrap_or_default();
    cargo(&["--manifest-path", course, "-p", "explore", "--bin", "explore-rustc"], &target, None);
    let wrapper = target.join("debug/explore-rustc");
    let twin = target.join("twin");
    cargo(&["--release", "--features", "twin", "--bin", "on-explore"], &twin, Some(&wrapper));
    let peers = ["--bin", "on-loom", "--bin", "on-shuttle", "--bin", "on-threads"];
    cargo(&[["--release", "--features", "peers"].as_slice(), &peers].concat(), &target, None);
    let release = target.join("release");
    Built {
        explore: twin.join("release/on-explore"),
        loom: release.join("on-loom"),
        shuttle: release.join("on-shuttle"),
        threads: release.join("on-threads"),
    }
}

/// What a program printed, in words; none when it died.
fn run(program: &Path, mode: &str, name: &str) -> Vec<String> {
    let output = Command::new(program).args([mode, name]).stderr(Stdio::null()).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let line = text.lines().find(|line| !line.is_empty()).unwrap_or_default();
    line.split(' ').map(str::to_owned).collect()
}

fn number(words: &[String], index: usize) -> f64 {
    words.get(index).and_then(|word| word.parse().ok()).unwrap_or(f64::NAN)
}

fn speed(built: &Built) {
    println!(
        "\nexecutions per second of a processor (explore and loom: all with at most 3 preemptions; shuttle: at random)\n"
    );
    println!(
        "{:<32} {:>10} {:>10} {:>10} {:>8} {:>10} {:>22}",
        "", "explore", "loom", "shuttle", "/ loom", "/ shuttle", "explore, all of them"
    );
    for (name, _) in SPEED {
        let words = [&built.explore, &built.loom, &built.shuttle].map(|program| run(program, "speed", name));
        let [explore, loom, shuttle] =
            [0, 1, 2].map(|at: usize| number(&words[at], 0) / number(&words[at], 1) * 1e3);
        println!(
            "{name:<32} {explore:>10.0} {loom:>10.0} {shuttle:>10.0} {:>8.1} {:>10.1} {:>19.2} ms",
            explore / loom,
            explore / shuttle,
            number(&words[0], 2)
        );
    }
}

fn catalogue(built: &Built, stress: bool) {
    println!("\nwrong programs: executions and milliseconds up to the first failure; - for none\n");
    print!("{:<42} {:>18} {:>18} {:>18} {:>18}", "", "explore", "loom", "shuttle, random", "shuttle, PCT");
    println!("{}", if stress { format!(" {:>20}", "threads, 5 s") } else { String::new() });
    let mut columns = vec![
        (&built.explore, "find"),
        (&built.loom, "find"),
        (&built.shuttle, "find"),
        (&built.shuttle, "find-pct"),
    ];
    if stress {
        columns.push((&built.threads, "find"));
    }
    let mut found = vec![0; columns.len()];
    for (name, _) in CATALOGUE as &[Program] {
        print!("{name:<42}");
        for (at, (program, mode)) in columns.iter().enumerate() {
            let words = run(program, mode, name);
            let failed = words.first().is_some_and(|word| word == "found");
            found[at] += usize::from(failed);
            let cell = if failed {
                format!("{}  {} ms", words[1], words[2])
            } else if words.len() == 3 {
                "-".to_owned()
            } else {
                "died".to_owned()
            };
            print!(" {cell:>18}");
        }
        println!();
    }
    print!("{:<42}", "found");
    for found in found {
        print!(" {:>18}", format!("{found} of {}", CATALOGUE.len()));
    }
    println!();
}
