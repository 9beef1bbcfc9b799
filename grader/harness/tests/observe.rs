//! What the kernel says about processes in known states. Each test forks them, waits until the kernel says that they
//! have come to rest, and looks. A process of its own for each test: it forks, and counts children and descriptors.

use harness::observe::{self, Label, Root};
use rusty_fork::rusty_fork_test;
use std::ptr;
use std::time::{Duration, Instant};

/// A forked process, killed and reaped at the end.
struct Child(i32);

impl Child {
    fn fork(body: impl FnOnce()) -> Child {
        // SAFETY: the tests run in a process of their own whose other threads hold no locks that `body` needs.
        match unsafe { libc::fork() } {
            -1 => panic!("fork: {}", std::io::Error::last_os_error()),
            0 => {
                body();
                // SAFETY: _exit ends this process without running anything.
                unsafe { libc::_exit(0) }
            }
            pid => Child(pid),
        }
    }

    /// Waits until every thread of the process is blocked in one of the calls `names`.
    fn blocked_in(self, names: &[&str]) -> Child {
        until(|| observe::blocked_in(self.0, self.0).is_some_and(|call| names.contains(&call.name)));
        self
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        for pid in observe::descendants_of(self.0).into_iter().chain([self.0]) {
            // SAFETY: descendants of a child that has not been reaped: no foreign process can have the pid.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        // SAFETY: no status is asked for.
        unsafe { libc::waitpid(self.0, ptr::null_mut(), 0) };
    }
}

/// Waits for something that will come true; the test's own time limit is the end of patience.
fn until(mut condition: impl FnMut() -> bool) {
    let patience = Instant::now() + Duration::from_secs(15);
    while !condition() {
        assert!(Instant::now() < patience, "what the test waits for does not happen");
        std::thread::yield_now();
    }
}

fn pipe() -> [i32; 2] {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for two descriptors.
    assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
    ends
}

fn close(fd: i32) {
    // SAFETY: the tests close their own pipe ends only.
    unsafe { libc::close(fd) };
}

fn read(fd: i32) -> isize {
    // SAFETY: the buffer has room for one byte.
    unsafe { libc::read(fd, [0_u8; 1].as_mut_ptr().cast(), 1) }
}

/// Writes until the pipe is full, and then waits.
fn flood(fd: i32) {
    let block = [0_u8; 4096];
    // SAFETY: the block is valid for its length.
    while unsafe { libc::write(fd, block.as_ptr().cast(), block.len()) } > 0 {}
}

fn wait_for(pid: i32) {
    // SAFETY: no status is asked for.
    unsafe { libc::waitpid(pid, ptr::null_mut(), 0) };
}

/// One zeroed page that is shared with children.
fn shared_page() -> *mut u32 {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping at an address of the kernel's choice.
    let page = unsafe { libc::mmap(ptr::null_mut(), 4096, protection, flags, -1, 0) };
    assert_ne!(page, libc::MAP_FAILED);
    page.cast()
}

/// Sleeps while the word is `expected`, and never again wakes by itself.
fn futex_wait(word: *mut u32, expected: u32) {
    let none = ptr::null::<libc::timespec>();
    // SAFETY: the word is in a mapping that lives as long as the process.
    unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAIT, expected, none) };
}

/// Whether the report on one worker says all of `words`.
#[track_caller]
fn says(report: &str, words: &[&str]) {
    for words in words {
        assert!(report.contains(words), "the report does not say {words:?}:\n{report}");
    }
}

