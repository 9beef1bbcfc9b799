//! What the pipes lab promises, part by part.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use harness::faults::{self, Plan};
use harness::{Check, Outcome, Rng, Shared, Stop, ensure, observe};
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use pipes::{
    Captured, Filled, LogServer, Logger, Status, capture, pipeline, read_exact, read_frame, write_all,
    write_frame,
};

harness::checks! {
    "the-buffer-is-filled-however-the-bytes-arrive" => the_buffer_is_filled_however_the_bytes_arrive,
    "interrupted-calls-are-repeated" => interrupted_calls_are_repeated,
    "an-end-in-the-middle-is-an-error" => an_end_in_the_middle_is_an_error,
    "every-byte-is-written" => every_byte_is_written,
    "a-closed-reader-is-an-error" => a_closed_reader_is_an_error,
    "a-frame-is-its-length-and-its-payload" => a_frame_is_its_length_and_its_payload,
    "boundaries-survive-any-split" => boundaries_survive_any_split,
    "truncated-frames-are-refused" => truncated_frames_are_refused,
    "oversized-frames-are-refused" => oversized_frames_are_refused,
    "output-flows-through-every-command" => output_flows_through_every_command,
    "every-status-is-returned" => every_status_is_returned,
    "unused-ends-are-closed" => unused_ends_are_closed,
    "commands-start-with-default-sigpipe" => commands_start_with_default_sigpipe,
    "a-missing-program-is-an-error" => a_missing_program_is_an_error,
    "a-closed-stdin-does-no-harm" => a_closed_stdin_does_no_harm,
    "running-out-of-descriptors-leaves-nothing-behind" => running_out_of_descriptors_leaves_nothing_behind,
    "both-outputs-and-the-status-are-captured" => both_outputs_and_the_status_are_captured,
    "no-size-deadlocks" => no_size_deadlocks,
    "input-nobody-reads-is-dropped" => input_nobody_reads_is_dropped,
    "capture-loses-nothing-when-interrupted" => capture_loses_nothing_when_interrupted,
    "capture-waits-asleep" => capture_waits_asleep,
    "capture-reports-a-missing-program" => capture_reports_a_missing_program,
    "a-line-is-one-write" => a_line_is_one_write,
    "lines-never-interleave" => lines_never_interleave,
    "the-server-survives-writers-coming-and-going" => the_server_survives_writers_coming_and_going,
    "lines-are-put-together-from-any-pieces" => lines_are_put_together_from_any_pieces,
    "no-server-is-an-error-at-once" => no_server_is_an_error_at_once,
    "a-full-fifo-makes-writers-wait" => a_full_fifo_makes_writers_wait,
    "overlong-lines-are-refused" => overlong_lines_are_refused,
    "the-fifo-is-removed-at-the-end" => the_fifo_is_removed_at_the_end,
}

// What travels from a worker to the check -----------------------------------------------------------------

/// A result as a worker tells it: an error becomes its kind and, when it has one, its errno.
type Told<T> = Result<T, String>;

fn told<T>(result: io::Result<T>) -> Told<T> {
    result.map_err(|error| match error.raw_os_error() {
        Some(errno) => format!("{:?} ({:?})", error.kind(), Errno::from_raw(errno)),
        None => format!("{:?}", error.kind()),
    })
}

/// Whether the error has this kind or this errno.
fn is_error<T>(told: &Told<T>, name: &str) -> bool {
    told.as_ref().is_err_and(|error| error.split([' ', '(', ')']).any(|word| word == name))
}

/// How an answer reads in a message: bytes in full only when they are few.
fn show(told: &Told<Vec<u8>>) -> String {
    match told {
        Ok(bytes) => bytes_in_words(bytes),
        Err(error) => format!("the error {error}"),
    }
}

fn bytes_in_words(bytes: &[u8]) -> String {
    if bytes.len() <= 24 {
        format!("{} bytes: \"{}\"", bytes.len(), bytes.escape_ascii())
    } else {
        format!("{} bytes, beginning \"{}\"", bytes.len(), bytes[..24].escape_ascii())
    }
}

/// `Exited` as (false, code), `Signalled` as (true, signal).
type Ended = (bool, i32);

fn ended(status: Status) -> Ended {
    match status {
        Status::Exited(code) => (false, code),
        Status::Signalled(signal) => (true, signal),
    }
}

fn statuses(result: io::Result<Vec<Status>>) -> Told<Vec<Ended>> {
    told(result.map(|statuses| statuses.into_iter().map(ended).collect()))
}

fn show_statuses(told: &Told<Vec<Ended>>) -> String {
    let one = |&(by_signal, number): &Ended| match by_signal {
        false => format!("Exited({number})"),
        true => format!("Signalled({number})"),
    };
    match told {
        Ok(all) => format!("[{}]", all.iter().map(one).collect::<Vec<_>>().join(", ")),
        Err(error) => format!("the error {error}"),
    }
}

/// Lowercase letters: bytes that read well in messages.
fn letters(rng: &mut Rng, length: usize) -> Vec<u8> {
    rng.bytes(length).iter().map(|byte| b'a' + byte % 26).collect()
}

/// All ways to cut `length` bytes into consecutive pieces.
fn splits(length: usize) -> Vec<Vec<usize>> {
    (0..1u32 << (length - 1))
        .map(|cuts| {
            let mut pieces = vec![1];
            for place in 0..length - 1 {
                if cuts >> place & 1 == 1 {
                    pieces.push(1);
                } else if let Some(last) = pieces.last_mut() {
                    *last += 1;
                }
            }
            pieces
        })
        .collect()
}

/// A plan by its kind, so that it can be sent to a worker: 0 cuts transfers to `numbers`, 1 interrupts every
/// `numbers[0]`-th call, 2 does both at random with the seed `numbers[0]`, 3 interrupts one call only: the
/// `numbers[1]`-th of `CALLS[numbers[0]]`.
type PlanOf = (u8, Vec<usize>);

const CALLS: [&str; 4] = ["read", "write", "poll", "waitpid"];

fn plan((kind, numbers): PlanOf) -> Plan {
    let first = numbers.first().copied().unwrap_or(1);
    match kind {
        0 => Plan::short(numbers),
        1 => Plan::interrupted_every(first),
        3 => Plan::fail(CALLS[first], numbers[1], libc::EINTR),
        _ => Plan::random(first as u64),
    }
}

fn plan_in_words((kind, numbers): &PlanOf) -> String {
    match kind {
        0 if numbers.is_empty() => "the calls are not disturbed".into(),
        0 => format!("transfers are cut to {numbers:?} bytes"),
        1 if numbers.first() == Some(&1) => "every call is interrupted once (EINTR)".into(),
        1 => format!("every {}nd or later call is interrupted (EINTR)", numbers.first().unwrap_or(&1)),
        3 => format!("the {} number {} is interrupted (EINTR)", CALLS[numbers[0]], numbers[1] + 1),
        _ => "calls are cut short and interrupted at random".into(),
    }
}

/// A pipe that holds `content` and has no writer any more.
fn holding(content: &[u8]) -> io::PipeReader {
    let (reader, mut writer) = io::pipe().expect("a pipe");
    writer.write_all(content).expect("it fits into the pipe");
    reader
}

/// Everything that is left in the pipe.
fn rest_of(mut reader: impl Read) -> Vec<u8> {
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).expect("reading what is left");
    rest
}

// Part 1 --------------------------------------------------------------------------------------------------

/// (content of the pipe, size of the buffer, what happens to the calls)
type Reading = (Vec<u8>, usize, PlanOf);
/// (answer: whole or end of stream, the buffer, what is left in the pipe)
type HasRead = (Told<bool>, Vec<u8>, Vec<u8>);

