use super::log_server::{Place, both_ends, drain, make_fifo};
use super::*;

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

    let mut stopped =
        writer_that_sleeps(check, "a writer to a full FIFO, stopped in `Logger::log`", &path, &first)?;
    let pid = stopped.pid();
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
    let mut writer = writer_that_sleeps(check, "a writer to a full FIFO", &place.fifo(), &line)?;
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

/// A process that logs a line for which there is no room: it sleeps, or has ended.
fn writer_that_sleeps(
    check: &Check,
    what: &str,
    path: &Path,
    line: &[u8],
) -> Result<Student<Told<()>>, Stop> {
    let connected = Shared::new(AtomicUsize::new(0));
    let mut writer = check.spawn(what, || {
        let logger = told(Logger::connect(path))?;
        connected.store(1, Ordering::Release);
        told(logger.log(line))
    })?;
    let pid = writer.pid();
    check.wait_until("the writer sleeps in `Logger::log`", || {
        writer.ended()
            || (connected.load(Ordering::Acquire) == 1
                && observe::state_of(pid) == Some('S')
                && observe::blocked_in(pid, pid).is_some())
    })?;
    Ok(writer)
}