rusty_fork_test! {
    #![rusty_fork(timeout_ms = 240000)]

    #[test]
    fn a_reader_that_holds_the_write_end_is_told_to_close_it() {
        let [source, sink] = pipe();
        let child = Child::fork(|| { read(source); }).blocked_in(&["read"]);
        close(source);
        close(sink);
        let (pid, report) = (child.0, observe::hang_report(&[child.0], &[]));
        says(&report, &[
            &format!("process {pid} (the worker) waits in read(fd {source}, pipe:["),
            &format!("the write end is still open in process {pid} itself (fd {sink})"),
            &format!("so nobody will ever write: process {pid} (the worker) waits for the end of a pipe"),
            &format!("Close fd {sink} before reading."),
        ]);
    }

    #[test]
    fn a_fifo_open_for_both_directions_is_not_to_be_closed() {
        let path = std::env::temp_dir().join(format!("fifo-{}", std::process::id()));
        let name = std::ffi::CString::new(path.to_str().expect("a name")).expect("a name");
        // SAFETY: a valid name.
        let fd = unsafe { libc::mkfifo(name.as_ptr(), 0o600); libc::open(name.as_ptr(), libc::O_RDWR) };
        let child = Child::fork(|| { read(fd); }).blocked_in(&["read"]);
        close(fd);
        let report = observe::hang_report(&[child.0], &[]);
        std::fs::remove_file(&path).expect("removed");
        says(&report, &[&format!("has the FIFO open for reading and writing in one (fd {fd}), so that there is never an end")]);
        assert!(!report.contains("Close fd"), "{report}");
    }

    #[test]
    fn a_parent_that_waits_for_its_child_before_closing_the_pipe_is_a_cycle() {
        let worker = Child::fork(|| {
            let [source, sink] = pipe();
            let child = Child::fork(|| { close(sink); read(source); });
            wait_for(child.0);
        }).blocked_in(&["wait4"]);
        until(|| observe::children_of(worker.0).iter().any(|child| observe::blocked_in(*child, *child).is_some_and(|call| call.name == "read")));
        let child = observe::children_of(worker.0)[0];
        let report = observe::hang_report(&[worker.0], &[]);
        says(&report, &[
            &format!("process {} (the worker) waits in wait4 for its child process {child}", worker.0),
            &format!("process {child} (child of {}) waits in read(", worker.0),
            "so none of them can go on:",
            &format!("waits for its child process {child} to end"),
            &format!("in process {} before it waits for the child.", worker.0),
        ]);
    }

    #[test]
    fn a_parent_that_waits_before_it_reads_a_full_pipe_is_told_to_read() {
        let worker = Child::fork(|| {
            let [source, sink] = pipe();
            let child = Child::fork(|| { close(source); flood(sink); });
            close(sink);
            wait_for(child.0);
        }).blocked_in(&["wait4"]);
        until(|| observe::children_of(worker.0).iter().any(|child| observe::blocked_in(*child, *child).is_some_and(|call| call.name == "write")));
        says(&observe::hang_report(&[worker.0], &[]), &["the pipe is full", "so none of them can go on:", " Read fd "]);
    }

    #[test]
    fn nobody_is_blamed_while_the_check_holds_the_other_end() {
        let [source, sink] = pipe();
        let child = Child::fork(|| { close(sink); read(source); }).blocked_in(&["read"]);
        let report = observe::hang_report(&[child.0], &[]);
        says(&report, &[&format!("the write end is still open in the check (fd {sink})")]);
        assert!(!report.contains("so "), "{report}");
    }

    #[test]
    fn a_writer_that_is_still_busy_can_go_on() {
        let [source, sink] = pipe();
        let reader = Child::fork(|| { close(sink); read(source); }).blocked_in(&["read"]);
        let busy = Child::fork(|| loop { std::hint::spin_loop(); });
        close(source);
        close(sink);
        let report = observe::hang_report(&[reader.0, busy.0], &[]);
        says(&report, &[&format!("process {} (worker 1) is running (busy)", busy.0)]);
        assert!(!report.contains("\nso "), "{report}");
    }

    #[test]
    fn a_futex_is_named_by_its_label() {
        let page = shared_page();
        let child = Child::fork(|| futex_wait(page.wrapping_add(2), 0)).blocked_in(&["futex"]);
        let label = Label { name: "the lock".to_owned(), start: page.addr(), len: 64 };
        let root = Root { pid: child.0, name: "the locker".to_owned() };
        says(&observe::hang_report_of(&[root], &[label]), &[
            &format!("process {} (the locker) waits in futex(the lock, byte 8): the word is 0", child.0),
            "so nobody is left to wake it",
        ]);
    }

    #[test]
    fn a_word_that_changed_without_a_wake_up_is_reported() {
        let page = shared_page();
        let child = Child::fork(|| futex_wait(page, 0)).blocked_in(&["futex"]);
        // SAFETY: the page is mapped, and the child does not write it.
        unsafe { page.write_volatile(5) };
        says(&observe::hang_report(&[child.0], &[]), &["the word was 0, now it is 5", "so a wake-up is missing"]);
    }

    #[test]
    fn a_poll_lists_its_descriptors() {
        let [source, sink] = pipe();
        let child = Child::fork(|| {
            let mut entries = [libc::pollfd { fd: source, events: libc::POLLIN, revents: 0 }];
            // SAFETY: one valid entry.
            unsafe { libc::poll(entries.as_mut_ptr(), 1, -1) };
        }).blocked_in(&["poll"]);
        close(source);
        close(sink);
        says(&observe::hang_report(&[child.0], &[]), &[
            "waits in poll on 1 descriptors, without a time limit:",
            &format!("fd {source}, pipe:["),
            &format!("Close fd {sink} before reading."),
        ]);
    }

    #[test]
    fn a_file_lock_names_its_holder() {
        let path = std::env::temp_dir().join(format!("harness-observe-{}", std::process::id()));
        let name = std::ffi::CString::new(path.to_str().expect("a plain path")).expect("no zero byte");
        // SAFETY: `name` is a C string.
        let open = || unsafe { libc::open(name.as_ptr(), libc::O_RDWR | libc::O_CREAT, 0o600) };
        let child = Child::fork(|| {
            for fd in [open(), open()] {
                // SAFETY: flock touches no memory.
                unsafe { libc::flock(fd, libc::LOCK_EX) };
            }
        }).blocked_in(&["flock"]);
        let report = observe::hang_report(&[child.0], &[]);
        std::fs::remove_file(&path).expect("removed");
        says(&report, &[&format!("the lock is held by process {} (the worker)", child.0), "so none of them can go on"]);
    }

    #[test]
    fn stopped_and_ended_processes_are_called_so() {
        // SAFETY: raise touches no memory.
        let stopped = Child::fork(|| { unsafe { libc::raise(libc::SIGSTOP) }; });
        let ended = Child::fork(|| {});
        until(|| observe::state_of(stopped.0) == Some('T') && observe::state_of(ended.0) == Some('Z'));
        assert_eq!(observe::zombies_of(std::process::id().cast_signed()), [ended.0]);
        says(&observe::hang_report(&[stopped.0, ended.0], &[]), &["is stopped", "has ended; the check has not waited for it yet"]);
    }

    #[test]
    fn a_process_that_does_not_exist_is_nothing_special() {
        let gone = Child::fork(|| {});
        let pid = gone.0;
        drop(gone);
        assert_eq!(observe::hang_report(&[pid], &[]), "");
        assert_eq!((observe::state_of(pid), observe::cpu_time_of(pid), observe::threads_of(pid)), (None, None, vec![]));
        assert!(observe::open_fds(pid).is_err() && observe::page_map(pid, 0, 1).is_err());
    }

    #[test]
    fn a_crowd_is_reported_on_forty_lines_at_most() {
        let page = shared_page();
        let crowd: Vec<Child> = (0..60).map(|_| Child::fork(|| futex_wait(page, 0))).collect();
        let pids: Vec<i32> = crowd.iter().map(|child| child.0).collect();
        until(|| pids.iter().all(|pid| observe::blocked_in(*pid, *pid).is_some_and(|call| call.name == "futex")));
        let report = observe::hang_report(&pids, &[]);
        assert!(report.lines().count() <= 40, "{report}");
        says(&report, &["… and 23 lines more", "so nobody is left to wake them"]);
    }

    #[test]
    fn descriptors_and_their_directions_are_listed() {
        let me = std::process::id().cast_signed();
        let before = observe::open_fds(me).expect("my own descriptors");
        let [source, sink] = pipe();
        let after = observe::open_fds(me).expect("my own descriptors");
        let new: Vec<_> = after.into_iter().filter(|open| !before.contains(open)).collect();
        assert_eq!(new.iter().map(|open| open.number).collect::<Vec<_>>(), [source, sink]);
        assert!(new[0].readable() && !new[0].writable() && new[1].writable());
        assert!(new[0].target.starts_with("pipe:[") && new[0].target == new[1].target);
    }

    #[test]
    fn relations_are_those_of_fork() {
        let [source, sink] = pipe();
        let parent = Child::fork(|| {
            // SAFETY: setsid touches no memory.
            unsafe { libc::setsid() };
            let _grandchild = Child::fork(|| { read(source); });
            read(source);
        });
        until(|| observe::descendants_of(parent.0).len() == 1 && observe::blocked_in(parent.0, parent.0).is_some_and(|call| call.name == "read"));
        let grandchild = observe::children_of(parent.0)[0];
        assert_eq!(observe::parent_of(grandchild), Some(parent.0));
        assert_eq!((observe::session_of(grandchild), observe::tty_of(grandchild)), (Some(parent.0), Some(0)));
        assert_eq!(observe::threads_of(parent.0), [parent.0]);
        close(sink);
    }

    #[test]
    fn processor_time_is_counted_while_spinning_only() {
        let page = shared_page();
        let busy = Child::fork(|| loop { std::hint::spin_loop(); });
        let asleep = Child::fork(|| futex_wait(page, 0)).blocked_in(&["futex"]);
        let before = observe::cpu_time_of(asleep.0).expect("it exists");
        until(|| observe::cpu_time_of(busy.0).is_some_and(|time| time > Duration::from_millis(20)));
        assert_eq!(observe::cpu_time_of(asleep.0), Some(before));
    }

    #[test]
    fn a_page_is_copied_when_it_is_written_after_fork() {
        let pages = 4;
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping at an address of the kernel's choice, of small pages so that they are copied one by one.
        let region = unsafe {
            let region = libc::mmap(ptr::null_mut(), pages * 4096, protection, flags, -1, 0).cast::<u8>();
            libc::madvise(region.cast(), pages * 4096, libc::MADV_NOHUGEPAGE);
            ptr::write_bytes(region, 1, (pages - 1) * 4096);
            region
        };
        let shared = shared_page();
        // SAFETY: the second page is inside the region.
        let child = Child::fork(|| { unsafe { region.add(4096).write_volatile(2) }; futex_wait(shared, 0); }).blocked_in(&["futex"]);
        let map = observe::page_map(child.0, region.addr(), pages * 4096).expect("a child's pages");
        assert_eq!(map.iter().map(|page| page.present).collect::<Vec<_>>(), [true, true, true, false]);
        assert_eq!(map.iter().map(|page| page.exclusive).collect::<Vec<_>>(), [false, true, false, false]);
        assert!(map.iter().all(|page| !page.file_or_shared));
        let memory = observe::memory_of(child.0, region.addr(), pages * 4096).expect("a child's memory");
        assert!(memory.rss_kib >= 12 && memory.private_dirty_kib >= 4, "{memory:?}");
    }

    #[test]
    fn system_v_objects_are_listed_until_removed() {
        // SAFETY: makes a segment, and touches no memory.
        let id = unsafe { libc::shmget(libc::IPC_PRIVATE, 4096, libc::IPC_CREAT | 0o600) };
        let listed = || observe::sysv_objects().into_iter().find(|object| object.kind == observe::SysvKind::SharedMemory && object.id == id);
        let found = listed();
        // SAFETY: IPC_RMID takes no structure.
        unsafe { libc::shmctl(id, libc::IPC_RMID, ptr::null_mut()) };
        assert_eq!(found.map(|object| object.key), Some(libc::IPC_PRIVATE));
        assert_eq!(listed(), None);
    }

    #[test]
    fn shared_memory_names_are_listed() {
        let name = std::ffi::CString::new(format!("/harness-observe-{}", std::process::id())).expect("no zero byte");
        // SAFETY: `name` is a C string.
        let fd = unsafe { libc::shm_open(name.as_ptr(), libc::O_CREAT | libc::O_RDWR, 0o600) };
        let names = observe::shm_names();
        close(fd);
        // SAFETY: as above.
        unsafe { libc::shm_unlink(name.as_ptr()) };
        assert!(names.iter().any(|listed| Some(listed.as_str()) == name.to_str().ok().map(|name| &name[1..])));
    }
}
