//! What a plan may do to a program, and must not do: this binary is interposed as check binaries are. Every test has
//! a process of its own, because a plan holds for the whole process.

use harness::faults::{self, Action, Plan};
use rusty_fork::rusty_fork_test;
use std::fs::{self, File};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::Command;
use std::thread;

harness::interpose!();

fn pipe() -> (File, File) {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for two descriptors.
    let result = unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    // SAFETY: pipe2 succeeded, so these descriptors are open and belong to nobody else.
    ends.map(|fd| File::from(unsafe { OwnedFd::from_raw_fd(fd) })).into()
}

fn raw_read(fd: RawFd, buffer: &mut [u8]) -> isize {
    // SAFETY: the buffer is valid for its length.
    unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) }
}

fn errno() -> Option<i32> {
    io::Error::last_os_error().raw_os_error()
}

/// Reads `length` bytes as one should.
fn read_exact(fd: RawFd, length: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; length];
    let mut done = 0;
    while done < length {
        match raw_read(fd, &mut bytes[done..]) {
            0 => return None,
            -1 if errno() == Some(libc::EINTR) => {}
            -1 => return None,
            count => done += count as usize,
        }
    }
    Some(bytes)
}

/// Reads `length` bytes as a beginner does.
fn read_once(fd: RawFd, length: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; length];
    (raw_read(fd, &mut bytes) == length as isize).then_some(bytes)
}

/// Asks poll before every read, and begins anew after an interruption of either.
fn polls_and_reads(fd: RawFd, length: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; length];
    let mut done = 0;
    while done < length {
        let count = if wait(fd) == 1 { raw_read(fd, &mut bytes[done..]) } else { -1 };
        match count {
            0 => return None,
            -1 if errno() == Some(libc::EINTR) => {}
            -1 => return None,
            count => done += count as usize,
        }
    }
    Some(bytes)
}

/// Asks poll once and takes an interruption for a failure.
fn polls_once(fd: RawFd, length: usize) -> Option<Vec<u8>> {
    if wait(fd) == 1 { read_exact(fd, length) } else { None }
}

fn wait(fd: RawFd) -> i32 {
    let mut entry = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid entry.
    unsafe { libc::poll(&raw mut entry, 1, -1) }
}

/// Whether `reader` gets 100 bytes out of a pipe under `plan`.
fn survives(plan: Plan, reader: fn(RawFd, usize) -> Option<Vec<u8>>) -> bool {
    let (source, mut sink) = pipe();
    let sent: Vec<u8> = (0..100).collect();
    sink.write_all(&sent).expect("room in the pipe");
    let fd = source.as_raw_fd();
    faults::with(plan, || reader(fd, 100)).0 == Some(sent)
}

