//! Workers with known-good and known-bad bodies, each in a process of its own.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use harness::{Check, Ending, Options, Shared, Stop, Stress};
use rusty_fork::rusty_fork_test;

fn check() -> Check {
    Check::standalone(1, Duration::from_secs(20))
}

/// A check whose hanging bodies are given up on quickly.
fn impatient() -> Check {
    Check::standalone(1, Duration::from_millis(200))
}

fn pause() -> u8 {
    loop {
        // SAFETY: waits for a signal.
        unsafe { libc::pause() };
    }
}

fn fork() -> bool {
    // SAFETY: the worker is single-threaded.
    unsafe { libc::fork() == 0 }
}

fn leave(code: i32) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(code) }
}

fn wait() {
    // SAFETY: no status is asked for.
    unsafe { libc::wait(std::ptr::null_mut()) };
}

fn nothing_is_left() {
    let children = harness::observe::children_of(std::process::id() as i32);
    assert_eq!(children, Vec::<i32>::new());
}

rusty_fork_test! {
    #[test]
    fn an_answer_comes_back() {
        assert_eq!(check().ask("f", || vec![(1u8, "é".to_string())]), Ok(vec![(1, "é".into())]));
        nothing_is_left();
    }

    #[test]
    fn a_large_answer_comes_back_whole() {
        assert_eq!(check().ask("f", || vec![7u8; 5 << 20]).map(|bytes| bytes.len()), Ok(5 << 20));
    }

    #[test]
    fn a_reaction_that_does_not_come_is_waited_for_as_long_as_it_may_take() {
        let check = check();
        let sleeper = check.spawn("f", pause).unwrap();
        let mut looks = 0;
        let waited = check.wait_within("it wakes up", Duration::from_millis(50), &[sleeper.pid()], || { looks += 1; false });
        assert_eq!(waited, Ok(false));
        assert!(looks > 1);
        let waited = check.wait_within("it is looked at", Duration::from_secs(10), &[sleeper.pid()], || true);
        assert_eq!(waited, Ok(true));
    }

    #[test]
    fn what_came_true_while_nobody_looked_is_not_late() {
        let mut looks = 0;
        let waited = impatient().wait_until("it is so", || {
            looks += 1;
            // As if the check had been given no processor between this look and the clock.
            std::thread::sleep(Duration::from_millis(300));
            looks > 1
        });
        assert_eq!(waited, Ok(()));
    }

    #[test]
    fn a_panic_is_a_crash_with_its_message_and_place() {
        let Err(Stop::Crashed { how, place }) = check().ask("f", || -> u8 { panic!("no {}", 7) }) else {
            panic!("not a crash")
        };
        assert_eq!(how, "f panicked: no 7");
        assert!(place.is_some_and(|place| place.file.ends_with("workers.rs")));
    }

    #[test]
    fn an_early_exit_is_a_crash() {
        let Err(Stop::Crashed { how, .. }) = check().ask("f", || -> u8 { std::process::exit(0) }) else {
            panic!("not a crash")
        };
        assert!(how.contains("exit code 0"), "{how}");
    }

    #[test]
    fn a_signal_is_a_crash_and_an_ending() {
        let suicide = || -> u8 {
            // SAFETY: sends a signal to this process.
            unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
            0
        };
        assert!(matches!(check().ask("f", suicide), Err(Stop::Crashed { .. })));
        assert_eq!(check().ending("f", suicide), Ok(Ending::Signalled(libc::SIGKILL)));
    }

    #[test]
    fn a_todo_in_a_grandchild_is_unimplemented() {
        let body = || {
            if fork() {
                todo!("the child's part");
            }
            wait();
        };
        let Err(Stop::Unimplemented { todo, place }) = check().ask("f", body) else {
            panic!("not unimplemented")
        };
        assert_eq!(todo, "the child's part");
        assert!(place.is_some());
    }

    #[test]
    fn a_child_that_returns_is_told_from_its_parent() {
        let body = || {
            if !fork() {
                wait();
            }
        };
        let Err(Stop::Failed(failure)) = check().ask("f", body) else { panic!("not a failure") };
        assert!(failure.observed.contains("child process returned"), "{failure:?}");
    }

    #[test]
    fn a_zombie_is_a_leak() {
        let body = || {
            if fork() {
                leave(0);
            }
            let me = std::process::id() as i32;
            while harness::observe::zombies_of(me).is_empty() {}
        };
        let Err(Stop::Leaked(what)) = check().ask("f", body) else { panic!("not a leak") };
        assert!(what.contains("1 zombie"), "{what}");
    }

    #[test]
    fn a_child_and_an_orphan_left_running_are_leaks() {
        let child = || {
            if fork() {
                pause();
            }
        };
        assert!(matches!(check().ask("f", child), Err(Stop::Leaked(_))));
        let orphan = || {
            if fork() {
                if fork() {
                    pause();
                }
                leave(0);
            }
            wait();
        };
        let mut check = check();
        assert!(matches!(check.ask("f", orphan), Err(Stop::Leaked(_))));
        check.options(Options { may_leave_processes: true, ..Options::default() });
        assert_eq!(check.ask("f", orphan), Ok(()));
    }

    #[test]
    fn a_descriptor_left_open_is_a_leak() {
        let body = || std::mem::forget(std::fs::File::open("/dev/null"));
        let Err(Stop::Leaked(what)) = check().ask("f", body) else { panic!("not a leak") };
        assert!(what.contains("/dev/null"), "{what}");
        let mut check = check();
        check.options(Options { may_keep_descriptors: true, ..Options::default() });
        assert_eq!(check.ask("f", body), Ok(()));
    }

    #[test]
    fn a_hang_is_timed_out_and_cleaned_up() {
        let Err(Stop::TimedOut(why)) = impatient().ask("f", pause) else { panic!("not timed out") };
        assert!(why.contains("did not finish"), "{why}");
        nothing_is_left();
    }

    #[test]
    fn a_busy_loop_is_timed_out() {
        let spin = || -> u8 {
            loop {
                std::hint::spin_loop();
            }
        };
        // The latter on a machine that has no processor for it.
        assert!(matches!(impatient().ask("f", spin), Err(Stop::TimedOut(_) | Stop::Inconclusive(_))));
        nothing_is_left();
    }

    #[test]
    fn workers_run_together_and_share() {
        let count = Shared::new(AtomicU32::new(0));
        let outcome = check().workers(3, "count", |worker| {
            count.fetch_add(worker.index() as u32 + 1, Ordering::SeqCst);
        });
        assert_eq!((outcome, count.load(Ordering::SeqCst)), (Ok(()), 6));
    }

    #[test]
    fn the_first_death_in_a_group_ends_the_others() {
        let outcome = check().workers(2, "f", |worker| {
            if worker.index() == 1 {
                panic!("one");
            }
            pause();
        });
        assert!(matches!(outcome, Err(Stop::Crashed { .. })), "{outcome:?}");
        nothing_is_left();
    }

    #[test]
    fn stress_stops_at_a_violation_even_if_a_worker_hangs() {
        let stress = Stress { workers: 2, budget: Duration::from_secs(60), what: "f" };
        let violation = check().stress(stress, |worker| {
            if worker.index() == 1 {
                worker.violation("two inside");
            }
            pause();
        });
        assert_eq!(violation, Ok(Some("two inside".into())));
        nothing_is_left();
    }

    #[test]
    fn stress_without_a_violation_ends_with_its_budget() {
        let stress = Stress { workers: 2, budget: Duration::from_millis(20), what: "f" };
        let rounds = Shared::new(AtomicU32::new(0));
        let violation = check().stress(stress, |worker| {
            while worker.running() {
                rounds.fetch_add(1, Ordering::Relaxed);
            }
        });
        assert_eq!(violation, Ok(None));
        assert!(rounds.load(Ordering::Relaxed) > 0);
    }

    #[test]
    fn a_respondent_answers_until_it_dies() {
        let check = check();
        let half = |number: u32| {
            assert!(number.is_multiple_of(2), "odd");
            number / 2
        };
        let mut student = check.respondent("half", half).expect("a worker");
        assert_eq!(student.ask(8), Ok(4));
        assert_eq!(student.ask(2), Ok(1));
        let Err(Stop::Crashed { how, .. }) = student.ask(3) else { panic!("not a crash") };
        assert_eq!(how, "half panicked: odd");
    }

    #[test]
    fn a_background_worker_can_be_joined_and_killed() {
        let check = check();
        let gate = Shared::new(AtomicU32::new(0));
        let worker = check
            .spawn("f", || {
                while gate.load(Ordering::Acquire) == 0 {
                    std::thread::yield_now();
                }
                5u8
            })
            .expect("a worker");
        gate.store(1, Ordering::Release);
        assert_eq!(worker.join(), Ok(5));
        check.spawn("g", pause).expect("a worker").kill();
        drop(check.spawn("g", pause).expect("a worker"));
        nothing_is_left();
    }

    #[test]
    fn a_condition_that_never_comes_is_timed_out() {
        let check = impatient();
        assert!(matches!(check.wait_until("pigs fly", || false), Err(Stop::TimedOut(_))));
        assert_eq!(check.wait_until("pigs walk", || true), Ok(()));
    }

    #[test]
    fn a_value_is_built_by_a_worker_in_shared_memory() {
        let check = check();
        let value = check.shared("new", || AtomicU32::new(9)).expect("built");
        assert_eq!(value.load(Ordering::SeqCst), 9);
        assert!(check.shared("new", || -> AtomicU32 { panic!("no") }).is_err());
    }
}