fn reading((content, size, how): Reading) -> HasRead {
    let reader = holding(&content);
    let mut buffer = vec![0; size];
    let (answer, _) = faults::with(plan(how), || read_exact(&reader, &mut buffer));
    (told(answer).map(|filled| filled == Filled::Whole), buffer, rest_of(reader))
}

fn judge_reading(check: &mut Check, questions: Vec<Reading>) -> Outcome {
    let mut student = check.respondent("`read_exact`", reading)?;
    for question in questions {
        let (content, size, how) = question.clone();
        let (answer, buffer, rest) = student.ask(question)?;
        let case = format!("{size} bytes wanted, {} in the pipe, {}", content.len(), plan_in_words(&how));
        let outcome = match &answer {
            Ok(true) => "Whole".to_owned(),
            Ok(false) => "EndOfStream".to_owned(),
            Err(error) => format!("the error {error}"),
        };
        ensure!(answer == Ok(true), expected: format!("Whole ({case})"), observed: outcome, look: "the loop in `read_exact`");
        ensure!(
            buffer == content[..size],
            expected: format!("the first {size} bytes of the stream, {} ({case})", bytes_in_words(&content[..size])),
            observed: bytes_in_words(&buffer),
            look: "where `read_exact` puts the next piece"
        );
        ensure!(
            rest == content[size..],
            expected: format!("{} bytes left in the pipe for the next reader ({case})", content.len() - size),
            observed: format!("{} bytes left", rest.len()),
            look: "how many bytes `read_exact` asks for"
        );
    }
    Ok(())
}

/// Every way to cut the first bytes of the stream gives the same buffer, and nothing beyond it is read.
fn the_buffer_is_filled_however_the_bytes_arrive(check: &mut Check) -> Outcome {
    let mut questions = vec![(b"next".to_vec(), 0, (0, vec![]))];
    for pieces in splits(7) {
        questions.push((letters(check.rng(), 9), 7, (0, pieces)));
    }
    let size = 2000 + check.rng().below(2000) as usize;
    questions.push((letters(check.rng(), size + 10), size, (0, vec![1, 2, 3, 500, 1])));
    check.note("all 64 ways to cut 7 bytes, and a longer stream");
    judge_reading(check, questions)
}

/// `EINTR` loses no byte, in reading and in writing.
fn interrupted_calls_are_repeated(check: &mut Check) -> Outcome {
    let mut hows: Vec<PlanOf> = vec![(1, vec![1]), (1, vec![2])];
    hows.extend((0..20).map(|_| (2, vec![check.rng().below(1 << 40) as usize])));
    let mut questions = Vec::new();
    for how in &hows {
        questions.push((letters(check.rng(), 70), 60, how.clone()));
    }
    judge_reading(check, questions)?;
    judge_writing(check, hows)
}

fn judge_writing(check: &mut Check, hows: Vec<PlanOf>) -> Outcome {
    let mut student =
        check.respondent("`write_all`", |(bytes, how): (Vec<u8>, PlanOf)| -> (Told<()>, Vec<u8>) {
            let (reader, writer) = io::pipe().expect("a pipe");
            let (answer, _) = faults::with(plan(how), || write_all(&writer, &bytes));
            drop(writer);
            (told(answer), rest_of(reader))
        })?;
    for how in hows {
        let length = if how.0 == 0 { how.1.iter().sum::<usize>() + 2 } else { 60 };
        let bytes = letters(check.rng(), length);
        let (answer, arrived) = student.ask((bytes.clone(), how.clone()))?;
        let case = format!("{length} bytes written, {}", plan_in_words(&how));
        ensure!(
            answer.is_ok(),
            expected: format!("success ({case})"),
            observed: format!("the error {}", answer.clone().err().unwrap_or_default()),
            look: "the loop in `write_all`"
        );
        ensure!(
            arrived == bytes,
            expected: format!("{} ({case})", bytes_in_words(&bytes)),
            observed: format!("{} in the pipe", bytes_in_words(&arrived)),
            look: "what `write_all` does when `write` takes fewer bytes than offered"
        );
    }
    Ok(())
}

/// No byte, some bytes, all bytes before the end are three different answers.
fn an_end_in_the_middle_is_an_error(check: &mut Check) -> Outcome {
    let mut student = check.respondent("`read_exact`", reading)?;
    for there in 0..6 {
        for how in [(0, vec![]), (0, vec![1, 1, 1, 1, 1, 1]), (1, vec![1])] {
            let (answer, ..) = student.ask((letters(check.rng(), there), 6, how.clone()))?;
            let observed = match &answer {
                Ok(true) => "Whole".to_owned(),
                Ok(false) => "EndOfStream".to_owned(),
                Err(error) => format!("the error {error}"),
            };
            let case = format!("6 bytes wanted, the stream ends after {there}, {}", plan_in_words(&how));
            if there == 0 {
                ensure!(answer == Ok(false), expected: format!("EndOfStream ({case})"), observed: observed, look: "`read_exact`: `read` answering 0 at once");
            } else {
                ensure!(is_error(&answer, "UnexpectedEof"), expected: format!("the error UnexpectedEof ({case})"), observed: observed, look: "`read_exact`: `read` answering 0 after some bytes");
            }
        }
    }
    Ok(())
}

/// Every way to cut the writes puts the same bytes into the pipe.
fn every_byte_is_written(check: &mut Check) -> Outcome {
    let mut hows: Vec<PlanOf> = splits(7).into_iter().map(|pieces| (0, pieces)).collect();
    hows.push((0, vec![]));
    hows.push((0, vec![1, 1000, 1, 500]));
    check.note("all 64 ways to cut 7 bytes, and longer ones");
    judge_writing(check, hows)
}

/// Without a reader the answer is `BrokenPipe`, and the process lives.
fn a_closed_reader_is_an_error(check: &mut Check) -> Outcome {
    let length = 1 + check.rng().below(100_000) as usize;
    let answer = check.ask("`write_all` to a pipe without a reader", move || {
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(reader);
        told(write_all(&writer, &vec![b'x'; length]))
    })?;
    ensure!(
        is_error(&answer, "BrokenPipe"),
        expected: format!("the error BrokenPipe (EPIPE) for {length} bytes to a pipe that nobody reads"),
        observed: format!("{answer:?}"),
        look: "which errors `write_all` repeats or drops"
    );
    Ok(())
}

// Part 2 --------------------------------------------------------------------------------------------------

fn framed(payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32).to_be_bytes(), payload].concat()
}

/// The bytes on the wire are the big-endian length and the payload, also when writes are cut.
fn a_frame_is_its_length_and_its_payload(check: &mut Check) -> Outcome {
    let mut student =
        check.respondent("`write_frame`", |(payload, how): (Vec<u8>, PlanOf)| -> (Told<()>, Vec<u8>) {
            let (reader, writer) = io::pipe().expect("a pipe");
            let (answer, _) = faults::with(plan(how), || write_frame(&writer, &payload, payload.len()));
            drop(writer);
            (told(answer), rest_of(reader))
        })?;
    for length in [0, 1, 3, 5, 255, 256, 300, 5000] {
        let payload = letters(check.rng(), length);
        let seed = check.rng().below(1 << 40) as usize;
        for how in [(0, vec![]), (0, vec![1, 1, 1, 1, 1, 1]), (2, vec![seed])] {
            let (answer, wire) = student.ask((payload.clone(), how.clone()))?;
            let case = format!("a payload of {length} bytes, limit {length}, {}", plan_in_words(&how));
            ensure!(answer.is_ok(), expected: format!("success ({case})"), observed: format!("{answer:?}"), look: "`write_frame`");
            ensure!(
                wire == framed(&payload),
                expected: format!("{} ({case})", bytes_in_words(&framed(&payload))),
                observed: bytes_in_words(&wire),
                look: "`write_frame`: four bytes of length, most significant first, then the payload"
            );
        }
    }
    Ok(())
}