rusty_fork_test! {
    #![rusty_fork(timeout_ms = 240000)]

    #[test]
    fn a_correct_reader_survives_every_plan() {
        assert!(survives(Plan::none(), read_exact));
        assert!(survives(Plan::one_byte(), read_exact));
        assert!(survives(Plan::short(vec![1, 0, 50]), read_exact));
        assert!(survives(Plan::interrupted_every(1), read_exact));
        for seed in 0..200 {
            assert!(survives(Plan::random(seed), read_exact), "seed {seed}");
        }
    }

    #[test]
    fn a_loop_that_begins_anew_after_each_interruption_comes_to_its_end() {
        for k in 1..4 {
            assert!(survives(Plan::interrupted_every(k), polls_and_reads), "every call number {k}");
        }
        assert!(!survives(Plan::interrupted_every(1), polls_once), "not interrupted at all");
    }

    #[test]
    fn a_reader_that_calls_once_survives_no_plan_that_disturbs() {
        assert!(survives(Plan::none(), read_once));
        assert!(!survives(Plan::one_byte(), read_once));
        assert!(!survives(Plan::short(vec![99]), read_once));
        assert!(!survives(Plan::interrupted_every(1), read_once));
        assert!(!survives(Plan::fail("read", 0, libc::EIO), read_exact));
    }

    #[test]
    fn the_log_says_what_was_asked_and_what_came_of_it() {
        let (source, mut sink) = pipe();
        let fd = source.as_raw_fd();
        let (_, calls) = faults::with(Plan::short(vec![3]), || {
            sink.write_all(b"hello").expect("room in the pipe");
            read_exact(fd, 5)
        });
        let told: Vec<_> = calls.iter().map(|call| (call.name, call.asked, call.nth, call.outcome)).collect();
        assert_eq!(told, [("write", 5, 0, 3), ("write", 2, 1, 2), ("read", 5, 2, 5)]);
        assert_eq!((calls[2].fd, faults::count(&calls, "write")), (fd, 2));
    }

    #[test]
    fn a_failing_call_sets_errno_and_does_not_happen() {
        let (result, calls) = faults::with(Plan::fail("pipe2", 1, libc::EMFILE), || {
            let mut ends = [-1; 2];
            // SAFETY: `ends` has room for two descriptors.
            let first = unsafe { libc::pipe(ends.as_mut_ptr()) };
            ends = [-1; 2];
            // SAFETY: as above.
            let second = unsafe { libc::pipe2(ends.as_mut_ptr(), 0) };
            (first, second, errno(), ends)
        });
        assert_eq!(result, (0, -1, Some(libc::EMFILE), [-1, -1]));
        assert_eq!(calls[1].outcome, -(libc::EMFILE as isize));
    }

    #[test]
    fn a_failing_close_closes_all_the_same() {
        let (source, _sink) = pipe();
        let fd = std::os::fd::IntoRawFd::into_raw_fd(source);
        let (result, _) = faults::with(Plan::fail("close", 0, libc::EINTR), || {
            // SAFETY: this test owns the descriptor.
            (unsafe { libc::close(fd) }, errno())
        });
        assert_eq!(result, (-1, Some(libc::EINTR)));
        // SAFETY: fcntl touches no memory for F_GETFD.
        assert_eq!((unsafe { libc::fcntl(fd, libc::F_GETFD) }, errno()), (-1, Some(libc::EBADF)));
    }

    #[test]
    fn a_failing_fork_makes_no_child() {
        let (result, calls) = faults::with(Plan::fail("fork", 0, libc::EAGAIN), || {
            // SAFETY: the plan lets no child come into being.
            (unsafe { libc::fork() }, errno())
        });
        assert_eq!((result, faults::count(&calls, "fork")), ((-1, Some(libc::EAGAIN)), 1));
        // SAFETY: no status is asked for.
        assert_eq!((unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) }, errno()), (-1, Some(libc::ECHILD)));
    }

    #[test]
    fn a_forked_child_inherits_the_plan_and_has_its_own_log() {
        let (source, mut sink) = pipe();
        sink.write_all(&[7; 10]).expect("room in the pipe");
        let fd = source.as_raw_fd();
        let ((child, status), calls) = faults::with(Plan::one_byte(), || {
            // SAFETY: the child calls read and _exit only.
            let child = unsafe { libc::fork() };
            if child == 0 {
                let count = raw_read(fd, &mut [0; 10]);
                // SAFETY: _exit ends this process without running anything.
                unsafe { libc::_exit(count as i32) };
            }
            let mut status = 0;
            // SAFETY: `status` is valid for writing.
            (unsafe { libc::waitpid(child, &raw mut status, 0) } == child, status)
        });
        assert!(child && libc::WIFEXITED(status));
        assert_eq!(libc::WEXITSTATUS(status), 1, "the child's read was not cut to one byte");
        assert_eq!(calls.iter().map(|call| call.name).collect::<Vec<_>>(), ["fork", "waitpid"]);
    }

    #[test]
    fn the_child_returns_from_with_without_its_parents_calls() {
        // SAFETY: the child compares and calls _exit only.
        let (child, calls) = faults::with(Plan::none(), || unsafe { libc::fork() });
        if child == 0 {
            // SAFETY: _exit ends this process without running anything.
            unsafe { libc::_exit(calls.len() as i32) };
        }
        let mut status = 0;
        // SAFETY: `status` is valid for writing.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!((libc::WIFEXITED(status), libc::WEXITSTATUS(status)), (true, 0));
    }

    #[test]
    fn the_plan_ends_with_the_body_even_when_it_panics() {
        let (source, mut sink) = pipe();
        sink.write_all(&[7; 10]).expect("room in the pipe");
        let panicked = std::panic::catch_unwind(|| faults::with(Plan::one_byte(), || panic!("as planned")));
        assert!(panicked.is_err());
        assert_eq!(raw_read(source.as_raw_fd(), &mut [0; 10]), 10);
    }

    #[test]
    fn plans_nest() {
        let (source, mut sink) = pipe();
        sink.write_all(&[7; 20]).expect("room in the pipe");
        let fd = source.as_raw_fd();
        let (counts, outer) = faults::with(Plan::one_byte(), || {
            let first = raw_read(fd, &mut [0; 5]);
            let (second, inner) = faults::with(Plan::none(), || raw_read(fd, &mut [0; 5]));
            (first, second, inner.len(), raw_read(fd, &mut [0; 5]))
        });
        assert_eq!((counts, outer.len()), ((1, 5, 1, 1), 2));
    }

    #[test]
    fn a_plan_may_make_calls_itself() {
        let (source, mut sink) = pipe();
        sink.write_all(&[7; 20]).expect("room in the pipe");
        let fd = source.as_raw_fd();
        let plan = Plan::new(move |_| {
            raw_read(fd, &mut [0; 5]);
            Action::Proceed
        });
        let (count, calls) = faults::with(plan, || raw_read(fd, &mut [0; 20]));
        assert_eq!((count, calls.len()), (15, 1));
    }

    #[test]
    fn threads_are_under_the_plan_too() {
        let (_, calls) = faults::with(Plan::random(3), || {
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        let (source, mut sink) = pipe();
                        for round in 0..200_u8 {
                            sink.write_all(&[round; 64]).expect("room in the pipe");
                            assert_eq!(read_exact(source.as_raw_fd(), 64), Some(vec![round; 64]));
                        }
                    });
                }
            });
        });
        assert!(faults::count(&calls, "read") >= 800);
        assert!(calls.iter().enumerate().all(|(index, call)| call.nth == index));
    }

    #[test]
    fn datagrams_are_never_cut() {
        let (left, right) = UnixDatagram::pair().expect("a socket pair");
        let (received, _) = faults::with(Plan::one_byte(), || {
            left.send(b"whole").expect("sent");
            let mut buffer = [0; 16];
            let length = right.recv(&mut buffer).expect("received");
            buffer[..length].to_vec()
        });
        assert_eq!(received, b"whole");
    }

    #[test]
    fn vectored_transfers_are_cut_across_their_buffers() {
        let (mut left, mut right) = UnixStream::pair().expect("a socket pair");
        let (counts, calls) = faults::with(Plan::short(vec![7, 6]), || {
            let sent = left.write_vectored(&[IoSlice::new(b"hello"), IoSlice::new(b"world")]).expect("sent");
            let (mut first, mut second) = ([0; 5], [0; 5]);
            let mut parts = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
            let received = right.read_vectored(&mut parts).expect("received");
            (sent, received, first, second)
        });
        assert_eq!(counts, (7, 6, *b"hello", *b"w\0\0\0\0"));
        assert_eq!((calls[0].name, calls[0].asked), ("writev", 10));
    }

    #[test]
    fn small_writes_stay_whole_on_request() {
        let (_source, mut sink) = pipe();
        let (count, _) = faults::with(Plan::one_byte().whole_small_writes(), || sink.write(&[1; 100]).ok());
        assert_eq!(count, Some(100));
    }

    #[test]
    fn prints_are_left_alone() {
        let (_, calls) = faults::with(Plan::fail("write", 0, libc::EPIPE), || {
            io::stderr().write_all(b"a student's debugging print\n").expect("printed");
        });
        assert_eq!(calls, []);
    }

    #[test]
    fn waiting_without_blocking_is_not_interrupted() {
        let (result, calls) = faults::with(Plan::interrupted_every(1), || {
            // SAFETY: no status is asked for.
            (unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) }, errno())
        });
        assert_eq!((result, calls.len()), ((-1, Some(libc::ECHILD)), 1));
    }

    #[test]
    fn the_standard_library_works_in_an_interposed_program_and_under_a_plan() {
        let work = || {
            let path = std::env::temp_dir().join(format!("harness-faults-{}", std::process::id()));
            fs::write(&path, "text".repeat(5000)).expect("written");
            assert_eq!(fs::read_to_string(&path).expect("read").len(), 20_000);
            fs::remove_file(&path).expect("removed");
            let output = Command::new("sh").args(["-c", "cat; exit 3"]).output().expect("sh runs");
            assert_eq!(output.status.code(), Some(3));
            assert_eq!(thread::spawn(|| 7).join().expect("joined"), 7);
        };
        work();
        let (_, calls) = faults::with(Plan::random(1), work);
        assert!(faults::count(&calls, "open") >= 2, "{calls:?}");
        faults::with(Plan::interrupted_every(2), work);
    }
}
