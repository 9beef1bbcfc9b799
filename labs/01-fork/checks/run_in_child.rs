//! Part 1: a function in a child, its end told, nothing of it in the caller.

use super::*;

/// `f` runs once, in a child of the caller; the caller's memory is untouched.
pub fn runs_in_a_child(check: &mut Check) -> Outcome {
    let runs = Shared::new(AtomicU32::new(0));
    let (pid, parent) = (Shared::new(AtomicI32::new(0)), Shared::new(AtomicI32::new(0)));
    let (caller, mine) = ask(check, "`run_in_child`", "`run_in_child(f)`", |home| {
        let mut mine = 1;
        let _ = home.call(|| {
            run_in_child(|| {
                runs.fetch_add(1, SeqCst);
                pid.store(me(), SeqCst);
                parent.store(std::os::unix::process::parent_id().cast_signed(), SeqCst);
                mine += 1;
                std::hint::black_box(&mut mine);
                0
            })
        });
        (me(), mine)
    })?;
    let (runs, pid, parent) = (runs.load(SeqCst), pid.load(SeqCst), parent.load(SeqCst));
    ensure!(runs == 1, expected: "`f` runs once", observed: "it ran {runs} times", look: "both sides of the `fork` in `run_in_child`");
    ensure!(pid != caller, expected: "`f` runs in a child process", observed: "it ran in the caller, process {caller}", look: "which side of the `fork` calls `f`");
    ensure!(parent == caller, expected: "the parent of the process that runs `f` is the caller, {caller}", observed: "its parent is {parent}", look: "`run_in_child`");
    ensure!(mine == 1, expected: "a variable of the caller is still 1 after `f` made it 2 in the child", observed: "it is {mine}", look: "which side of the `fork` calls `f`");
    Ok(())
}

/// Every exit code from 0 to 255 comes back as `Code`.
pub fn exit_codes_are_told(check: &mut Check) -> Outcome {
    let mut codes: Vec<u8> = (0..=255).collect();
    check.rng().shuffle(&mut codes);
    let answers = ask(check, "`run_in_child`", "`run_in_child(|| code)`", |home| {
        codes.iter().map(|&code| told(home.call(|| run_in_child(move || code)))).collect::<Vec<_>>()
    })?;
    for (code, answer) in codes.iter().zip(&answers) {
        let seen = describe(answer);
        ensure!(
            *answer == Ok((false, i32::from(*code))),
            expected: "Code({code}) for a child whose `f` returns {code}",
            observed: "{seen}",
            look: "how the status word is taken apart: `WIFEXITED`, `WEXITSTATUS`"
        );
    }
    check.note("all 256 exit codes");
    Ok(())
}

/// A signal and what to call it.
type Named = (i32, String);

fn signals_are_told(check: &mut Check, signals: &[Named], look: &str) -> Outcome {
    let answers =
        ask(check, "`run_in_child`", "`run_in_child` of a function that dies by a signal", |home| {
            signals
                .iter()
                .map(|&(signal, _)| told(home.call(|| run_in_child(move || die_by(signal)))))
                .collect::<Vec<_>>()
        })?;
    for ((signal, name), answer) in signals.iter().zip(&answers) {
        let seen = describe(answer);
        ensure!(
            *answer == Ok((true, *signal)),
            expected: "Signal({signal}) for a child killed by {name}",
            observed: "{seen}",
            look: look.to_string()
        );
    }
    let names: Vec<&str> = signals.iter().map(|(_, name)| name.as_str()).collect();
    check.note(names.join(", "));
    Ok(())
}

/// Death by an ordinary signal is told apart from an exit code.
pub fn death_by_signal_is_told(check: &mut Check) -> Outcome {
    let mut signals = [
        (libc::SIGKILL, "SIGKILL"),
        (libc::SIGTERM, "SIGTERM"),
        (libc::SIGSEGV, "SIGSEGV"),
        (libc::SIGABRT, "SIGABRT"),
        (libc::SIGUSR1, "SIGUSR1"),
        (libc::SIGHUP, "SIGHUP"),
        (libc::SIGALRM, "SIGALRM"),
    ]
    .map(|(signal, name)| (signal, name.to_string()));
    check.rng().shuffle(&mut signals);
    let look =
        "how the status is taken apart: ask whether there is an exit code (`WIFEXITED`) before reading one";
    signals_are_told(check, &signals, look)
}