/// (bytes in the pipe, limit, what happens to the calls)
type Wire = (Vec<u8>, usize, PlanOf);

/// Reads frames until `None`, an error, or 100 frames; returns them, the error and what is left in the pipe.
fn frames((wire, limit, how): Wire) -> (Vec<Vec<u8>>, Told<()>, Vec<u8>) {
    let reader = holding(&wire);
    let mut frames = Vec::new();
    let (end, _) = faults::with(plan(how), || {
        while frames.len() < 100 {
            match read_frame(&reader, limit) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("100 frames and no end"))
    });
    (frames, told(end), rest_of(reader))
}

/// However the bytes of three frames arrive, three frames come out.
fn boundaries_survive_any_split(check: &mut Check) -> Outcome {
    let mut student = check.respondent("`read_frame` until the end of the stream", frames)?;
    let mut hows: Vec<PlanOf> = splits(9).into_iter().map(|pieces| (0, pieces)).collect();
    hows.push((0, vec![1; 64]));
    hows.extend([(1, vec![1]), (1, vec![2])]);
    hows.extend((0..20).map(|_| (2, vec![check.rng().below(1 << 40) as usize])));
    for how in hows {
        let lengths = [check.rng().below(4) as usize, 0, 2 + check.rng().below(30) as usize];
        let payloads: Vec<Vec<u8>> = lengths.iter().map(|&length| letters(check.rng(), length)).collect();
        let wire = payloads.iter().flat_map(|payload| framed(payload)).collect();
        let (got, end, _) = student.ask((wire, 40, how.clone()))?;
        let case = format!("frames of {lengths:?} bytes, {}", plan_in_words(&how));
        ensure!(
            end.is_ok() && got == payloads,
            expected: format!("these frames and then None ({case})"),
            observed: format!("frames of {:?} bytes, then {end:?}", got.iter().map(Vec::len).collect::<Vec<_>>()),
            look: "`read_frame`: both the length and the payload may arrive in pieces"
        );
    }
    check.note("256 ways to cut the first nine bytes of three frames, and random ones");
    // The next frame belongs to the next call, or to somebody else.
    let first = letters(check.rng(), 5);
    let wire = [framed(&first), b"not mine".to_vec()].concat();
    let expected = first.clone();
    let (frame, rest) = check.ask("`read_frame` once", move || {
        let reader = holding(&wire);
        (told(read_frame(&reader, 100)), rest_of(reader))
    })?;
    ensure!(frame == Ok(Some(expected)), expected: "the first frame", observed: format!("{frame:?}"), look: "`read_frame`");
    ensure!(rest == b"not mine", expected: "8 bytes behind the frame still in the pipe", observed: bytes_in_words(&rest), look: "how many bytes `read_frame` takes out of the stream");
    Ok(())
}

/// A stream that ends inside a frame is an error, at every place where it can end.
fn truncated_frames_are_refused(check: &mut Check) -> Outcome {
    let mut student = check.respondent("`read_frame` until the end of the stream", frames)?;
    let first = letters(check.rng(), 2);
    let second = letters(check.rng(), 5);
    let wire = [framed(&first), framed(&second)].concat();
    for cut in 0..=wire.len() {
        for how in [(0, vec![]), (0, vec![1; 20])] {
            let (got, end, _) = student.ask((wire[..cut].to_vec(), 100, how.clone()))?;
            let whole = match cut {
                0..6 => 0,
                6..15 => 1,
                _ => 2,
            };
            let boundary = matches!(cut, 0 | 6 | 15);
            ensure!(
                got.len() == whole && if boundary { end.is_ok() } else { is_error(&end, "UnexpectedEof") },
                expected: format!(
                    "{whole} frames, then {} (frames of 6 and 9 bytes with their lengths, the stream ends after {cut})",
                    if boundary { "None" } else { "UnexpectedEof" }
                ),
                observed: format!("{} frames, then {}", got.len(), match &end {
                    Ok(()) => "None",
                    Err(error) => error.as_str(),
                }),
                look: "`read_frame`: the end inside the length, between length and payload, inside the payload"
            );
        }
    }
    Ok(())
}

/// The limit is kept in both directions, and nothing is written or read beyond the length.
fn oversized_frames_are_refused(check: &mut Check) -> Outcome {
    let limit = 10 + check.rng().below(1000) as usize;
    let mut student = check.respondent("`read_frame` until the end of the stream", frames)?;
    let full = letters(check.rng(), limit);
    let (got, end, _) = student.ask((framed(&full), limit, (0, vec![])))?;
    ensure!(got == [full] && end.is_ok(), expected: format!("a frame of exactly the limit, {limit} bytes, is accepted"), observed: format!("{} frames, then {end:?}", got.len()), look: "how `read_frame` compares length and limit");
    for length in [limit as u32 + 1, 1 << 16, 1 << 31, u32::MAX] {
        let body = letters(check.rng(), 20);
        let wire = [length.to_be_bytes().to_vec(), body.clone()].concat();
        let (got, end, rest) = student.ask((wire, limit, (0, vec![])))?;
        ensure!(
            got.is_empty() && is_error(&end, "InvalidData"),
            expected: format!("the error InvalidData for a length of {length} with a limit of {limit}"),
            observed: format!("{} frames, then {end:?}", got.len()),
            look: "what `read_frame` does with the length before it uses it"
        );
        ensure!(rest == body, expected: "only the four bytes of the length read", observed: format!("{} of the 20 bytes behind them left", rest.len()), look: "`read_frame`: refuse before reading on");
    }
    let (answer, wire) = check.ask("`write_frame` of a payload above the limit", move || {
        let (reader, writer) = io::pipe().expect("a pipe");
        let answer = told(write_frame(&writer, &vec![b'x'; limit + 1], limit));
        drop(writer);
        (answer, rest_of(reader))
    })?;
    ensure!(is_error(&answer, "InvalidInput"), expected: format!("the error InvalidInput for {} bytes with a limit of {limit}", limit + 1), observed: format!("{answer:?}"), look: "`write_frame`");
    ensure!(wire.is_empty(), expected: "nothing written when a payload is refused", observed: bytes_in_words(&wire), look: "the order of checking and writing in `write_frame`");
    Ok(())
}

// Part 3 --------------------------------------------------------------------------------------------------

/// A file in memory, closed on exec.
fn memory_file(content: &[u8]) -> File {
    // SAFETY: the name is a C string, and the descriptor returned is new.
    let mut file = unsafe {
        let fd = libc::memfd_create(c"check".as_ptr(), libc::MFD_CLOEXEC);
        assert!(fd >= 0, "memfd_create failed");
        File::from_raw_fd(fd)
    };
    file.write_all(content).expect("writing to memory");
    io::Seek::rewind(&mut file).expect("rewinding");
    file
}

/// Runs `body` with `file` as descriptor `target`, which is put back afterwards.
fn redirected<R>(target: i32, file: &File, body: impl FnOnce() -> R) -> R {
    // SAFETY: plain calls on descriptors of this process.
    let kept = unsafe { libc::fcntl(target, libc::F_DUPFD_CLOEXEC, 50) };
    // SAFETY: as above.
    unsafe { libc::dup2(file.as_raw_fd(), target) };
    let result = body();
    // SAFETY: as above; `kept` is ours.
    unsafe {
        if kept >= 0 {
            libc::dup2(kept, target);
            libc::close(kept);
        } else {
            libc::close(target);
        }
    }
    result
}

/// What a file written to by way of a copied descriptor contains.
fn contents(mut file: File) -> Vec<u8> {
    io::Seek::rewind(&mut file).expect("rewinding");
    rest_of(file)
}

