//! What several entries of the corpus do.

/// The right answer.
pub const RIGHT: u64 = 42;

pub fn answer_if(is_so: bool) -> u64 {
    if is_so { RIGHT } else { 0 }
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
