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

fn signals_are_told(check: &mut Check, signals: &[i32]) -> Outcome {
    let answers =
        ask(check, "`run_in_child`", "`run_in_child` of a function that dies by a signal", |home| {
            signals
                .iter()
                .map(|&signal| told(home.call(|| run_in_child(move || die_by(signal)))))
                .collect::<Vec<_>>()
        })?;
    for (signal, answer) in signals.iter().zip(&answers) {
        let seen = describe(answer);
        ensure!(
            *answer == Ok((true, *signal)),
            expected: "Signal({signal}) for a child killed by signal {signal}",
            observed: "{seen}",
            look: "how the status word is taken apart: `WIFSIGNALED`, `WTERMSIG`"
        );
    }
    check.note(format!("signals {signals:?}"));
    Ok(())
}

/// Death by an ordinary signal is told apart from an exit code.
pub fn death_by_signal_is_told(check: &mut Check) -> Outcome {
    let mut signals = vec![
        libc::SIGKILL,
        libc::SIGTERM,
        libc::SIGSEGV,
        libc::SIGABRT,
        libc::SIGUSR1,
        libc::SIGHUP,
        libc::SIGALRM,
    ];
    check.rng().shuffle(&mut signals);
    signals_are_told(check, &signals)
}

/// Death by a real-time signal is told too.
pub fn real_time_signals_are_told(check: &mut Check) -> Outcome {
    let mut signals: Vec<i32> = (libc::SIGRTMIN()..=libc::SIGRTMAX()).collect();
    check.rng().shuffle(&mut signals);
    signals.truncate(4);
    signals_are_told(check, &signals)
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
    let answer = ask(check, "`run_in_child`", "`run_in_child` of a function that panics", |home| {
        told(home.call(|| run_in_child(|| panic_quietly())))
    })?;
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

/// A signal during the wait does not end it.
pub fn an_interrupted_wait_goes_on(check: &mut Check) -> Outcome {
    let times = 1 + check.rng().below(3) as usize;
    let (answer, interrupted) =
        ask(check, "`run_in_child`", "`run_in_child` while signals arrive", |home| {
            let mut left = times;
            let plan = Plan::new(move |call| {
                if !call.is("waitpid") || left == 0 {
                    return Action::Proceed;
                }
                left -= 1;
                Action::Fail(libc::EINTR)
            });
            let (answer, calls) = faults::with(plan, || home.call(|| run_in_child(|| 42)));
            let eintr = -(libc::EINTR as isize);
            (told(answer), calls.iter().filter(|call| call.is("waitpid") && call.outcome == eintr).count())
        })?;
    let seen = describe(&answer);
    ensure!(answer == Ok((false, 42)), expected: "Code(42), although `waitpid` was interrupted (EINTR) {interrupted} time(s)", observed: "{seen}", look: "the wait in `run_in_child`: repeat it on `EINTR`");
    check.note(format!("`EINTR` {times} times in a row"));
    Ok(())
}

/// When there can be no child, the caller gets the error.
pub fn a_failed_fork_is_an_error(check: &mut Check) -> Outcome {
    let (answer, forks) = ask(check, "`run_in_child`", "`run_in_child` when `fork` fails", |home| {
        let plan = Plan::fail("fork", 0, libc::EAGAIN);
        let (answer, calls) = faults::with(plan, || home.call(|| run_in_child(|| 0)));
        (answer.map(|_| ()).map_err(|error| error.raw_os_error().unwrap_or(0)), faults::count(&calls, "fork"))
    })?;
    let seen = match answer {
        Ok(()) => "`Ok`".to_string(),
        Err(errno) => format!("an error with errno {errno}"),
    };
    let eagain = libc::EAGAIN;
    ensure!(answer == Err(eagain) || (forks == 0 && answer.is_ok()), expected: "the error of `fork`, errno {eagain} (EAGAIN)", observed: "{seen}", look: "the result of `fork` in `run_in_child`");
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
        // SAFETY: no status is asked for.
        while unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) } > 0 {}
        (left, failures)
    })?;
    went_well(&failures, "`run_in_child`")?;
    let worst = left.iter().max().copied().unwrap_or(0);
    ensure!(worst == 0, expected: "no child is left when `run_in_child` returns", observed: "{worst} child processes, ended or running, that nobody has waited for", look: "`waitpid` in `run_in_child`");
    Ok(())
}
