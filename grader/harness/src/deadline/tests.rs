//! Deadlines for processes that sleep, loop, and get no processor.

use super::*;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};

const LIMIT: Duration = Duration::from_millis(100);

/// What ended children have used is known for all of them together.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

fn decided(pids: &[i32]) -> Time {
    let mut deadline = Deadline::new(LIMIT);
    loop {
        match deadline.time_for(pids) {
            Time::Left => std::thread::yield_now(),
            time => break time,
        }
    }
}

/// What a deadline says about a child in the end.
fn in_the_end(mut child: Child) -> Time {
    let time = decided(&[child.id().cast_signed()]);
    child.kill().unwrap();
    child.wait().unwrap();
    time
}

/// A loop on the first of our processors, under a scheduling policy.
fn busy(policy: libc::c_int) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", "while :; do :; done"]);
    // SAFETY: plain system calls only; an empty `cpu_set_t` is all zeros.
    unsafe {
        command.pre_exec(move || {
            let mut all: libc::cpu_set_t = std::mem::zeroed();
            let mut one: libc::cpu_set_t = std::mem::zeroed();
            libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut all);
            let first = (0..libc::CPU_SETSIZE as usize).find(|&cpu| libc::CPU_ISSET(cpu, &all));
            libc::CPU_SET(first.unwrap_or(0), &mut one);
            let parameter = libc::sched_param { sched_priority: 0 };
            if libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const one) != 0
                || libc::sched_setscheduler(0, policy, &raw const parameter) != 0
            {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        })
    };
    command.spawn().unwrap()
}

#[test]
fn who_gets_no_processor_is_not_stuck() {
    let _alone = alone();
    let mut hog = busy(libc::SCHED_OTHER);
    while observe::cpu_time_of(hog.id() as i32) < Some(Duration::from_millis(5)) {
        std::thread::yield_now();
    }
    let time = in_the_end(busy(libc::SCHED_IDLE));
    hog.kill().unwrap();
    hog.wait().unwrap();
    assert_eq!(time, Time::Denied);
}

#[test]
fn who_naps_is_stuck() {
    let _alone = alone();
    let mut command = Command::new("sh");
    command.args(["-c", "while :; do sleep 0.001; done"]);
    // A session of its own, so that the last nap goes as well.
    let child = command.process_group(0).spawn().unwrap();
    let group = child.id() as i32;
    let time = in_the_end(child);
    // SAFETY: plain system call.
    unsafe { libc::kill(-group, libc::SIGKILL) };
    assert_eq!(time, Time::Over);
}

/// Its state is `D`, as that of somebody who waits for the disk.
#[test]
fn who_waits_for_its_vfork_is_stuck() {
    let _alone = alone();
    // Without `CLONE_VM`: the child has a stack of its own, as after fork.
    let flags = libc::CLONE_VFORK | libc::SIGCHLD;
    let mut command = Command::new("true");
    // SAFETY: plain system calls only.
    unsafe {
        command.pre_exec(move || {
            if libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) == 0 {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                loop {
                    libc::pause();
                }
            }
            Ok(())
        })
    };
    // It does not get to its exec, for which `spawn` waits.
    let spawner = std::thread::spawn(move || command.spawn());
    let child = loop {
        let me = std::process::id().cast_signed();
        let children = observe::children_of(me);
        if let Some(child) = children.into_iter().find(|&pid| observe::state_of(pid) == Some('D')) {
            break child;
        }
        std::thread::yield_now();
    };
    let time = decided(&[child]);
    // SAFETY: our own child, which `spawn` waits for.
    unsafe { libc::kill(child, libc::SIGKILL) };
    let _ = spawner.join();
    assert_eq!(time, Time::Over);
}

#[test]
fn nobody_is_blamed_for_a_machine_that_stood_still() {
    let _alone = alone();
    let sleeper = Sleeper::new();
    let mut deadline = Deadline::new(Duration::from_secs(10));
    // As if the clock had gone on by ten times the deadline meanwhile.
    let asleep = Duration::from_secs(100);
    deadline.shift(asleep);
    napped(Duration::from_millis(10), asleep);
    assert_eq!(deadline.time_for(&sleeper.pids()), Time::Left);
    deadline.shift(asleep / 5);
    assert_eq!(deadline.time_for(&sleeper.pids()), Time::Over);
}

impl Deadline {
    /// As if it had started so much earlier.
    fn shift(&mut self, by: Duration) {
        for moment in [&mut self.start, &mut self.asked, &mut self.moved] {
            *moment -= by;
        }
    }
}

/// A process that sleeps; ended when dropped.
struct Sleeper(Child);

impl Sleeper {
    fn new() -> Sleeper {
        let sleeper = Sleeper(Command::new("sleep").arg("1000").spawn().unwrap());
        let pid = sleeper.pids()[0];
        while observe::name_of(pid).as_deref() != Some("sleep") || observe::state_of(pid) != Some('S') {
            std::thread::yield_now();
        }
        sleeper
    }

    fn pids(&self) -> [i32; 1] {
        [self.0.id().cast_signed()]
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_wait_that_has_just_begun_is_not_over() {
    let _alone = alone();
    let sleeper = Sleeper::new();
    let pids = sleeper.pids();
    let mut of_the_check = Deadline::new(Duration::from_secs(10));
    of_the_check.shift(Duration::from_secs(20));
    let mut of_a_wait = of_the_check.for_another_wait();
    assert_eq!(of_a_wait.time_for(&pids), Time::Left);
    of_a_wait.asked -= Duration::from_secs(3);
    assert_eq!(of_a_wait.time_for(&pids), Time::Over);
}

#[test]
fn nobody_is_blamed_for_the_starved_before_him() {
    let _alone = alone();
    let sleeper = Sleeper::new();
    let pids = sleeper.pids();
    let mut deadline = Deadline::new(Duration::from_secs(10));
    let mut later = |by: u64, starved: u64| {
        deadline.shift(Duration::from_secs(by));
        delays::STARVED.add(Duration::from_secs(starved));
        deadline.time_for(&pids)
    };
    assert_eq!(later(20, 15), Time::Left);
    assert_eq!(later(15, 15), Time::Denied);
    assert_eq!(later(15, 0), Time::Over);
}

#[test]
fn the_wait_for_a_processor_of_one_that_has_ended_can_be_read() {
    let _alone = alone();
    let mut child = Command::new("true").spawn().unwrap();
    let pid = child.id() as i32;
    while observe::state_of(pid) != Some('Z') {
        std::thread::yield_now();
    }
    assert!(waited_for_cpu(&format!("/proc/{pid}")).is_some());
    child.wait().unwrap();
}

#[test]
fn who_sleeps_is_stuck() {
    let _alone = alone();
    let sleeper = Sleeper::new();
    assert_eq!(decided(&sleeper.pids()), Time::Over);
}
