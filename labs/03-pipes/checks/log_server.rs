use super::*;

/// A directory for one check, removed when the check ends.
pub struct Place(pub PathBuf);

impl Place {
    pub fn new() -> Result<Place, Stop> {
        let path = std::env::temp_dir().join(format!("pipes-{}", std::process::id()));
        fs::create_dir(&path).map_err(|error| Stop::inconclusive(format!("{}: {error}", path.display())))?;
        Ok(Place(path))
    }

    pub fn fifo(&self) -> PathBuf {
        self.0.join("log")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Both ends of a FIFO without any server, as Linux allows; reading never waits.
pub fn both_ends(path: &Path) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .expect("opening the FIFO")
}

/// What is in the FIFO now.
pub fn drain(mut fifo: &File) -> Vec<u8> {
    let mut all = Vec::new();
    let mut piece = [0; 65536];
    while let Ok(count) = fifo.read(&mut piece) {
        all.extend_from_slice(&piece[..count]);
    }
    all
}

pub fn make_fifo(path: &Path) -> Outcome {
    mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR)
        .map_err(|errno| Stop::inconclusive(format!("mkfifo: {errno}")))
}

/// Three times the last writer goes, and the server waits for the next.
pub fn the_server_survives_writers_coming_and_going(check: &mut Check) -> Outcome {
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
                format!("`serve` ended with {}", show_done(&answer)),
                "`LogServer::serve`: the end of the stream when the last writer closes, and how `create` avoids it",
            ));
        }
        let to = path.clone();
        let answer = check.ask("`Logger::connect` and `log`, then the writer goes", move || {
            told(Logger::connect(&to).and_then(|logger| logger.log(line.as_bytes())))
        })?;
        ensure!(answer.is_ok(), expected: format!("writer {} connects and logs \"{line}\"", number + 1), observed: show_done(&answer), look: "`LogServer`: the read end stays open from `create` to drop");
    }
    let answer = server.join()?;
    ensure!(answer == Ok(4), expected: "four lines handled", observed: answer.map_or_else(|error| format!("the error {error}"), |count| format!("{count} lines")), look: "`LogServer::serve`");
    Ok(())
}

/// Lines come out whole and in order however the bytes come in, and `serve` can be called again.
pub fn lines_are_put_together_from_any_pieces(check: &mut Check) -> Outcome {
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
            observed: format!("{}{}", seen.as_ref().map_or_else(|error| format!("the error {error}"), |seen| format!("lines of {seen:?} bytes")), if seen == Ok(vec![1, 0, 2, 4095, 0, 30]) { ", with other contents" } else { "" }),
            look: "`LogServer::serve`: what it keeps when a read ends inside a line, or when `on_line` breaks off"
        );
    }
    Ok(())
}

/// `connect` never waits, and says what is missing.
pub fn no_server_is_an_error_at_once(check: &mut Check) -> Outcome {
    let place = Place::new()?;
    make_fifo(&place.fifo())?;
    let path = place.fifo();
    let answer = check.ask("`Logger::connect` to a FIFO that no server has open", move || {
        told(Logger::connect(&path).map(drop))
    })?;
    ensure!(is_error(&answer, "ENXIO"), expected: "the error ENXIO for a FIFO without a server", observed: show_done(&answer), look: "the flags `Logger::connect` opens the FIFO with");
    let path = place.0.join("nothing");
    let answer = check.ask("`Logger::connect` to a name that does not exist", move || {
        told(Logger::connect(&path).map(drop))
    })?;
    ensure!(is_error(&answer, "NotFound"), expected: "the error NotFound for a name that does not exist", observed: show_done(&answer), look: "`Logger::connect`");
    ensure!(!place.0.join("nothing").exists(), expected: "no file made by `connect`", observed: "a new file of that name", look: "`Logger::connect`: no O_CREAT");
    let file = place.0.join("file");
    fs::write(&file, "text").map_err(|error| Stop::inconclusive(error.to_string()))?;
    let path = file.clone();
    let answer =
        check.ask("`Logger::connect` to a regular file", move || told(Logger::connect(&path).map(drop)))?;
    let text = fs::read_to_string(&file).unwrap_or_default();
    ensure!(is_error(&answer, "InvalidInput") && text == "text", expected: "the error InvalidInput for a regular file, which stays as it was", observed: format!("{}, and the file contains {text:?}", show_done(&answer)), look: "`Logger::connect`: ask fstat what was opened");
    let path = place.0.clone();
    let answer =
        check.ask("`Logger::connect` to a directory", move || told(Logger::connect(&path).map(drop)))?;
    ensure!(is_error(&answer, "InvalidInput"), expected: "the error InvalidInput for a directory, which is no FIFO either", observed: show_done(&answer), look: "`Logger::connect`: not everything that is no FIFO can be opened; ask stat before, and fstat what was opened");
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
        observed: show_done(&answer),
        look: "`Logger::log` and which ends of the FIFO are still open"
    );
    Ok(())
}

/// The name lives as long as the server, and no longer; somebody else's name is left alone.
pub fn the_fifo_is_removed_at_the_end(check: &mut Check) -> Outcome {
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
        ensure!(is_error(&answer, "AlreadyExists"), expected: format!("the error AlreadyExists where {what} has the name"), observed: show_done(&answer), look: "`LogServer::create`");
        ensure!(path.exists(), expected: format!("{what} left as it was"), observed: "it is gone", look: "the error path of `LogServer::create`");
    }
    Ok(())
}
