//! What the pipes lab promises, part by part.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use harness::faults::{self, Plan};
use harness::{Bystander, Check, Outcome, Rng, Shared, Stop, Student, ensure, observe};
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use pipes::{
    Captured, Filled, LogServer, Logger, Status, capture, pipeline, read_exact, read_frame, write_all,
    write_frame,
};

#[path = "checks/capture.rs"]
mod capture;
#[path = "checks/frames.rs"]
mod frames;
#[path = "checks/log_server.rs"]
mod log_server;
#[path = "checks/logger.rs"]
mod logger;
#[path = "checks/pipeline.rs"]
mod pipeline;
#[path = "checks/transfers.rs"]
mod transfers;

harness::checks! {
    "the-buffer-is-filled-however-the-bytes-arrive" => transfers::the_buffer_is_filled_however_the_bytes_arrive,
    "interrupted-calls-are-repeated" => transfers::interrupted_calls_are_repeated,
    "an-end-in-the-middle-is-an-error" => transfers::an_end_in_the_middle_is_an_error,
    "every-byte-is-written" => transfers::every_byte_is_written,
    "a-closed-reader-is-an-error" => transfers::a_closed_reader_is_an_error,
    "a-frame-is-its-length-and-its-payload" => frames::a_frame_is_its_length_and_its_payload,
    "boundaries-survive-any-split" => frames::boundaries_survive_any_split,
    "truncated-frames-are-refused" => frames::truncated_frames_are_refused,
    "oversized-frames-are-refused" => frames::oversized_frames_are_refused,
    "output-flows-through-every-command" => pipeline::output_flows_through_every_command,
    "every-status-is-returned" => pipeline::every_status_is_returned,
    "unused-ends-are-closed" => pipeline::unused_ends_are_closed,
    "commands-start-with-default-sigpipe" => pipeline::commands_start_with_default_sigpipe,
    "a-missing-program-is-an-error" => pipeline::a_missing_program_is_an_error,
    "a-closed-stdin-does-no-harm" => pipeline::a_closed_stdin_does_no_harm,
    "running-out-of-descriptors-leaves-nothing-behind" => pipeline::running_out_of_descriptors_leaves_nothing_behind,
    "both-outputs-and-the-status-are-captured" => capture::both_outputs_and_the_status_are_captured,
    "no-size-deadlocks" => capture::no_size_deadlocks,
    "input-nobody-reads-is-dropped" => capture::input_nobody_reads_is_dropped,
    "capture-loses-nothing-when-interrupted" => capture::capture_loses_nothing_when_interrupted,
    "capture-waits-asleep" => capture::capture_waits_asleep,
    "capture-reports-a-missing-program" => capture::capture_reports_a_missing_program,
    "a-line-is-one-write" => logger::a_line_is_one_write,
    "lines-never-interleave" => logger::lines_never_interleave,
    "the-server-survives-writers-coming-and-going" => log_server::the_server_survives_writers_coming_and_going,
    "lines-are-put-together-from-any-pieces" => log_server::lines_are_put_together_from_any_pieces,
    "no-server-is-an-error-at-once" => log_server::no_server_is_an_error_at_once,
    "a-full-fifo-makes-writers-wait" => logger::a_full_fifo_makes_writers_wait,
    "overlong-lines-are-refused" => logger::overlong_lines_are_refused,
    "the-fifo-is-removed-at-the-end" => log_server::the_fifo_is_removed_at_the_end,
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

/// How an answer without a value of interest reads in a message.
fn show_done<T>(told: &Told<T>) -> String {
    match told {
        Ok(_) => "success".to_owned(),
        Err(error) => format!("the error {error}"),
    }
}

fn bytes_in_words(bytes: &[u8]) -> String {
    match bytes.len() {
        0 => "nothing".to_owned(),
        1 => format!("1 byte: \"{}\"", bytes.escape_ascii()),
        length @ 2..=24 => format!("{length} bytes: \"{}\"", bytes.escape_ascii()),
        length => format!("{length} bytes, beginning \"{}\"", bytes[..24].escape_ascii()),
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

/// What comes of `call`, of a command that ends with 5, while another child of the caller's has ended, which is there to be
/// waited for afterwards.
fn others_are_left_alone(
    check: &mut Check,
    function: &str,
    call: impl FnOnce() -> Told<Vec<Ended>>,
) -> Outcome {
    let what = format!("{function} while another child of the caller has ended");
    let answer = check.ask(&what, || {
        let bystander = Bystander::new().map_err(|error| error.to_string())?;
        let answer = call();
        Ok((answer, bystander.is_left()))
    })?;
    let (answer, is_left) = answer.map_err(|error: String| Stop::inconclusive(format!("`fork`: {error}")))?;
    let stolen =
        format!(", and the other child, which had ended with {}, has been waited for", Bystander::CODE);
    ensure!(
        is_left && answer == Ok(vec![(false, 5)]),
        expected: format!("[Exited(5)] of {what}, and that child left to whoever made it"),
        observed: format!("{}{}", show_statuses(&answer), if is_left { "" } else { &stolen }),
        look: format!("`waitpid` in {function}: which child it waits for")
    );
    Ok(())
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
/// `numbers[0]`-th call (1 or 2) of each kind, 2 does both at random with the seed `numbers[0]`, 3 interrupts one call only: the
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
        1 => "every second call of each kind is interrupted (EINTR)".into(),
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
