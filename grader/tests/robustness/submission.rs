//! A submission that does what it should not, one thing a function.

use std::ffi::CString;
use std::fs;
use std::io::Write;

pub fn ends() {}

pub fn waits() {
    announce("ready", "");
    rest();
}

/// Three daemons: out of the session, out of the family, one of them another program without environment.
pub fn leaves_daemons() {
    let daemons = [daemon(rest), daemon(rest), daemon(another_program)];
    announce("ready", &daemons.map(|pid| pid.to_string()).join(" "));
    rest();
}

pub fn floods() {
    let block = [b'x'; 1 << 16];
    for _ in 0..1600 {
        std::io::stdout().write_all(&block).unwrap();
    }
}

pub fn speaks() {
    let mut bytes = b"::error::mine\n```\n\x1b[31mred\x07\0 \xff\xfe \xe2\x80\xaeback".to_vec();
    bytes.extend_from_slice("\u{9b}31m no newline".as_bytes());
    std::io::stdout().write_all(&bytes).unwrap();
    std::io::stdout().flush().unwrap();
    panic!("\x1b]0;title\x07\0\n::error::mine\n```");
}

pub fn stops_its_supervisor() {
    daemon(rest);
    unsafe { libc::kill(libc::getppid(), libc::SIGSTOP) };
    rest();
}

pub fn kills_its_supervisor() {
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, 0) };
    let daemons = [daemon(rest), daemon(another_program)];
    let folder = std::env::current_dir().unwrap();
    // Where the test finds it: the check's own directory will be gone.
    let file = folder.parent().unwrap().parent().unwrap().join("killers");
    let mut file = fs::OpenOptions::new().create(true).append(true).open(file).unwrap();
    writeln!(file, "{} {} {}", std::process::id(), daemons[0], daemons[1]).unwrap();
    unsafe { libc::kill(libc::getppid(), libc::SIGKILL) };
    rest();
}

/// A thousand processes without a parent, every second one dead, and no supervisor to see them.
pub fn leaves_a_crowd() {
    if unsafe { libc::fork() } > 0 {
        rest();
    }
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, 0) };
    let supervisor = unsafe { libc::getpgrp() };
    for number in 0..1000 {
        if unsafe { libc::fork() } == 0 {
            match number % 2 {
                0 => unsafe { libc::_exit(0) },
                _ => rest(),
            }
        }
    }
    unsafe { libc::kill(supervisor, libc::SIGKILL) };
    rest();
}

/// One object of every kind that outlives its process.
pub fn leaves_ipc() {
    let name = CString::new(format!("/yard-{}", std::process::id())).unwrap();
    unsafe {
        libc::shmget(libc::IPC_PRIVATE, 4096, libc::IPC_CREAT | 0o600);
        libc::semget(libc::IPC_PRIVATE, 1, libc::IPC_CREAT | 0o600);
        libc::msgget(libc::IPC_PRIVATE, libc::IPC_CREAT | 0o600);
        libc::close(libc::shm_open(name.as_ptr(), libc::O_CREAT | libc::O_RDWR, 0o600));
        libc::sem_close(libc::sem_open(name.as_ptr(), libc::O_CREAT, 0o600, 1));
        let none: *const libc::mq_attr = std::ptr::null();
        libc::mq_close(libc::mq_open(name.as_ptr(), libc::O_CREAT | libc::O_RDWR, 0o600, none));
    }
}

fn rest() {
    loop {
        unsafe { libc::pause() };
    }
}

fn another_program() {
    let program = [c"sleep".as_ptr(), c"100000".as_ptr(), std::ptr::null()];
    let none: [*const libc::c_char; 1] = [std::ptr::null()];
    unsafe { libc::execve(c"/bin/sleep".as_ptr(), program.as_ptr(), none.as_ptr()) };
}

/// Forks twice, with a session of its own in between; returns the daemon's number once it runs.
fn daemon(body: fn()) -> i32 {
    let mut ends = [0; 2];
    unsafe { libc::pipe(ends.as_mut_ptr()) };
    let child = unsafe { libc::fork() };
    if child == 0 {
        unsafe { libc::setsid() };
        if unsafe { libc::fork() } == 0 {
            let pid = std::process::id().to_ne_bytes();
            unsafe { libc::write(ends[1], pid.as_ptr().cast(), 4) };
            unsafe { libc::close(ends[0]) };
            unsafe { libc::close(ends[1]) };
            body();
        }
        unsafe { libc::_exit(0) };
    }
    let mut pid = [0; 4];
    unsafe { libc::read(ends[0], pid.as_mut_ptr().cast(), 4) };
    unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
    i32::from_ne_bytes(pid)
}

/// Writes a file in one step.
fn announce(name: &str, text: &str) {
    fs::write("part", text).unwrap();
    fs::rename("part", name).unwrap();
}