/// Runs the pipeline with this input; returns its answer and what it wrote to the standard output.
fn run(commands: &[Vec<String>], input: &[u8]) -> (Told<Vec<Ended>>, Vec<u8>) {
    let stdin = memory_file(input);
    let stdout = memory_file(b"");
    let words: Vec<Vec<&str>> =
        commands.iter().map(|command| command.iter().map(String::as_str).collect()).collect();
    let commands: Vec<&[&str]> = words.iter().map(Vec::as_slice).collect();
    let answer = redirected(0, &stdin, || redirected(1, &stdout, || pipeline(&commands)));
    (statuses(answer), contents(stdout))
}

/// `"tr a b"` as a command.
fn command(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

/// A command for the shell.
fn shell(script: &str) -> Vec<String> {
    vec!["sh".into(), "-c".into(), script.into()]
}

/// What goes in at one end comes out at the other, changed by each command, also more than a pipe holds.
fn output_flows_through_every_command(check: &mut Check) -> Outcome {
    for count in [1, 2, 3, 5] {
        let word = letters(check.rng(), 200_000);
        let mut commands = vec![command("cat")];
        let mut expected = word.clone();
        for _ in 1..count {
            let (from, to) = (b'a' + check.rng().below(26) as u8, b'a' + check.rng().below(26) as u8);
            commands.push(command(&format!("tr {} {}", from as char, to as char)));
            expected.iter_mut().filter(|byte| **byte == from).for_each(|byte| *byte = to);
        }
        let shown: Vec<String> = commands.iter().map(|words| words.join(" ")).collect();
        let (answer, output) =
            check.ask(&format!("`pipeline`: {}", shown.join(" | ")), move || run(&commands, &word))?;
        ensure!(answer == Ok(vec![(false, 0); count]), expected: format!("Exited(0) {count} times for {}", shown.join(" | ")), observed: show_statuses(&answer), look: "`pipeline`");
        ensure!(
            output == expected,
            expected: format!("{} from {}", bytes_in_words(&expected), shown.join(" | ")),
            observed: bytes_in_words(&output),
            look: "which end each command gets as descriptor 0 and 1 in `pipeline`"
        );
    }
    let answer = check.ask("`pipeline` of no commands", || statuses(pipeline(&[])))?;
    ensure!(answer == Ok(vec![]), expected: "Ok with an empty vector for no commands", observed: show_statuses(&answer), look: "`pipeline`");
    Ok(())
}

/// One status for each command, in order, codes and signals told apart.
fn every_status_is_returned(check: &mut Check) -> Outcome {
    let mut expected = Vec::new();
    let mut commands = Vec::new();
    let mut wanted = vec![(true, libc::SIGTERM), (true, libc::SIGKILL), (true, libc::SIGRTMIN() + 1)];
    wanted.push((false, 0));
    wanted.push((false, 128 + 9));
    wanted.push((false, 1 + check.rng().below(120) as i32));
    check.rng().shuffle(&mut wanted);
    for &(by_signal, number) in &wanted {
        let end = if by_signal { format!("kill -{number} $$") } else { format!("exit {number}") };
        commands.push(shell(&format!("cat > /dev/null; {end}")));
        expected.push((by_signal, number));
    }
    let (answer, _) =
        check.ask("`pipeline` of six commands that end in different ways", move || run(&commands, b""))?;
    let expected = Ok(expected);
    ensure!(answer == expected, expected: show_statuses(&expected), observed: show_statuses(&answer), look: "how `pipeline` reads the wait status, and in which order it returns the statuses");
    Ok(())
}

/// While three commands wait for input, each has its two ends and no other, and the caller has none.
fn unused_ends_are_closed(check: &mut Check) -> Outcome {
    let (input, feeder) = io::pipe().map_err(|error| Stop::inconclusive(format!("no pipe: {error}")))?;
    let (input_fd, feeder_fd) = (input.as_raw_fd(), feeder.as_raw_fd());
    let sink = File::options()
        .write(true)
        .open("/dev/null")
        .map_err(|error| Stop::inconclusive(error.to_string()))?;
    let sink_fd = sink.as_raw_fd();
    let student = check.spawn("`pipeline`: cat | cat | cat", move || {
        // SAFETY: descriptors of this process only; the check keeps its own copies.
        unsafe {
            libc::dup2(input_fd, 0);
            libc::dup2(sink_fd, 1);
            libc::close(input_fd);
            libc::close(sink_fd);
            libc::close(feeder_fd);
        }
        statuses(pipeline(&[&["cat"], &["cat"], &["cat"]]))
    })?;
    drop(input);
    let caller = student.pid();
    let cats = || -> Vec<i32> {
        observe::descendants_of(caller)
            .into_iter()
            .filter(|&pid| observe::name_of(pid).as_deref() == Some("cat"))
            .collect()
    };
    let waits = |pid: i32| observe::state_of(pid) == Some('S') && observe::blocked_in(pid, pid).is_some();
    check.wait_until("three `cat`s run and wait for input", || {
        let cats = cats();
        cats.len() == 3 && cats.iter().all(|&pid| waits(pid)) && waits(caller)
    })?;
    // Pipes that came from outside (a shell, cargo) are not the pipeline's business.
    let ours = observe::open_fds(std::process::id() as i32).unwrap_or_default();
    let foreign = |target: &str| ours.iter().any(|fd| fd.target == target);
    let mut pipes: Vec<String> = Vec::new();
    for (place, &pid) in cats().iter().enumerate() {
        for fd in observe::open_fds(pid).unwrap_or_default() {
            if !fd.target.starts_with("pipe:") || foreign(&fd.target) {
                continue;
            }
            ensure!(
                fd.number <= 1,
                expected: "each command of cat | cat | cat has its pipe ends as descriptors 0 and 1 and no other",
                observed: format!("command {} also has descriptor {} open on {}", place + 1, fd.number, fd.target),
                look: "which ends are closed in the child before exec, or at exec (O_CLOEXEC), in `pipeline`"
            );
            pipes.push(fd.target);
        }
    }
    for fd in observe::open_fds(caller).unwrap_or_default() {
        ensure!(
            !pipes.contains(&fd.target),
            expected: "the caller has no end of the pipes between the commands open once all commands run",
            observed: format!("the caller still has descriptor {} open on {}", fd.number, fd.target),
            look: "which ends `pipeline` closes in the parent"
        );
    }
    drop(feeder);
    let answer = student.join()?;
    ensure!(answer == Ok(vec![(false, 0); 3]), expected: "[Exited(0), Exited(0), Exited(0)] after the end of the input", observed: show_statuses(&answer), look: "`pipeline`");
    Ok(())
}

/// The kernel says how `yes` ended when nobody reads any more: by `SIGPIPE`.
fn commands_start_with_default_sigpipe(check: &mut Check) -> Outcome {
    let (answer, output) =
        check.ask("`pipeline`: yes | head -n 1", || run(&[command("yes"), command("head -n 1")], b""))?;
    let expected = Ok(vec![(true, libc::SIGPIPE), (false, 0)]);
    ensure!(
        answer == expected,
        expected: format!("{} for yes | head -n 1: SIGPIPE (13) ends yes", show_statuses(&expected)),
        observed: show_statuses(&answer),
        look: "the disposition of SIGPIPE between fork and exec in `pipeline`: ignored survives exec"
    );
    ensure!(output == b"y\n", expected: "one line, \"y\\n\"", observed: bytes_in_words(&output), look: "`pipeline`");
    let (answer, _) = check.ask("`pipeline`: a shell that sends itself SIGPIPE", || {
        run(&[shell("kill -PIPE $$; exit 0")], b"")
    })?;
    ensure!(
        answer == Ok(vec![(true, libc::SIGPIPE)]),
        expected: "[Signalled(13)] for a command that sends itself SIGPIPE",
        observed: show_statuses(&answer),
        look: "the disposition of SIGPIPE in a pipeline of one command"
    );
    Ok(())
}

/// A program that cannot be executed is the error of exec, wherever it stands, and nobody is left behind.
fn a_missing_program_is_an_error(check: &mut Check) -> Outcome {
    let name = format!("/no-such-directory-{}/program", check.rng().below(1_000_000));
    for (program, error, explained) in [
        (name.as_str(), "NotFound", "does not exist"),
        ("/etc/passwd", "PermissionDenied", "is not executable"),
        ("", "NotFound", "has no name"),
    ] {
        for place in 0..3 {
            let mut commands = vec![command("sleep 1000"), command("sleep 1000"), command("sleep 1000")];
            commands[place] = vec![program.to_owned()];
            let what = format!("`pipeline` of three commands, number {} {explained}", place + 1);
            let (answer, children) = check.ask(&what, move || {
                let (answer, _) = run(&commands, b"");
                (answer, observe::children_of(std::process::id() as i32).len() as u64)
            })?;
            ensure!(
                is_error(&answer, error),
                expected: format!("the error {error}: command {} of 3, \"{program}\", {explained}", place + 1),
                observed: show_statuses(&answer),
                look: "how the child tells `pipeline` that exec failed"
            );
            ensure!(
                children == 0,
                expected: "every started command killed and waited for when one cannot be started",
                observed: format!("{children} children left when `pipeline` returned ({what})"),
                look: "the error path of `pipeline`"
            );
        }
    }
    for commands in [vec![command("cat"), vec![]], vec![command("echo a\0b"), command("cat")]] {
        let shown = format!("{commands:?}");
        let (answer, _) =
            check.ask("`pipeline` of something that is no command", move || run(&commands, b""))?;
        ensure!(is_error(&answer, "InvalidInput"), expected: format!("the error InvalidInput for {shown}"), observed: show_statuses(&answer), look: "`pipeline`: an empty command, a NUL byte");
    }
    Ok(())
}

/// With descriptor 0 (and 1) closed the new pipes take these numbers, and the data still flows.
fn a_closed_stdin_does_no_harm(check: &mut Check) -> Outcome {
    for closed in [vec![0], vec![0, 1]] {
        let word = String::from_utf8(letters(check.rng(), 12)).unwrap_or_default();
        let commands = [command(&format!("echo {word}")), command("cat"), shell("cat >&2")];
        let shown = format!("echo {word} | cat | cat >&2, called with {closed:?} closed");
        let numbers = closed.clone();
        let (answer, output) = check.ask(&format!("`pipeline`: {shown}"), move || {
            let stderr = memory_file(b"");
            let kept = memory_file(b"");
            let answer = redirected(0, &kept, || {
                redirected(1, &kept, || {
                    redirected(2, &stderr, || {
                        for &number in &numbers {
                            // SAFETY: `redirected` puts them back.
                            unsafe { libc::close(number) };
                        }
                        let words: Vec<Vec<&str>> =
                            commands.iter().map(|words| words.iter().map(String::as_str).collect()).collect();
                        let commands: Vec<&[&str]> = words.iter().map(Vec::as_slice).collect();
                        pipeline(&commands)
                    })
                })
            });
            (statuses(answer), contents(stderr))
        })?;
        let expected = format!("{word}\n");
        ensure!(
            answer == Ok(vec![(false, 0); 3]) && output == expected.as_bytes(),
            expected: format!("[Exited(0), Exited(0), Exited(0)] and {} ({shown})", bytes_in_words(expected.as_bytes())),
            observed: format!("{} and {}", show_statuses(&answer), bytes_in_words(&output)),
            look: "`pipeline` when a pipe end already has the number it shall be copied to: dup2(0, 0) does nothing"
        );
    }
    Ok(())
}

/// With ever more descriptors allowed, `pipeline` first fails and at last succeeds; nothing is ever left.
fn running_out_of_descriptors_leaves_nothing_behind(check: &mut Check) -> Outcome {
    let rounds = check.ask("`pipeline`: true | true | true with few descriptors", || {
        let me = std::process::id() as i32;
        let open = || fs::read_dir("/proc/self/fd").map(Iterator::count).unwrap_or(0) as u64;
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit");
        let quiet = memory_file(b"");
        let lowest = File::open("/dev/null").expect("/dev/null").as_raw_fd() as u64;
        redirected(2, &quiet, || {
            (0..12u64)
                .map(|more| {
                    let before = open();
                    setrlimit(Resource::RLIMIT_NOFILE, (lowest + more).min(hard), hard)
                        .expect("a lower limit");
                    let answer = statuses(pipeline(&[&["true"], &["true"], &["true"]]));
                    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).expect("the old limit");
                    (more, answer, open() as i64 - before as i64, observe::children_of(me).len() as u64)
                })
                .collect::<Vec<_>>()
        })
    })?;
    for (more, answer, leaked, children) in &rounds {
        ensure!(
            *leaked == 0 && *children == 0,
            expected: format!("no descriptor and no child left when only {more} more descriptors may be opened"),
            observed: format!("{leaked} descriptors and {children} children left, the answer was {}", show_statuses(answer)),
            look: "the error paths of `pipeline`"
        );
    }
    let first = &rounds[0].1;
    ensure!(is_error(first, "EMFILE") || first.is_err(), expected: "an error (EMFILE) when no descriptor may be opened", observed: show_statuses(first), look: "`pipeline`: the result of pipe2");
    let last = &rounds[rounds.len() - 1].1;
    ensure!(last.as_ref().is_ok_and(|all| all.len() == 3), expected: "three statuses when 11 more descriptors may be opened", observed: show_statuses(last), look: "how many descriptors `pipeline` has open at once");
    Ok(())
}