/// Death by a real-time signal is told too.
pub fn real_time_signals_are_told(check: &mut Check) -> Outcome {
    let first = libc::SIGRTMIN();
    let mut signals: Vec<Named> =
        (first..=libc::SIGRTMAX()).map(|signal| (signal, format!("SIGRTMIN+{}", signal - first))).collect();
    check.rng().shuffle(&mut signals);
    signals.truncate(4);
    let look = "the wait: nix's `waitpid` has no name for real-time signals and answers EINVAL, `libc::waitpid` tells the status";
    signals_are_told(check, &signals, look)
}

/// The code after the call runs in the caller only, also when `f` panics.
pub fn code_after_the_call_runs_once(check: &mut Check) -> Outcome {
    let calls = 2 + check.rng().below(4) as usize;
    let after = Shared::new(AtomicU32::new(0));
    let failures = ask(check, "`run_in_child`", "`run_in_child(f)`", |home| {
        let mut failures = Vec::new();
        for _ in 0..calls {
            failures.extend(text(home.call(|| run_in_child(|| 3))).err());
            after.fetch_add(1, SeqCst);
        }
        failures
    })?;
    went_well(&failures, "`run_in_child`")?;
    let after = after.load(SeqCst) as usize;
    ensure!(after == calls, expected: "the line after {calls} calls runs {calls} times", observed: "it ran {after} times", look: "the child's side of `run_in_child`");
    Ok(())
}

/// A panic in `f` ends the child with code 101 and goes no further.
pub fn a_panic_stays_in_the_child(check: &mut Check) -> Outcome {
    let (returned, answer) =
        ask(check, "`run_in_child`", "`run_in_child` of a function that panics", |home| {
            (told(home.call(|| run_in_child(|| 101))), told(home.call(|| run_in_child(|| panic_quietly()))))
        })?;
    // Told apart first: a status that is read wrongly says nothing about panics.
    let seen = describe(&returned);
    ensure!(returned == Ok((false, 101)), expected: "Code(101) for a child whose `f` returns 101", observed: "{seen}", look: "how the status is taken apart: the exit code is its second byte, `WEXITSTATUS`");
    let seen = describe(&answer);
    ensure!(answer == Ok((false, 101)), expected: "Code(101) for a child whose `f` panics", observed: "{seen}", look: "`catch_unwind` in the child of `run_in_child`");
    Ok(())
}

/// What was buffered before the fork and what `f` prints appears exactly once.
pub fn output_appears_once(check: &mut Check) -> Outcome {
    let word = format!("{:04x}", check.rng().below(0x10000));
    let expected = format!("before-{word} inside-{word} after-{word}\n");
    let word = &word;
    let (rust, c) = ask(check, "`run_in_child`", "`run_in_child` with unflushed output", |home| {
        let (rust, c) = (memory_file(), memory_file());
        // SAFETY: descriptors and strings are valid; the stream is closed below, in this process.
        let (stdout, stream) = unsafe {
            let saved = libc::dup(1);
            libc::dup2(rust.as_raw_fd(), 1);
            let stream = libc::fdopen(libc::dup(c.as_raw_fd()), c"w".as_ptr());
            libc::fputs(c"once\n".as_ptr(), stream);
            (OwnedFd::from_raw_fd(saved), stream)
        };
        let _ = write!(io::stdout(), "before-{word} ");
        let _ = home.call(|| {
            run_in_child(|| {
                let _ = write!(io::stdout(), "inside-{word} ");
                0
            })
        });
        let _ = writeln!(io::stdout(), "after-{word}");
        // SAFETY: as above; nothing uses the stream afterwards.
        unsafe {
            libc::fclose(stream);
            libc::dup2(stdout.as_raw_fd(), 1);
        }
        (contents(&rust), contents(&c))
    })?;
    ensure!(
        rust == expected,
        expected: "standard output holds {expected:?}",
        observed: "{rust:?}",
        look: "`run_in_child`: flush `stdout` before the `fork`, and in the child before `_exit`"
    );
    ensure!(
        c == "once\n",
        expected: "a line buffered by C code before the call is written once",
        observed: "the file holds {c:?}",
        look: "how the child ends: `exit` writes inherited stdio buffers, `_exit` does not"
    );
    Ok(())
}

