//! Part 4: readers and writers. It may use the monitor of part 2.

use harness::{Check, Exploration, JoinHandle, Model, Outcome, ensure, note};
use monitor::ReadersWriters;

use crate::actors::{Actors, Flag, Plain};

/// No reader beside a writer, no two writers, and nobody sleeps for ever.
pub fn a_writer_is_alone(check: &mut Check) -> Outcome {
    let exploration = Exploration { bound: 2, executions: 50_000, ..Exploration::default() };
    for (what, writers) in [("two readers and a writer", 1), ("a reader and two writers", 2)] {
        check.explore(what, exploration, move |model: &Model| {
            let gate = model.share(ReadersWriters::new());
            let value = model.share(Plain::new(0));
            let read = move || {
                note("wants to read");
                gate.start_read();
                assert!(value.get() <= writers, "at most {writers} writers have added 1");
                gate.end_read();
            };
            let write = move || {
                note("wants to write");
                gate.start_write();
                value.set(value.get() + 1);
                gate.end_write();
            };
            let first = model.spawn("writer A", write);
            let second =
                if writers == 2 { model.spawn("writer B", write) } else { model.spawn("reader A", read) };
            read();
            [first, second].into_iter().for_each(JoinHandle::join);
            gate.start_read();
            assert_eq!(value.get(), writers, "each writer has added 1");
        })?;
    }
    Ok(())
}

/// Two readers that waited for a writer meet inside.
pub fn waiting_readers_go_together(check: &mut Check) -> Outcome {
    let exploration = Exploration { executions: 50_000, ..Exploration::default() };
    check.explore(
        "two readers come while a writer writes, and wait inside for each other",
        exploration,
        |model: &Model| {
            let gate = model.share(ReadersWriters::new());
            let flags = model.share([Flag::new(), Flag::new()]);
            gate.start_write();
            let readers = [(0, "reader A"), (1, "reader B")].map(|(index, name)| {
                model.spawn(name, move || {
                    gate.start_read();
                    flags[index].set();
                    flags[1 - index].wait();
                    gate.end_read();
                })
            });
            gate.end_write();
            readers.into_iter().for_each(JoinHandle::join);
        },
    )
}

#[derive(Clone, Copy)]
enum Step {
    ReaderComes,
    WriterComes,
    /// By its number in the order of coming, from 1.
    Leaves(usize),
}
use Step::{Leaves, ReaderComes, WriterComes};

/// Plays the steps with processes; after each, those inside must be these (by their numbers). `rule` says why.
fn play(check: &Check, rule: &str, look: &str, steps: &[(Step, &[usize])]) -> Outcome {
    let gate = check.shared("ReadersWriters", ReadersWriters::new)?;
    let mut actors = Actors::new(check);
    let mut names: Vec<String> = Vec::new();
    let mut present: Vec<usize> = Vec::new();
    let mut story = Vec::new();
    for &(step, wanted) in steps {
        match step {
            ReaderComes => {
                actors.comes("`start_read`", |flags| {
                    gate.start_read();
                    flags.through();
                    flags.stay();
                    gate.end_read();
                })?;
                names.push(format!("reader {}", names.len() + 1));
            }
            WriterComes => {
                actors.comes("`start_write`", |flags| {
                    gate.start_write();
                    flags.through();
                    flags.stay();
                    gate.end_write();
                })?;
                names.push(format!("writer {}", names.len() + 1));
            }
            Leaves(number) => {
                actors.leaves(number - 1, "`end_read` and `end_write`")?;
                present.retain(|&other| other != number);
                story.push(format!("{} leaves", names[number - 1]));
            }
        }
        if !matches!(step, Leaves(_)) {
            present.push(names.len());
            story.push(format!("{} comes", names[names.len() - 1]));
        }
        let inside: Vec<usize> =
            present.iter().copied().filter(|&number| actors.is_through(number - 1)).collect();
        let list = |numbers: &[usize]| match numbers {
            [] => "nobody".to_owned(),
            _ => numbers.iter().map(|&number| names[number - 1].as_str()).collect::<Vec<_>>().join(" and "),
        };
        ensure!(
            !inside.is_empty() || wanted.is_empty(),
            expected: format!("whoever leaves lets the next ones in. {}: inside is {}", story.join(", "), list(wanted)),
            observed: "inside is nobody, and all who wait sleep",
            look: "`end_read` and `end_write`: whom do they wake?",
        );
        ensure!(
            inside == wanted,
            expected: format!("{rule}. {}: inside is {}", story.join(", "), list(wanted)),
            observed: format!("inside is {}", list(&inside)),
            look: look,
        );
    }
    actors.all_leave()
}

/// Readers do not exclude each other, and neither do those who had to wait.
pub fn readers_read_together(check: &mut Check) -> Outcome {
    let rule = "readers read together";
    let look = "`start_read`: for whom does a reader wait, if only readers are there?";
    play(check, rule, look, &[(ReaderComes, &[1]), (ReaderComes, &[1, 2]), (ReaderComes, &[1, 2, 3])])?;
    let steps: &[(Step, &[usize])] = &[
        (WriterComes, &[1]),
        (ReaderComes, &[1]),
        (ReaderComes, &[1]),
        (Leaves(1), &[2, 3]),
        (ReaderComes, &[2, 3, 4]),
        (Leaves(2), &[3, 4]),
        (WriterComes, &[3, 4]),
        (Leaves(4), &[3]),
        (Leaves(3), &[5]),
    ];
    play(check, rule, "`start_read`: who gets in when the writer has left?", steps)
}

/// Readers that come one after the other do not keep a writer out.
pub fn a_waiting_writer_is_not_overtaken(check: &mut Check) -> Outcome {
    let rule = "a reader does not overtake a writer that waits";
    let steps: &[(Step, &[usize])] = &[
        (ReaderComes, &[1]),
        (WriterComes, &[1]),
        (ReaderComes, &[1]),
        (ReaderComes, &[1]),
        (Leaves(1), &[2]),
        (Leaves(2), &[3, 4]),
    ];
    play(check, rule, "`start_read`: does it look for writers that wait?", steps)
}

/// Writers that come one after the other do not keep a reader out.
pub fn a_waiting_reader_is_not_overtaken(check: &mut Check) -> Outcome {
    let rule = "a writer does not overtake a reader that has waited for longer";
    let look = "`end_write`: who goes on, if readers and writers wait?";
    let steps: &[(Step, &[usize])] = &[
        (WriterComes, &[1]),
        (ReaderComes, &[1]),
        (WriterComes, &[1]),
        (Leaves(1), &[2]),
        (Leaves(2), &[3]),
    ];
    play(check, rule, look, steps)?;
    let steps: &[(Step, &[usize])] = &[
        (ReaderComes, &[1]),
        (WriterComes, &[1]),
        (ReaderComes, &[1]),
        (WriterComes, &[1]),
        (Leaves(1), &[2]),
        (Leaves(2), &[3]),
        (Leaves(3), &[4]),
    ];
    play(check, rule, look, steps)
}
