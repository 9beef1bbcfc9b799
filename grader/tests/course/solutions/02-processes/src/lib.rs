//! What a process does to others.

pub fn come_back() -> u32 {
    7
}

pub fn stay_alive() -> u32 {
    7
}

pub fn come_to_an_end() {}

pub fn leave_no_process() {
    fork_and_wait();
}

pub fn leave_no_zombie() {
    fork_and_wait();
}

pub fn close_what_it_opens() {
    drop(std::fs::File::open("/dev/null"));
}

pub fn device() -> String {
    "/dev/null".to_owned()
}

fn fork_and_wait() {
    // SAFETY: the process has one thread; the child leaves at once, and the parent waits for it.
    unsafe {
        match libc::fork() {
            0 => libc::_exit(0),
            child => libc::waitpid(child, std::ptr::null_mut(), 0),
        };
    }
}