// Part 4 --------------------------------------------------------------------------------------------------

/// (stdout, stderr, status)
type Caught = (Vec<u8>, Vec<u8>, Ended);

fn caught(result: io::Result<Captured>) -> Told<Caught> {
    told(result.map(|all| (all.stdout, all.stderr, ended(all.status))))
}

fn show_caught(told: &Told<Caught>) -> String {
    match told {
        Ok((stdout, stderr, status)) => format!(
            "stdout {}; stderr {}; {}",
            bytes_in_words(stdout),
            bytes_in_words(stderr),
            show_statuses(&Ok(vec![*status]))
        ),
        Err(error) => format!("the error {error}"),
    }
}

/// Runs one script under `capture` and compares.
fn judge_capture(check: &mut Check, script: &str, input: Vec<u8>, how: PlanOf, expected: Caught) -> Outcome {
    let length = input.len();
    let case = format!("{script:?} with {length} bytes of input, {}", plan_in_words(&how));
    let text = script.to_owned();
    let answer = check.ask(&format!("`capture`: {case}"), move || {
        let (answer, _) = faults::with(plan(how), || capture(&["sh", "-c", &text], &input));
        caught(answer)
    })?;
    let expected = Ok(expected);
    ensure!(answer == expected, expected: format!("{} ({case})", show_caught(&expected)), observed: show_caught(&answer), look: "`capture`");
    Ok(())
}

/// Output, errors and status arrive, each in its own place.
fn both_outputs_and_the_status_are_captured(check: &mut Check) -> Outcome {
    let whole = (0, vec![]);
    for length in [0, 1, 1000] {
        let input = letters(check.rng(), length);
        let code = check.rng().below(200) as i32;
        let word = letters(check.rng(), 8);
        let script = format!("cat; printf {} >&2; exit {code}", word.escape_ascii());
        judge_capture(check, &script, input.clone(), whole.clone(), (input, word, (false, code)))?;
    }
    judge_capture(
        check,
        "echo out; kill -TERM $$",
        vec![],
        whole.clone(),
        (b"out\n".to_vec(), vec![], (true, libc::SIGTERM)),
    )?;
    judge_capture(check, "kill -PIPE $$; exit 0", vec![], whole, (vec![], vec![], (true, libc::SIGPIPE)))
}

