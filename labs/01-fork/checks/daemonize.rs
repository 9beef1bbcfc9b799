//! Part 5: the daemon, looked at by its caller, which has a terminal to lose.

use super::*;

/// Makes the worker the leader of a session with a controlling terminal. The terminal stays open until the worker ends.
fn acquire_terminal() -> bool {
    // SAFETY: plain system calls; the name is a buffer of the stated length and a C string afterwards.
    unsafe {
        if libc::setsid() == -1 {
            return false;
        }
        let terminal = libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY);
        let mut name = [0; 128];
        if terminal == -1
            || libc::unlockpt(terminal) != 0
            || libc::ptsname_r(terminal, name.as_mut_ptr(), name.len()) != 0
        {
            return false;
        }
        let line = libc::open(name.as_ptr(), libc::O_RDWR);
        line != -1 && libc::ioctl(line, libc::TIOCSCTTY, 0) == 0
    }
}

/// Starts a daemon that waits, looks at it in the caller, and lets it end.
fn with_daemon<T: Wire>(check: &mut Check, look: impl FnOnce(i32) -> T) -> Result<T, Stop> {
    check.options(Options { may_leave_processes: true, may_keep_descriptors: true, ..Options::default() });
    let runs = Shared::new(AtomicU32::new(0));
    let answer = ask(check, "`daemonize`", "`daemonize`", |home| {
        let terminal = acquire_terminal();
        let (gate, open) = io::pipe().map_err(|error| error.to_string())?;
        let end = open.into_raw_fd();
        let caller = me();
        let pid = text(home.call(|| {
            daemonize(|| {
                runs.fetch_add(1, SeqCst);
                if me() != caller {
                    // SAFETY: the daemon's own copy of the write end, which nothing here uses again.
                    unsafe { libc::close(end) };
                    wait_at(&gate);
                }
            })
        }))?;
        let seen = (pid != caller && pid > 1).then(|| look(pid));
        // SAFETY: the caller's copy; nothing uses it again. This lets the daemon end.
        unsafe { libc::close(end) };
        if seen.is_some() {
            spin_until(|| has_ended(pid));
        }
        reap_all();
        Ok::<_, String>((terminal, caller, pid, seen))
    })?;
    let look = "`daemonize`: which process reports its pid, and to whom";
    let (terminal, caller, pid, seen) = answer.map_err(|error| {
        Stop::failed("`Ok` with the daemon's pid", format!("the error \"{error}\""), look)
    })?;
    if !terminal {
        return Err(Stop::inconclusive(
            "no pseudoterminal can be opened here, so there is no terminal to get rid of",
        ));
    }
    let seen = seen.ok_or_else(|| {
        Stop::failed("the pid of a new process", format!("{pid} (the caller is {caller})"), look)
    })?;
    let runs = runs.load(SeqCst);
    ensure!(runs == 1, expected: "`f` runs once", observed: "it ran {runs} times", look: "`daemonize`");
    Ok(seen)
}

/// The daemon is in a new session that it does not lead, without a controlling terminal.
pub fn the_daemon_has_no_terminal(check: &mut Check) -> Outcome {
    let (pid, mine, its, terminal) = with_daemon(check, |pid| {
        (pid, observe::session_of(me()), observe::session_of(pid), observe::tty_of(pid))
    })?;
    let (mine, its) = (mine.unwrap_or(0), its.unwrap_or(0));
    ensure!(its > 0, expected: "process {pid}, whose number `daemonize` returned, is running: its `f` has not returned yet", observed: "there is no such process", look: "`daemonize`: it returns the pid of the daemon, not of the process in between");
    ensure!(its != mine, expected: "the daemon is in a new session", observed: "it is in the caller's, session {mine}", look: "`setsid` in `daemonize`");
    ensure!(its != pid, expected: "the daemon does not lead its session, so it can never get a terminal again", observed: "process {pid} leads session {its}", look: "the second `fork` in `daemonize`");
    let terminal = terminal.unwrap_or(0);
    ensure!(terminal == 0, expected: "the daemon has no controlling terminal", observed: "its terminal is device {terminal:#x}", look: "`setsid` in `daemonize`");
    Ok(())
}

/// Its parent is init or a subreaper; the process in between has been waited for.
pub fn the_daemon_is_adopted(check: &mut Check) -> Outcome {
    let (caller, parent, below, left) = with_daemon(check, |pid| {
        (me(), observe::parent_of(pid), observe::descendants_of(me()).contains(&pid), children())
    })?;
    let parent = parent.map_or("nobody, it is not running".to_string(), |parent| format!("process {parent}"));
    ensure!(parent != format!("process {caller}"), expected: "the daemon is no child of its caller", observed: "its parent is the caller, {parent}", look: "the second `fork` in `daemonize`");
    ensure!(!below, expected: "the daemon has been handed to init or to a subreaper when `daemonize` returns", observed: "its parent is {parent}, a child of the caller", look: "the process in between must end and be waited for");
    ensure!(left == 0, expected: "no child of the caller is left when `daemonize` returns", observed: "{left} that nobody waited for", look: "`waitpid` for the process in between");
    ensure!(parent.starts_with("process"), expected: "the daemon is running: its `f` has not returned yet", observed: "its parent is {parent}", look: "which pid `daemonize` returns");
    Ok(())
}

fn directory_of(pid: i32) -> String {
    fs::read_link(format!("/proc/{pid}/cwd"))
        .map_or_else(|error| error.to_string(), |path| path.display().to_string())
}

