use super::*;

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
pub fn output_flows_through_every_command(check: &mut Check) -> Outcome {
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
        let shown = format!("\"{}\"", shown.join(" | "));
        let (answer, output) = check.ask(&format!("`pipeline`: {shown}"), move || run(&commands, &word))?;
        ensure!(answer == Ok(vec![(false, 0); count]), expected: "Exited(0) {count} times for {shown}", observed: show_statuses(&answer), look: "`pipeline`");
        ensure!(
            output == expected,
            expected: format!("{} from {shown}", bytes_in_words(&expected)),
            observed: bytes_in_words(&output),
            look: "which end each command gets as descriptor 0 and 1 in `pipeline`"
        );
    }
    let answer = check.ask("`pipeline` of no commands", || statuses(pipeline(&[])))?;
    ensure!(answer == Ok(vec![]), expected: "Ok with an empty vector for no commands", observed: show_statuses(&answer), look: "`pipeline`");
    Ok(())
}

/// One status for each command, in order, codes and signals told apart.
pub fn every_status_is_returned(check: &mut Check) -> Outcome {
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
    others_are_left_alone(check, "`pipeline`", || run(&[shell("exit 5")], b"").0)
}

/// While three commands wait for input, each has its two ends and no other, and the caller has none.
pub fn unused_ends_are_closed(check: &mut Check) -> Outcome {
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
pub fn commands_start_with_default_sigpipe(check: &mut Check) -> Outcome {
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
pub fn a_missing_program_is_an_error(check: &mut Check) -> Outcome {
    let name = format!("/no-such-directory-{}/program", check.rng().below(1_000_000));
    for (program, error, explained) in [
        (name.as_str(), "NotFound", "does not exist"),
        ("/etc/passwd", "PermissionDenied", "is not executable"),
        ("", "NotFound", "has no name"),
    ] {
        for place in 0..3 {
            let mut commands = vec![command("sleep 1000"), command("sleep 1000"), command("sleep 1000")];
            commands[place] = vec![program.to_owned()];
            let what = format!("`pipeline` of three commands, of which number {} {explained},", place + 1);
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
                observed: format!("{children} children left when {what} returned"),
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
pub fn a_closed_stdin_does_no_harm(check: &mut Check) -> Outcome {
    for closed in [vec![0], vec![0, 1]] {
        let word = String::from_utf8(letters(check.rng(), 12)).unwrap_or_default();
        let commands = [command(&format!("echo {word}")), command("cat"), shell("cat >&2")];
        let shown = format!("\"echo {word} | cat | cat >&2\", called with {closed:?} closed");
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
pub fn running_out_of_descriptors_leaves_nothing_behind(check: &mut Check) -> Outcome {
    let rounds = check.ask("`pipeline`: true | true | true with few descriptors", || {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit");
        let quiet = memory_file(b"");
        let lowest = File::open("/dev/null").expect("/dev/null").as_raw_fd() as u64;
        redirected(2, &quiet, || {
            (0..12u64)
                .map(|more| {
                    let before = open_descriptors();
                    setrlimit(Resource::RLIMIT_NOFILE, (lowest + more).min(hard), hard)
                        .expect("a lower limit");
                    let answer = statuses(pipeline(&[&["true"], &["true"], &["true"]]));
                    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).expect("the old limit");
                    let (descriptors, children) = take_away_what_is_left(&before);
                    (more, answer, descriptors, children)
                })
                .collect::<Vec<_>>()
        })
    })?;
    for (more, answer, descriptors, children) in &rounds {
        ensure!(
            *descriptors == 0 && *children == 0,
            expected: format!("no descriptor and no child left when only {more} more descriptors may be opened"),
            observed: format!("left behind: {descriptors} of the caller's descriptors, {children} of the commands, running or not waited for; the answer was {}", show_statuses(answer)),
            look: "the error paths of `pipeline`: which ends are open, and which commands started, when a call fails"
        );
    }
    let first = &rounds[0].1;
    ensure!(is_error(first, "EMFILE"), expected: "the error EMFILE when no descriptor may be opened", observed: show_statuses(first), look: "`pipeline`: the result of pipe2");
    let last = &rounds[rounds.len() - 1].1;
    ensure!(last.as_ref().is_ok_and(|all| all.len() == 3), expected: "three statuses when 11 more descriptors may be opened", observed: show_statuses(last), look: "how many descriptors `pipeline` has open at once");
    Ok(())
}

fn open_descriptors() -> Vec<i32> {
    let open = observe::open_fds(std::process::id() as i32).unwrap_or_default();
    open.iter().map(|open| open.number).collect()
}

/// Closes what was not open before, ends and reaps all children; says how many there were of each. The next round begins like
/// the first, and what is left is told by this check with the answer that went with it.
fn take_away_what_is_left(before: &[i32]) -> (u64, u64) {
    let mut left = open_descriptors();
    left.retain(|fd| !before.contains(fd));
    let children = observe::children_of(std::process::id() as i32);
    for &child in &children {
        // SAFETY: a child of this process, not waited for, so the number is its own.
        unsafe {
            libc::kill(child, libc::SIGKILL);
            libc::waitpid(child, std::ptr::null_mut(), 0);
        }
    }
    for &fd in &left {
        // SAFETY: the submission has returned and forgotten it.
        unsafe { libc::close(fd) };
    }
    (left.len() as u64, children.len() as u64)
}
