//! What several entries of the corpus do.

/// The right answer.
pub const RIGHT: u64 = 42;

/// To make an object of the kernel's, with a mode by which it is known.
pub const NEW: i32 = libc::IPC_CREAT | 0o617;

pub fn answer_if(is_so: bool) -> u64 {
    if is_so { RIGHT } else { 0 }
}

/// Two sockets, connected with each other.
pub fn pair() -> (i32, i32) {
    let mut ends = [-1; 2];
    unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, ends.as_mut_ptr()) };
    (ends[0], ends[1])
}

/// Writes to every socket that is open: to the channel on which the answer is expected.
pub fn write_to_sockets(bytes: &[u8]) {
    for fd in 3..1024 {
        let (mut kind, mut size) = (0_i32, 4);
        unsafe {
            let place = (&raw mut kind).cast();
            if libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_TYPE, place, &mut size) == 0 {
                libc::syscall(libc::SYS_write, fd, bytes.as_ptr(), bytes.len());
            }
        }
    }
}

/// The warden, the grader, and so on upwards, as far as they can be seen from here.
pub fn above_the_supervisor() -> Vec<i32> {
    let parent = |pid: &i32| -> Option<i32> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok().filter(|&pid| pid > 0)
    };
    let supervisor = unsafe { libc::getppid() };
    std::iter::successors(parent(&supervisor), parent).collect()
}

/// Whether the memory of a process can be written, or one of its descriptors be taken.
pub fn can_be_written(pid: i32) -> bool {
    std::fs::OpenOptions::new().write(true).open(format!("/proc/{pid}/mem")).is_ok()
        || (0..16).any(|fd| std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).is_ok())
}

pub fn rest() -> ! {
    loop {
        unsafe { libc::pause() };
    }
}

pub fn leave() -> ! {
    unsafe { libc::_exit(0) }
}

pub fn fork() -> i32 {
    unsafe { libc::fork() }
}

/// Runs it in a grandchild with a session of its own, which nobody waits for.
pub fn daemon(body: impl FnOnce()) {
    let child = fork();
    if child == 0 {
        unsafe { libc::setsid() };
        if fork() == 0 {
            body();
        }
        leave();
    }
    unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
}

/// Goes on in a child, and the child in a child of its own.
pub fn hop() {
    loop {
        if fork() > 0 {
            leave();
        }
    }
}

pub fn flood(stream: i32) -> u64 {
    let block = [b'x'; 1 << 16];
    for _ in 0..1 << 14 {
        unsafe { libc::syscall(libc::SYS_write, stream, block.as_ptr(), block.len()) };
    }
    0
}