/// Far more than a pipe holds, in every order of reading and writing.
fn no_size_deadlocks(check: &mut Check) -> Outcome {
    let size = 140_000 + check.rng().below(40_000) as usize;
    let input = letters(check.rng(), size);
    let zeros = vec![0; size];
    let write = format!("head -c {size} /dev/zero");
    let cases = [
        ("cat".to_owned(), input.clone(), vec![]),
        ("cat >&2".to_owned(), vec![], input.clone()),
        (format!("{write} >&2; cat"), input.clone(), zeros.clone()),
        (format!("{write}; cat >&2"), zeros.clone(), input.clone()),
        (format!("{write}; cat > /dev/null; {write} >&2"), zeros.clone(), zeros.clone()),
        (format!("{write} >&2; {write}; cat > /dev/null"), zeros.clone(), zeros),
    ];
    for (script, stdout, stderr) in cases {
        judge_capture(check, &script, input.clone(), (0, vec![]), (stdout, stderr, (false, 0)))?;
    }
    check.note(format!("six orders of reading and writing, {size} bytes each"));
    Ok(())
}

/// A command that does not want its input is no error.
fn input_nobody_reads_is_dropped(check: &mut Check) -> Outcome {
    let input = letters(check.rng(), 300_000);
    let whole = (0, vec![]);
    judge_capture(check, "exit 3", input.clone(), whole.clone(), (vec![], vec![], (false, 3)))?;
    judge_capture(
        check,
        "head -c 10",
        input.clone(),
        whole.clone(),
        (input[..10].to_vec(), vec![], (false, 0)),
    )?;
    judge_capture(
        check,
        "exec <&-; echo out; echo error >&2; exit 4",
        input,
        whole,
        (b"out\n".to_vec(), b"error\n".to_vec(), (false, 4)),
    )
}

/// Interrupted and shortened calls lose nothing.
fn capture_loses_nothing_when_interrupted(check: &mut Check) -> Outcome {
    // One interruption at a time: a loop that polls before each transfer would meet a regular pattern of
    // them at the same call again and again.
    let mut hows: Vec<PlanOf> = vec![(0, vec![1; 50])];
    for call in 0..CALLS.len() {
        hows.extend((0..3).map(|nth| (3, vec![call, nth])));
    }
    hows.extend((0..8).map(|_| (2, vec![check.rng().below(1 << 40) as usize])));
    for how in hows {
        let input = letters(check.rng(), 300);
        judge_capture(
            check,
            "cat; echo error >&2",
            input.clone(),
            how,
            (input, b"error\n".to_vec(), (false, 0)),
        )?;
    }
    Ok(())
}

/// While the command is silent, `capture` makes no system calls, whichever stream is closed already.
fn capture_waits_asleep(check: &mut Check) -> Outcome {
    for (script, stream) in [
        ("exec >&-; sleep 0.1; echo late >&2", "its output"),
        ("exec 2>&-; sleep 0.1; echo late", "its errors"),
        ("exec <&-; sleep 0.1; echo late", "its input"),
        ("sleep 0.1; echo late", "nothing"),
    ] {
        let (answer, calls) = check.ask(&format!("`capture`: {script}"), move || {
            let (answer, calls) =
                faults::with(Plan::none(), || capture(&["sh", "-c", script], &[b'x'; 100_000]));
            (caught(answer), calls.len() as u64)
        })?;
        ensure!(
            answer.is_ok(),
            expected: format!("an answer from {script:?}"),
            observed: show_caught(&answer),
            look: "`capture`"
        );
        // A careful implementation makes a few dozen calls; one that spins makes tens of thousands.
        ensure!(
            calls < 2000,
            expected: "`capture` sleeps while a command that has closed ".to_owned() + stream + " says nothing for 0.1 s",
            observed: format!("{calls} system calls"),
            look: "which descriptors the loop of `capture` still asks about after one has ended"
        );
    }
    Ok(())
}

/// The error of exec is returned, and a wrong command is refused.
fn capture_reports_a_missing_program(check: &mut Check) -> Outcome {
    for (words, error) in [
        (vec!["/no-such-directory/program"], "NotFound"),
        (vec!["/etc/passwd"], "PermissionDenied"),
        (vec![], "InvalidInput"),
        (vec!["echo", "a\0b"], "InvalidInput"),
    ] {
        let shown = format!("{words:?}");
        let (answer, children) = check.ask(&format!("`capture` of {shown}"), move || {
            let answer = caught(capture(&words, b"input"));
            (answer, observe::children_of(std::process::id() as i32).len() as u64)
        })?;
        ensure!(is_error(&answer, error), expected: format!("the error {error} for {shown}"), observed: show_caught(&answer), look: "how the child tells `capture` that exec failed");
        ensure!(children == 0, expected: "no child left", observed: format!("{children} children left after {shown}"), look: "the error path of `capture`");
    }
    Ok(())
}

// Part 5 --------------------------------------------------------------------------------------------------

/// A directory for one check, removed when the check ends.
struct Place(PathBuf);

impl Place {
    fn new() -> Result<Place, Stop> {
        let path = std::env::temp_dir().join(format!("pipes-{}", std::process::id()));
        fs::create_dir(&path).map_err(|error| Stop::inconclusive(format!("{}: {error}", path.display())))?;
        Ok(Place(path))
    }

    fn fifo(&self) -> PathBuf {
        self.0.join("log")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Both ends of a FIFO without any server, as Linux allows; reading never waits.
fn both_ends(path: &Path) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .expect("opening the FIFO")
}

/// What is in the FIFO now.
fn drain(mut fifo: &File) -> Vec<u8> {
    let mut all = Vec::new();
    let mut piece = [0; 65536];
    while let Ok(count) = fifo.read(&mut piece) {
        all.extend_from_slice(&piece[..count]);
    }
    all
}

fn make_fifo(path: &Path) -> Outcome {
    mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR)
        .map_err(|errno| Stop::inconclusive(format!("mkfifo: {errno}")))
}

/// Line and newline leave in a single write, at every length, also after an interruption.
fn a_line_is_one_write(check: &mut Check) -> Outcome {
    let place = Place::new()?;
    make_fifo(&place.fifo())?;
    let mut lengths = vec![0, 1, 2, 80, libc::PIPE_BUF - 2, libc::PIPE_BUF - 1];
    lengths.extend((0..10).map(|_| check.rng().below(libc::PIPE_BUF as u64) as usize));
    for length in lengths {
        for how in [(0, vec![]), (1, vec![1])] {
            let line = letters(check.rng(), length);
            let (path, sent, used) = (place.fifo(), line.clone(), how.clone());
            let (answer, writes, arrived) =
                check.ask(&format!("`Logger::log` of {length} bytes"), move || {
                    let fifo = both_ends(&path);
                    let logger = match Logger::connect(&path) {
                        Ok(logger) => logger,
                        Err(error) => return (told(Err(error)), vec![], vec![]),
                    };
                    let (answer, calls) = faults::with(plan(used), || logger.log(&sent));
                    let writes: Vec<u64> = calls
                        .iter()
                        .filter(|call| call.is("write"))
                        .filter_map(|call| call.transferred())
                        .map(|count| count as u64)
                        .collect();
                    (told(answer), writes, drain(&fifo))
                })?;
            let case = format!("a line of {length} bytes, {}", plan_in_words(&how));
            ensure!(answer.is_ok(), expected: format!("success ({case})"), observed: format!("{answer:?}"), look: "`Logger::log`");
            let whole = [line, b"\n".to_vec()].concat();
            ensure!(arrived == whole, expected: format!("{} ({case})", bytes_in_words(&whole)), observed: bytes_in_words(&arrived), look: "`Logger::log`");
            ensure!(
                writes.len() == 1,
                expected: format!("one write of {} bytes ({case})", length + 1),
                observed: format!("{} writes, of {writes:?} bytes: another writer's line can get in between", writes.len()),
                look: "`Logger::log`: put line and newline together before writing"
            );
        }
    }
    Ok(())
}

