use super::*;

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
fn judge_capture(
    check: &mut Check,
    (script, look): (&str, &str),
    input: Vec<u8>,
    how: PlanOf,
    expected: Caught,
) -> Outcome {
    let length = input.len();
    let case = format!("{script:?} with {length} bytes of input, {}", plan_in_words(&how));
    let text = script.to_owned();
    let answer = check.ask(&format!("`capture`: {case}"), move || {
        let (answer, _) = faults::with(plan(how), || capture(&["sh", "-c", &text], &input));
        caught(answer)
    })?;
    let expected = Ok(expected);
    ensure!(answer == expected, expected: format!("{} ({case})", show_caught(&expected)), observed: show_caught(&answer), look: look);
    Ok(())
}

/// Output, errors and status arrive, each in its own place.
pub fn both_outputs_and_the_status_are_captured(check: &mut Check) -> Outcome {
    let whole = (0, vec![]);
    for length in [0, 1, 1000] {
        let input = letters(check.rng(), length);
        let code = check.rng().below(200) as i32;
        let word = letters(check.rng(), 8);
        let script = format!("cat; printf {} >&2; exit {code}", word.escape_ascii());
        let look = "`capture`: which stream goes where, and when the command gets its end of file";
        judge_capture(check, (&script, look), input.clone(), whole.clone(), (input, word, (false, code)))?;
    }
    judge_capture(
        check,
        ("echo out; kill -TERM $$", "`capture`: how it reads the wait status"),
        vec![],
        whole.clone(),
        (b"out\n".to_vec(), vec![], (true, libc::SIGTERM)),
    )?;
    let look = "the disposition of SIGPIPE between fork and exec in `capture`: ignored survives exec";
    let expected = (vec![], vec![], (true, libc::SIGPIPE));
    judge_capture(check, ("kill -PIPE $$; exit 0", look), vec![], whole, expected)?;
    others_are_left_alone(check, "`capture`", || {
        told(capture(&["sh", "-c", "exit 5"], b"").map(|all| vec![ended(all.status)]))
    })
}

/// Far more than a pipe holds, in every order of reading and writing.
pub fn no_size_deadlocks(check: &mut Check) -> Outcome {
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
        let look =
            "`capture`: what it collects while it still writes, and what is left when one stream has ended";
        judge_capture(check, (&script, look), input.clone(), (0, vec![]), (stdout, stderr, (false, 0)))?;
    }
    check.note(format!("six orders of reading and writing, {size} bytes each"));
    Ok(())
}

/// A command that does not want its input is no error.
pub fn input_nobody_reads_is_dropped(check: &mut Check) -> Outcome {
    let input = letters(check.rng(), 300_000);
    let whole = (0, vec![]);
    let look = "`capture`: what it does when writing to the command fails with EPIPE";
    judge_capture(check, ("exit 3", look), input.clone(), whole.clone(), (vec![], vec![], (false, 3)))?;
    judge_capture(
        check,
        ("head -c 10", look),
        input.clone(),
        whole.clone(),
        (input[..10].to_vec(), vec![], (false, 0)),
    )?;
    judge_capture(
        check,
        ("exec <&-; echo out; echo error >&2; exit 4", look),
        input,
        whole,
        (b"out\n".to_vec(), b"error\n".to_vec(), (false, 4)),
    )
}

/// Interrupted and shortened calls lose nothing.
pub fn capture_loses_nothing_when_interrupted(check: &mut Check) -> Outcome {
    let mut hows: Vec<PlanOf> = vec![(0, vec![1; 50]), (1, vec![1]), (1, vec![2])];
    for call in 0..CALLS.len() {
        hows.extend((0..3).map(|nth| (3, vec![call, nth])));
    }
    hows.extend((0..8).map(|_| (2, vec![check.rng().below(1 << 40) as usize])));
    let look = "`capture`: each of its calls may be interrupted (EINTR), poll(2) and waitpid(2) as well, or move fewer bytes";
    for how in hows {
        let input = letters(check.rng(), 300);
        judge_capture(
            check,
            ("cat; echo error >&2", look),
            input.clone(),
            how,
            (input, b"error\n".to_vec(), (false, 0)),
        )?;
    }
    Ok(())
}

/// While the command is silent, `capture` makes no system calls, whichever stream is closed already.
pub fn capture_waits_asleep(check: &mut Check) -> Outcome {
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
            look: "the loop of `capture`: how long it lets poll(2) wait, and which descriptors it still asks about after one has ended"
        );
    }
    Ok(())
}

/// The error of exec is returned, and a wrong command is refused.
pub fn capture_reports_a_missing_program(check: &mut Check) -> Outcome {
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