fn memory_file() -> fs::File {
    // SAFETY: the name is a C string; a fresh descriptor is ours alone.
    unsafe { fs::File::from_raw_fd(libc::memfd_create(c"output".as_ptr(), libc::MFD_CLOEXEC)) }
}

fn contents(file: &fs::File) -> String {
    fs::read_to_string(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap_or_default()
}

/// A signal during the wait does not end it, whichever call waits.
pub fn an_interrupted_wait_goes_on(check: &mut Check) -> Outcome {
    let times = 1 + check.rng().below(3) as usize;
    let (answer, interrupted) =
        ask(check, "`run_in_child`", "`run_in_child` while signals arrive", |home| {
            let (mut left, caller) = (times, me());
            let plan = Plan::new(move |call| {
                if !call.interruptible || left == 0 || me() != caller {
                    return Action::Proceed;
                }
                left -= 1;
                Action::Fail(libc::EINTR)
            });
            let (answer, calls) = faults::with(plan, || home.call(|| run_in_child(|| 42)));
            reap_all();
            let interrupted = calls.iter().filter(|call| call.outcome == -(libc::EINTR as isize));
            (told(answer), interrupted.map(|call| call.name.to_string()).collect::<Vec<_>>())
        })?;
    let seen = describe(&answer);
    let Some(call) = interrupted.last() else {
        check.note("no call of yours could be interrupted");
        ensure!(answer == Ok((false, 42)), expected: "Code(42)", observed: "{seen}", look: "`run_in_child`");
        return Ok(());
    };
    let count = interrupted.len();
    ensure!(answer == Ok((false, 42)), expected: "Code(42), although a signal interrupted `{call}` (EINTR) {count} time(s)", observed: "{seen}, and the child is not waited for", look: "the wait in `run_in_child`: `EINTR` says nothing about the child, so wait again");
    check.note(format!("`EINTR` {count} times in a row"));
    Ok(())
}

/// When there can be no child, the caller gets the error.
pub fn a_failed_fork_is_an_error(check: &mut Check) -> Outcome {
    let (answer, forks) = ask(check, "`run_in_child`", "`run_in_child` when `fork` fails", |home| {
        let plan = Plan::fail("fork", 0, libc::EAGAIN);
        let (answer, calls) = faults::with(plan, || home.call(|| run_in_child(|| 0)));
        (answer.map(|_| ()).map_err(|error| errno_and_text(&error)), faults::count(&calls, "fork"))
    })?;
    its_error(
        &answer,
        forks,
        "the error of `fork`",
        "`run_in_child`: `fork` returns -1 when there is no child",
    )?;
    Ok(())
}

/// No zombie is left.
pub fn the_child_is_reaped(check: &mut Check) -> Outcome {
    let (left, failures) = ask(check, "`run_in_child`", "`run_in_child(f)`", |home| {
        let (mut left, mut failures) = (Vec::new(), Vec::new());
        for way in 0..3u8 {
            let ended = home.call(|| run_in_child(|| if way == 1 { die_by(libc::SIGKILL) } else { way }));
            failures.extend(text(ended).err());
            left.push(children());
        }
        // Reaped here, so that the count is what is reported.
        reap_all();
        (left, failures)
    })?;
    went_well(&failures, "`run_in_child`")?;
    let worst = left.iter().max().copied().unwrap_or(0);
    ensure!(worst == 0, expected: "no child is left when `run_in_child` returns", observed: "{worst} child processes, ended or running, that nobody has waited for", look: "`waitpid` in `run_in_child`");
    others_are_left_alone(check, "`run_in_child`", "Code(5)", |home| {
        describe(&told(home.call(|| run_in_child(|| 5))))
    })
}
