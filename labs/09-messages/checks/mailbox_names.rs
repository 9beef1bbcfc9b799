//! Part 2: the name of a mailbox, and who removes it.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

use harness::faults::{self, Action, Plan};
use harness::{Check, Outcome, Shared, Stop, ensure};
use messages::Mailbox;

use super::mailboxes::{OPEN, User};
use super::{NEVER, Place, Told, asleep, is_error, show, show_done, told, wait};

/// The name lives as long as there are users, and not longer, however they leave.
pub fn the_last_user_removes_the_mailbox(check: &mut Check) -> Outcome {
    let place = Place::new(check)?;
    let path = place.path().join("box");
    let look = "`impl Drop for Mailbox`: how a user finds out that it is the last one";
    let named = |wanted: bool, when: &str| -> Outcome {
        let there = path.symlink_metadata().is_ok();
        let words = |there| if there { "the name is there" } else { "the name is gone" };
        ensure!(there == wanted, expected: format!("{}: {when}", words(wanted)), observed: words(there), look: look);
        Ok(())
    };
    let (mut a, mut b) = (User::of(check, path.clone())?, User::of(check, path.clone())?);
    named(true, "two users have opened it")?;
    a.post(b"from a")?;
    a.leave()?;
    named(true, "one of two users has left")?;
    let mut c = User::of(check, path.clone())?;
    b.post(b"from b")?;
    b.leave()?;
    named(true, "the first two users have left, a third has come")?;
    c.expect(a.0.pid(), b"from a", "`Mailbox::open` of a name that is in use")?;
    c.expect(b.0.pid(), b"from b", "`Mailbox::open` of a name that is in use")?;
    c.leave()?;
    named(false, "the last user has left")?;
    // Killed users do not count.
    let (killed, mut left) = (User::of(check, path.clone())?, User::of(check, path.clone())?);
    drop(killed);
    left.post(b"still")?;
    left.expect(left.0.pid(), b"still", "a mailbox one of whose users was killed")?;
    left.leave()?;
    named(false, "one user was killed, the other one has left")?;
    // The very last one is killed, with a message left in the box.
    let mut last = User::of(check, path.clone())?;
    last.post(b"nobody's")?;
    drop(last);
    let mut next = User::of(check, path.clone())?;
    let (got, _) = next.receive(NEVER)?;
    ensure!(is_error(&got, "WouldBlock"), expected: "an empty mailbox, after its only user was killed", observed: show(&got.map(|(_, bytes)| bytes)), look: "where the messages live");
    next.leave()?;
    named(false, "the next user has left")?;
    // Somebody else's file.
    let file = place.path().join("file");
    fs::write(&file, "text").map_err(|error| Stop::inconclusive(error.to_string()))?;
    let (opened, _) = User::start(check, file.clone())?.0.ask((OPEN, vec![], NEVER))?;
    let text = fs::read_to_string(&file).unwrap_or_default();
    ensure!(is_error(&opened, "InvalidInput") && text == "text", expected: "the error InvalidInput for a regular file, which stays as it is", observed: format!("{}, and the file holds {text:?}", show_done(&opened)), look: "`Mailbox::open`: ask fstat what was opened");
    Ok(())
}

/// The last user leaves just before each system call of one who opens: whoever comes next meets the opener all the same.
pub fn one_name_is_one_mailbox(check: &mut Check) -> Outcome {
    const STAYS: u32 = 0;
    const LEAVES: u32 = 1;
    const HAS_LEFT: u32 = 2;
    for at in 0..12 {
        let place = Place::new(check)?;
        let path = place.path().join("box");
        let (stage, ready) = (Shared::new(AtomicU32::new(STAYS)), Shared::new(AtomicU32::new(0)));
        let mut last = check.spawn("the last user of a mailbox", || -> Told<()> {
            let mailbox = told(Mailbox::open(&path))?;
            ready.store(1, Ordering::Release);
            // No system call here: whoever sleeps from now on sleeps in `drop`.
            while stage.load(Ordering::Acquire) == STAYS {
                std::hint::spin_loop();
            }
            drop(mailbox);
            stage.store(HAS_LEFT, Ordering::Release);
            Ok(())
        })?;
        check.wait_until("the mailbox is open", || ready.load(Ordering::Acquire) == 1 || last.ended())?;
        let pid = last.pid();
        let opener =
            check.spawn("`Mailbox::open`, while the last user leaves", || -> Told<(String, Told<()>)> {
                let stage = &*stage as *const AtomicU32 as usize;
                let mut calls = 0;
                let met = Shared::new(AtomicU32::new(0));
                let seen = &*met as *const AtomicU32 as usize;
                let plan = Plan::new(move |_| {
                    if calls == at {
                        // SAFETY: the shared words outlive the plan, which ends before this worker does.
                        let (stage, seen) =
                            unsafe { (&*(stage as *const AtomicU32), &*(seen as *const AtomicU32)) };
                        seen.store(1, Ordering::Relaxed);
                        stage.store(LEAVES, Ordering::Release);
                        // One who leaves may have to wait for us.
                        while stage.load(Ordering::Acquire) != HAS_LEFT && !asleep(pid) {
                            std::thread::yield_now();
                        }
                    }
                    calls += 1;
                    Action::Proceed
                });
                let (mailbox, log) = faults::with(plan, || Mailbox::open(&path));
                if met.load(Ordering::Relaxed) == 0 {
                    return Ok(("done".to_owned(), Ok(())));
                }
                let before = log.get(at).map_or("the next call", |call| call.name).to_owned();
                let mailbox = told(mailbox)?;
                let sent = told(mailbox.send(b"to whoever comes", wait(NEVER)));
                // A third one, who comes later, and stays in this process as long as the second.
                let got = told(Mailbox::open(&path)).and_then(|third| told(third.receive(wait(NEVER))));
                Ok((before, sent.and(got.map(drop))))
            })?;
        let (before, met) = opener.join()?.map_err(|error| {
            Stop::failed(
                format!("`Mailbox::open` succeeds, also when the last user leaves before its system call number {}", at + 1),
                format!("the error {error}"),
                "`Mailbox::open`: the name may vanish while it works",
            )
        })?;
        if before == "done" {
            // `open` makes no more calls than that.
            check.note(format!("the last user left before each of the {at} system calls of `open`"));
            return Ok(());
        }
        check.wait_until("the last user has left", || last.ended())?;
        ensure!(
            met.is_ok(),
            expected: format!("two processes that open the same name share one mailbox, also when the user before them left just before the {before} of the first one"),
            observed: format!("what the first sends does not reach the second: {}", show_done(&met)),
            look: "`Mailbox::open`: is the name still that of what was opened, once you are counted in?"
        );
    }
    check.note("the last user left before each of the first 12 system calls of `open`");
    Ok(())
}
