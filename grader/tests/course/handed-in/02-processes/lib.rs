//! What a process does to others: each function in a bad way of its own.

pub fn come_back() -> u32 {
    std::process::exit(0)
}

pub fn stay_alive() -> u32 {
    std::process::abort()
}

pub fn come_to_an_end() {
    loop {
        // SAFETY: no preconditions.
        unsafe { libc::pause() };
    }
}

pub fn leave_no_process() {
    // SAFETY: the process has one thread; the child only sleeps.
    unsafe {
        if libc::fork() == 0 {
            loop {
                libc::pause();
            }
        }
    }
}

pub fn leave_no_zombie() {
    // SAFETY: the process has one thread; the child leaves at once. WNOWAIT leaves it a zombie.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::_exit(0);
        }
        let mut info = std::mem::zeroed();
        libc::waitid(libc::P_PID, child.cast_unsigned(), &mut info, libc::WEXITED | libc::WNOWAIT);
    }
}

pub fn close_what_it_opens() {
    std::mem::forget(std::fs::File::open("/dev/null"));
}

pub fn device() -> String {
    "/dev/card-punch".to_owned()
}