/// Four writers at full speed; every line arrives whole, and each writer's lines in order.
fn lines_never_interleave(check: &mut Check) -> Outcome {
    const WRITERS: usize = 4;
    const LINES: usize = 60;
    let place = Place::new()?;
    let ready = Shared::new(AtomicUsize::new(0));
    let path = place.fifo();
    let server = check.spawn("the log server", || -> Told<Vec<Vec<u8>>> {
        let mut server = told(LogServer::create(&path))?;
        ready.store(1, Ordering::Release);
        let mut lines = Vec::new();
        told(server.serve(|line| {
            lines.push(line.to_vec());
            if lines.len() == WRITERS * LINES { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }))?;
        Ok(lines)
    })?;
    let mut server = server;
    check
        .wait_until("`LogServer::create` returns", || ready.load(Ordering::Acquire) == 1 || server.ended())?;
    if ready.load(Ordering::Acquire) == 0 {
        let answer = server.join()?;
        return Err(Stop::failed("a server", format!("{answer:?}"), "`LogServer::create`"));
    }
    check.workers(WRITERS, "write lines to the log", |worker| {
        let logger = Logger::connect(&path).expect("`Logger::connect` while the server runs");
        for number in 0..LINES {
            let length = worker.rng().below(3000) as usize;
            let mut line = format!("{} {number} ", worker.index()).into_bytes();
            line.resize(line.len() + length, b'a' + worker.index() as u8);
            logger.log(&line).expect("`Logger::log` while the server runs");
            worker.progress();
        }
    })?;
    let lines = server.join()?;
    let lines = match lines {
        Ok(lines) => lines,
        Err(error) => {
            return Err(Stop::failed("all lines", format!("the error {error}"), "`LogServer::serve`"));
        }
    };
    let mut next = [0; WRITERS];
    for line in &lines {
        let whole = (0..WRITERS).find(|&writer| {
            let head = format!("{writer} {} ", next[writer]);
            line.strip_prefix(head.as_bytes())
                .is_some_and(|rest| rest.iter().all(|&byte| byte == b'a' + writer as u8))
        });
        match whole {
            Some(writer) => next[writer] += 1,
            None => {
                return Err(Stop::failed(
                    format!("the next line of one of the writers, which are at {next:?}"),
                    bytes_in_words(line),
                    "`Logger::log` (one write for a line) and `LogServer::serve` (cutting at newlines)",
                ));
            }
        }
    }
    check.note(format!("{} lines by {WRITERS} writers", lines.len()));
    Ok(())
}

/// Three times the last writer goes, and the server waits for the next.
fn the_server_survives_writers_coming_and_going(check: &mut Check) -> Outcome {
    let place = Place::new()?;
    let path = place.fifo();
    // 0: nothing yet; 1 + n: the server exists and has handled n lines.
    let handled = Shared::new(AtomicUsize::new(0));
    let mut server = check.spawn("the log server", || -> Told<u64> {
        let mut server = told(LogServer::create(&path))?;
        handled.store(1, Ordering::Release);
        let mut count = 0;
        told(server.serve(|line| {
            count += 1;
            handled.store(1 + count, Ordering::Release);
            if line == b"end" { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }))?;
        Ok(count as u64)
    })?;
    let pid = server.pid();
    for (number, line) in ["one", "two", "three", "end"].into_iter().enumerate() {
        let asleep = |server: &mut harness::Student<Told<u64>>| {
            server.ended()
                || (handled.load(Ordering::Acquire) == 1 + number
                    && observe::state_of(pid) == Some('S')
                    && observe::blocked_in(pid, pid).is_some())
        };
        check
            .wait_until(&format!("the server sleeps, {number} lines handled, no writer connected"), || {
                asleep(&mut server)
            })?;
        if server.ended() {
            let answer = server.join()?;
            return Err(Stop::failed(
                format!("`serve` waits for the next writer after {number} lines and as many writers"),
                format!("`serve` ended with {answer:?}"),
                "`LogServer::serve`: the end of the stream when the last writer closes, and how `create` avoids it",
            ));
        }
        let to = path.clone();
        let answer = check.ask("`Logger::connect` and `log`, then the writer goes", move || {
            told(Logger::connect(&to).and_then(|logger| logger.log(line.as_bytes())))
        })?;
        ensure!(answer.is_ok(), expected: format!("writer {} connects and logs \"{line}\"", number + 1), observed: format!("{answer:?}"), look: "`LogServer`: the read end stays open from `create` to drop");
    }
    let answer = server.join()?;
    ensure!(answer == Ok(4), expected: "four lines handled", observed: format!("{answer:?}"), look: "`LogServer::serve`");
    Ok(())
}

/// Lines come out whole and in order however the bytes come in, and `serve` can be called again.
fn lines_are_put_together_from_any_pieces(check: &mut Check) -> Outcome {
    let place = Place::new()?;
    let mut hows: Vec<PlanOf> = splits(6).into_iter().map(|pieces| (0, pieces)).collect();
    hows.push((0, vec![1; 200]));
    hows.push((0, vec![]));
    hows.extend([(1, vec![1]), (1, vec![2])]);
    hows.extend((0..6).map(|_| (2, vec![check.rng().below(1 << 40) as usize])));
    let path = place.fifo();
    let mut student =
        check.respondent(
            "`LogServer::serve`",
            move |(lines, stops, how): (Vec<Vec<u8>>, Vec<bool>, PlanOf)| -> Told<Vec<Vec<u8>>> {
                let mut server = told(LogServer::create(&path))?;
                let mut writer = told(OpenOptions::new().write(true).open(&path))?;
                told(writer.write_all(
                    &lines.iter().flat_map(|line| [line, &b"\n"[..]].concat()).collect::<Vec<u8>>(),
                ))?;
                let mut seen: Vec<Vec<u8>> = Vec::new();
                let (answer, _) = faults::with(plan(how), || {
                    while seen.len() < lines.len() {
                        server.serve(|line| {
                            seen.push(line.to_vec());
                            let stop = seen.len() >= lines.len() || stops[seen.len()];
                            if stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                        })?;
                    }
                    Ok(())
                });
                told(answer)?;
                Ok(seen)
            },
        )?;
    for how in hows {
        let mut lines: Vec<Vec<u8>> = Vec::new();
        for length in [1, 0, 2, 4095, 0, 30] {
            lines.push(letters(check.rng(), length));
        }
        let stops: Vec<bool> = (0..lines.len()).map(|_| check.rng().chance(40)).collect();
        let answer = student.ask((lines.clone(), stops.clone(), how.clone()))?;
        let seen: Told<Vec<usize>> = answer.clone().map(|lines| lines.iter().map(Vec::len).collect());
        ensure!(
            answer.as_ref() == Ok(&lines),
            expected: format!(
                "lines of [1, 0, 2, 4095, 0, 30] bytes, in order ({}; `on_line` broke off {} times in between)",
                plan_in_words(&how),
                stops.iter().filter(|&&stop| stop).count()
            ),
            observed: format!("lines of {seen:?} bytes{}", if seen == Ok(vec![1, 0, 2, 4095, 0, 30]) { ", with other contents" } else { "" }),
            look: "`LogServer::serve`: what it keeps when a read ends inside a line, or when `on_line` breaks off"
        );
    }
    Ok(())
}

/// `connect` never waits, and says what is missing.
fn no_server_is_an_error_at_once(check: &mut Check) -> Outcome {
    let place = Place::new()?;
    make_fifo(&place.fifo())?;
    let path = place.fifo();
    let answer = check.ask("`Logger::connect` to a FIFO that no server has open", move || {
        told(Logger::connect(&path).map(drop))
    })?;
    ensure!(is_error(&answer, "ENXIO"), expected: "the error ENXIO for a FIFO without a server", observed: format!("{answer:?}"), look: "the flags `Logger::connect` opens the FIFO with");
    let path = place.0.join("nothing");
    let answer = check.ask("`Logger::connect` to a name that does not exist", move || {
        told(Logger::connect(&path).map(drop))
    })?;
    ensure!(is_error(&answer, "NotFound"), expected: "the error NotFound for a name that does not exist", observed: format!("{answer:?}"), look: "`Logger::connect`");
    ensure!(!place.0.join("nothing").exists(), expected: "no file made by `connect`", observed: "a new file of that name", look: "`Logger::connect`: no O_CREAT");
    let file = place.0.join("file");
    fs::write(&file, "text").map_err(|error| Stop::inconclusive(error.to_string()))?;
    let path = file.clone();
    let answer =
        check.ask("`Logger::connect` to a regular file", move || told(Logger::connect(&path).map(drop)))?;
    let text = fs::read_to_string(&file).unwrap_or_default();
    ensure!(is_error(&answer, "InvalidInput") && text == "text", expected: "the error InvalidInput for a regular file, which stays as it was", observed: format!("{answer:?}, and the file contains {text:?}"), look: "`Logger::connect`: ask fstat what was opened");
    let path = place.0.join("gone");
    let answer = check.ask("`Logger::log` after the server has gone", move || -> Told<Told<()>> {
        let server = told(LogServer::create(&path))?;
        let logger = told(Logger::connect(&path))?;
        drop(server);
        Ok(told(logger.log(b"anybody there?")))
    })?;
    ensure!(
        answer.as_ref().is_ok_and(|answer| is_error(answer, "BrokenPipe")),
        expected: "the error BrokenPipe when the server has gone",
        observed: format!("{answer:?}"),
        look: "`Logger::log` and which ends of the FIFO are still open"
    );
    Ok(())
}

/// A writer sleeps while there is no room, and its line arrives when there is.
fn a_full_fifo_makes_writers_wait(check: &mut Check) -> Outcome {
    let place = Place::new()?;
    make_fifo(&place.fifo())?;
    let fifo = both_ends(&place.fifo());
    let mut filled = 0;
    while let Ok(count) = (&fifo).write(&[b'.'; libc::PIPE_BUF]) {
        filled += count;
    }
    let line = letters(check.rng(), 50);
    let (path, sent) = (place.fifo(), line.clone());
    let connected = Shared::new(AtomicUsize::new(0));
    let mut writer = check.spawn("a writer to a full FIFO", || {
        let logger = told(Logger::connect(&path))?;
        connected.store(1, Ordering::Release);
        told(logger.log(&sent))
    })?;
    let pid = writer.pid();
    check.wait_until("the writer sleeps in `Logger::log`", || {
        writer.ended()
            || (connected.load(Ordering::Acquire) == 1
                && observe::state_of(pid) == Some('S')
                && observe::blocked_in(pid, pid).is_some())
    })?;
    if writer.ended() {
        let answer = writer.join()?;
        return Err(Stop::failed(
            format!("`Logger::log` waits for room ({filled} bytes fill the FIFO)"),
            format!("it returned {answer:?}"),
            "O_NONBLOCK, which `Logger::connect` needs for open and `Logger::log` must not have for write",
        ));
    }
    let mut arrived = drain(&fifo);
    let answer = writer.join()?;
    arrived.extend(drain(&fifo));
    ensure!(answer.is_ok(), expected: "success once there is room", observed: format!("{answer:?}"), look: "`Logger::log`");
    let whole = [line, b"\n".to_vec()].concat();
    ensure!(arrived[filled.min(arrived.len())..] == whole, expected: bytes_in_words(&whole), observed: bytes_in_words(&arrived[filled.min(arrived.len())..]), look: "`Logger::log`");
    Ok(())
}

/// What cannot be one line in one write is refused and leaves no trace.
fn overlong_lines_are_refused(check: &mut Check) -> Outcome {
    let place = Place::new()?;
    make_fifo(&place.fifo())?;
    let longer = libc::PIPE_BUF + check.rng().below(100) as usize;
    for (line, what) in [
        (vec![b'x'; libc::PIPE_BUF], "a line of PIPE_BUF bytes, 4,097 with its newline".to_owned()),
        (vec![b'x'; longer], format!("a line of {longer} bytes")),
        (b"two\nlines".to_vec(), "a line with a newline in it".to_owned()),
        (b"end\n".to_vec(), "a line that ends with a newline".to_owned()),
    ] {
        let path = place.fifo();
        let (answer, arrived) = check.ask(&format!("`Logger::log` of {what}"), move || {
            let fifo = both_ends(&path);
            let answer = told(Logger::connect(&path).and_then(|logger| logger.log(&line)));
            (answer, drain(&fifo))
        })?;
        ensure!(
            is_error(&answer, "InvalidInput") && arrived.is_empty(),
            expected: format!("the error InvalidInput and nothing written for {what}"),
            observed: format!("{answer:?} and {}", show(&Ok(arrived))),
            look: "`Logger::log`: what it refuses before it writes"
        );
    }
    Ok(())
}

/// The name lives as long as the server, and no longer; somebody else's name is left alone.
fn the_fifo_is_removed_at_the_end(check: &mut Check) -> Outcome {
    let place = Place::new()?;
    let path = place.fifo();
    let answer = check.ask("`LogServer::create`, then drop", move || -> Told<(bool, u32, bool)> {
        let server = told(LogServer::create(&path))?;
        let during = told(fs::symlink_metadata(&path))?;
        drop(server);
        Ok((during.file_type().is_fifo(), during.permissions().mode() & 0o777, path.exists()))
    })?;
    let (fifo, mode, left) = match answer {
        Ok(answer) => answer,
        Err(error) => {
            return Err(Stop::failed(
                "a server at a new name",
                format!("the error {error}"),
                "`LogServer::create`",
            ));
        }
    };
    ensure!(fifo && mode & 0o077 == 0, expected: "a FIFO that its owner alone may open (mode 600)", observed: format!("fifo: {fifo}, mode {mode:o}"), look: "the mode in `LogServer::create`");
    ensure!(!left, expected: "no name left after the server was dropped", observed: "the FIFO is still there", look: "`impl Drop for LogServer`");
    let file = place.0.join("file");
    fs::write(&file, "text").map_err(|error| Stop::inconclusive(error.to_string()))?;
    make_fifo(&place.fifo())?;
    for (path, what) in [(file, "a regular file"), (place.fifo(), "somebody else's FIFO")] {
        let name = path.clone();
        let answer = check.ask(&format!("`LogServer::create` where {what} has the name"), move || {
            told(LogServer::create(&name).map(drop))
        })?;
        ensure!(is_error(&answer, "AlreadyExists"), expected: format!("the error AlreadyExists where {what} has the name"), observed: format!("{answer:?}"), look: "`LogServer::create`");
        ensure!(path.exists(), expected: format!("{what} left as it was"), observed: "it is gone", look: "the error path of `LogServer::create`");
    }
    Ok(())
}
