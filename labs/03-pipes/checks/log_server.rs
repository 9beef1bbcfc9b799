use super::*;

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
pub fn a_line_is_one_write(check: &mut Check) -> Outcome {
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
            ensure!(answer.is_ok(), expected: format!("success ({case})"), observed: show_done(&answer), look: "`Logger::log`");
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

/// One writer is stopped where a line could be torn, and another one writes. Then four at full speed: every line arrives
/// whole, and each writer's lines in order.
pub fn lines_never_interleave(check: &mut Check) -> Outcome {
    const WRITERS: usize = 4;
    const LINES: usize = 60;
    let place = Place::new()?;
    a_stopped_writer_holds_no_half_line(check, &place)?;
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
        return Err(Stop::failed("a server", show_done(&answer), "`LogServer::create`"));
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

/// A FIFO with room for a line but not for its newline. The first writer sleeps, with nothing or with half of its line
/// written; it is stopped there, the FIFO is emptied, and the second writer logs a line before the first goes on.
fn a_stopped_writer_holds_no_half_line(check: &mut Check, place: &Place) -> Outcome {
    let path = place.0.join("small");
    make_fifo(&path)?;
    let fifo = both_ends(&path);
    // SAFETY: changes a number of a pipe of ours. A kernel that refuses makes this weaker, never wrong.
    unsafe { libc::fcntl(fifo.as_raw_fd(), libc::F_SETPIPE_SZ, libc::PIPE_BUF) };
    let length = 50 + check.rng().below(1000) as usize;
    let (first, second) = (letters(check.rng(), length), letters(check.rng(), length / 2));
    let filler = libc::PIPE_BUF - length;
    let filled = (&fifo).write(&vec![b'.'; filler]);
    filled.map_err(|error| Stop::inconclusive(format!("filling a FIFO: {error}")))?;

    let connected = Shared::new(AtomicUsize::new(0));
    let mut stopped = check.spawn("a writer to a full FIFO, stopped in `Logger::log`", || {
        let logger = told(Logger::connect(&path))?;
        connected.store(1, Ordering::Release);
        told(logger.log(&first))
    })?;
    let pid = stopped.pid();
    check.wait_until("the writer sleeps in `Logger::log`", || {
        stopped.ended()
            || (connected.load(Ordering::Acquire) == 1
                && observe::state_of(pid) == Some('S')
                && observe::blocked_in(pid, pid).is_some())
    })?;
    if !stopped.ended() {
        // SAFETY: a worker of ours, not reaped yet.
        unsafe { libc::kill(pid, libc::SIGSTOP) };
        check
            .wait_until("the writer is stopped", || stopped.ended() || observe::state_of(pid) == Some('T'))?;
    }
    let mut arrived = drain(&fifo);
    let answer = check.ask("`Logger::log` while another writer is stopped", || {
        told(Logger::connect(&path).and_then(|logger| logger.log(&second)))
    })?;
    ensure!(answer.is_ok(), expected: "success where there is room", observed: show_done(&answer), look: "`Logger::log`");
    if !stopped.ended() {
        // SAFETY: as above.
        unsafe { libc::kill(pid, libc::SIGCONT) };
    }
    check.wait_until("the stopped writer goes on and ends", || {
        arrived.extend(drain(&fifo));
        stopped.ended()
    })?;
    let answer = stopped.join()?;
    ensure!(answer.is_ok(), expected: "success after waiting for room", observed: show_done(&answer), look: "`Logger::log`, which waits while the FIFO is full (O_NONBLOCK must be off)");
    arrived.extend(drain(&fifo));

    let arrived = &arrived[filler.min(arrived.len())..];
    let one_after_the_other = |one: &[u8], other: &[u8]| arrived == [one, b"\n", other, b"\n"].concat();
    let whole = one_after_the_other(&first, &second) || one_after_the_other(&second, &first);
    let ends = arrived.strip_suffix(b"\n").unwrap_or(arrived).split(|&byte| byte == b'\n');
    let lengths = ends.map(|line| line.len().to_string()).collect::<Vec<_>>().join(" and ");
    ensure!(
        whole,
        expected: format!("two lines, of {length} and {} bytes: the first writer waits, because the FIFO has room for {length} bytes only, and is stopped there while another one logs its line", second.len()),
        observed: format!("{lengths} bytes between the newlines: a part of the first line was in the FIFO already when the second one came"),
        look: "`Logger::log`: line and newline in one write, so that a writer that waits has written nothing yet"
    );
    Ok(())
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

/// A writer sleeps while there is no room, and its line arrives when there is.
pub fn a_full_fifo_makes_writers_wait(check: &mut Check) -> Outcome {
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
            format!("it returned {}", show_done(&answer)),
            "O_NONBLOCK, which `Logger::connect` needs for open and `Logger::log` must not have for write",
        ));
    }
    let mut arrived = drain(&fifo);
    let answer = writer.join()?;
    arrived.extend(drain(&fifo));
    ensure!(answer.is_ok(), expected: "success once there is room", observed: show_done(&answer), look: "`Logger::log`");
    let whole = [line, b"\n".to_vec()].concat();
    ensure!(arrived[filled.min(arrived.len())..] == whole, expected: bytes_in_words(&whole), observed: bytes_in_words(&arrived[filled.min(arrived.len())..]), look: "`Logger::log`");
    Ok(())
}

/// What cannot be one line in one write is refused and leaves no trace.
pub fn overlong_lines_are_refused(check: &mut Check) -> Outcome {
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
            observed: format!("{} and {} in the FIFO", show_done(&answer), bytes_in_words(&arrived)),
            look: "`Logger::log`: what it refuses before it writes"
        );
    }
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