fn streams_of(pid: i32) -> Vec<String> {
    let target = |fd| fs::read_link(format!("/proc/{pid}/fd/{fd}"));
    (0..3).map(|fd| target(fd).map_or_else(|_| "closed".into(), |path| path.display().to_string())).collect()
}

/// The daemon works in `/` with `/dev/null` as its streams; the caller keeps its own.
pub fn the_daemon_leaves_directory_and_streams(check: &mut Check) -> Outcome {
    let (directory, streams, caller, pid) = with_daemon(check, |pid| {
        (directory_of(pid), streams_of(pid), (directory_of(me()), streams_of(me())), pid)
    })?;
    let mine = (directory_of(me()), streams_of(me()));
    ensure!(directory == "/", expected: "the daemon's directory is `/`", observed: "{directory}", look: "`chdir` in `daemonize`");
    for (fd, stream) in streams.iter().enumerate() {
        ensure!(stream == "/dev/null", expected: "descriptor {fd} of the daemon, process {pid}, is /dev/null", observed: "{stream}", look: "`dup2` in `daemonize`");
    }
    let (wanted, seen) = (format!("{mine:?}"), format!("{caller:?}"));
    ensure!(wanted == seen, expected: "the caller's directory and streams are as before: {wanted}", observed: "{seen}", look: "`daemonize`: in which process it calls `chdir` and `dup2`");
    Ok(())
}

/// The daemon goes on when its caller, and with it the terminal, is gone.
pub fn the_daemon_outlives_its_caller(check: &mut Check) -> Outcome {
    check.options(Options { may_leave_processes: true, may_keep_descriptors: true, ..Options::default() });
    let (gate, end) = io::pipe().map_err(|error| Stop::inconclusive(error.to_string()))?;
    let end = end.into_raw_fd();
    let done = Shared::new(AtomicU32::new(0));
    let started = ask(check, "`daemonize`", "`daemonize`, after which the caller ends", |home| {
        acquire_terminal();
        let pid = home.call(|| {
            daemonize(|| {
                // SAFETY: the daemon's own copy of the write end, which nothing here uses again.
                unsafe { libc::close(end) };
                wait_at(&gate);
                done.store(1, SeqCst);
            })
        });
        text(pid.map(|pid| (pid, has_ended(pid))))
    })?;
    // SAFETY: the supervisor's copy, the last one: the daemon's read ends.
    unsafe { libc::close(end) };
    let (pid, ended) = started.map_err(|error| {
        Stop::failed("`Ok` with the daemon's pid", format!("the error \"{error}\""), "`daemonize`")
    })?;
    ensure!(
        !ended,
        expected: "process {pid}, whose number `daemonize` returned, is running: its `f` has not returned yet",
        observed: "it has ended, or never was",
        look: "`daemonize`: it returns the pid of the daemon, not of the process in between"
    );
    check.wait_until("the daemon has ended", || has_ended(pid))?;
    ensure!(
        done.load(SeqCst) == 1,
        expected: "the daemon, process {pid}, finishes `f` after its caller has ended",
        observed: "it ended before `f` was through",
        look: "`setsid` in `daemonize`: the end of a session's leader hangs up its terminal (SIGHUP)"
    );
    Ok(())
}

/// When either fork or the opening of `/dev/null` fails, the caller learns it, and `f` does not run.
pub fn a_failed_daemon_is_an_error(check: &mut Check) -> Outcome {
    check.options(Options { may_leave_processes: true, ..Options::default() });
    let steps = [
        ("fork", "its first `fork`", "`daemonize`: `fork` returns -1 when there is no child"),
        (
            "fork",
            "its second `fork`",
            "`daemonize`: how a process in between tells the caller that it failed",
        ),
        (
            "open",
            "opening `/dev/null`",
            "`daemonize`: the daemon tells the caller what went wrong, over the pipe, before it runs `f`",
        ),
    ];
    for (step, (call, what, look)) in steps.into_iter().enumerate() {
        let runs = Shared::new(AtomicU32::new(0));
        // For a plan, which lives as long as it likes: the check's process ends soon.
        let failed: &'static Shared<AtomicUsize> = Box::leak(Box::new(Shared::new(AtomicUsize::new(0))));
        let doing = format!("`daemonize` when {what} fails");
        let (answer, left) = ask(check, "`daemonize`", &doing, |home| {
            let caller = me();
            let plan = Plan::new(move |made| {
                if !made.is(call) || (call == "fork" && (me() == caller) != (step == 0)) {
                    return Action::Proceed;
                }
                failed.fetch_add(1, SeqCst);
                Action::Fail(libc::EAGAIN)
            });
            let run = || {
                runs.fetch_add(1, SeqCst);
            };
            let (answer, _) = faults::with(plan, || home.call(|| daemonize(run)));
            let left = children();
            reap_all();
            (answer.map(|_| ()).map_err(|error| errno_and_text(&error)), left)
        })?;
        ensure!(left == 0, expected: "the caller has no child left when {what} fails", observed: "{left} of its children are left, running or waiting to be reaped", look: "`daemonize`: wait for the process in between, whatever becomes of it");
        // The daemon that found out is on its way out.
        let supervisor = me();
        check.wait_until("every process that `daemonize` started has ended", || {
            observe::descendants_of(supervisor).into_iter().all(has_ended)
        })?;
        let failed = failed.load(SeqCst);
        its_error(&answer, failed, &format!("the error of {what}"), look)?;
        let runs = runs.load(SeqCst);
        ensure!(failed == 0 || runs == 0, expected: "`f` does not run when {what} has failed", observed: "it ran", look: look.to_string());
    }
    check.note("either `fork`, and opening `/dev/null`");
    Ok(())
}
