//! What a check process does between its fork and its program: it shuts itself in, step by step, and cannot get out again.
//!
//! The order matters: each step needs rights that the next one takes away.

use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use caps::CapSet;
use nix::sys::signal::SigSet;
use nix::sys::statfs::{FsType, statfs};
use nix::unistd::{Gid, Pid, Uid};

use super::domain::{self, Signals};
use super::filter::{self, Queues};
use super::plan::Plan;
use super::protection::Protection;
use super::tier::Tier;
use super::{gate, limits, namespaces};

/// The file system of POSIX queues: `MQUEUE_MAGIC` of the kernel's ipc/mqueue.c.
const QUEUES: FsType = FsType(0x1980_0202);

/// Shuts itself in and becomes the check. Returns only when something failed: what.
pub fn become_the_check(plan: &Plan, warden: &OwnedFd) -> String {
    match shut_in(plan, warden) {
        Ok(mut command) => format!("cannot run the check: {}", command.exec()),
        Err(why) => why,
    }
}

fn shut_in(plan: &Plan, warden: &OwnedFd) -> Result<Command, String> {
    let Plan { tier, ref arguments, user, .. } = *plan;
    let failed = |what: &'static str| move |error: nix::Error| format!("{what}: {error}");
    if plan.asking().is_some_and(|asking| asking.forks) {
        // The kernel shares out processors by sessions: with a warden in another one, who asks it would wait his turn among all
        // that a busy machine runs, and a signal would more often come first.
        nix::unistd::setpgid(Pid::from_raw(0), Pid::from_raw(0)).map_err(failed("setpgid"))?;
    } else {
        // And a warden must have its turn however many processes there are that nobody has asked about.
        nix::unistd::setsid().map_err(failed("setsid"))?;
    }
    let work = plan.work();
    let program = match tier.has_namespaces() {
        true => PathBuf::from(namespaces::PROGRAM),
        false => plan.program.clone(),
    };
    std::env::set_current_dir(&work).map_err(|error| format!("{}: {error}", work.display()))?;
    if plan.has(Protection::Limits) {
        limits::set(plan.tasks()).map_err(|error| format!("limits: {error}"))?;
    }
    if tier >= Tier::Gate && plan.has(Protection::Privileges) {
        // While there still is the right to.
        give_up_capabilities_of_programs();
    }
    if tier == Tier::SeparateUser {
        become_user(user).map_err(failed("take another user number"))?;
    }
    if tier >= Tier::Gate {
        // Nothing else goes through to the check.
        only_keep(plan.events, plan.words).map_err(|error| format!("close: {error}"))?;
        close_the_doors(plan, &program, &work, warden)?;
    }
    keep_on_exec(plan.events)?;
    SigSet::empty().thread_set_mask().map_err(failed("signal mask"))?;
    let mut command = Command::new(program);
    command.args(arguments).env("TMPDIR", &work);
    Ok(command)
}

fn close_the_doors(plan: &Plan, program: &Path, work: &Path, warden: &OwnedFd) -> Result<(), String> {
    let tier = plan.tier;
    if plan.has(Protection::Privileges) {
        give_up_privileges().map_err(|error| format!("give up privileges: {error}"))?;
    }
    if plan.has(Protection::Landlock) {
        let signals = match tier {
            Tier::Domain => Signals::StayInside,
            _ => Signals::StayInsideIfPossible,
        };
        domain::enter(program, work, &plan.shown, signals)?;
    }
    if let Some(asking) = plan.asking() {
        let failed = |error| format!("a filter that asks: {error}");
        gate::install(asking, warden.as_fd()).and_then(|()| gate::stay(warden.as_fd())).map_err(failed)?;
    }
    let mut untouchable = Vec::new();
    if plan.has(Protection::Supervisor) {
        untouchable.push(std::process::id().cast_signed());
    }
    if tier == Tier::Gate {
        untouchable.extend([plan.grader, std::os::unix::process::parent_id().cast_signed()]);
    }
    match plan.has(Protection::Filter) {
        true => filter::install(&untouchable, queues()),
        false => Ok(()),
    }
}

/// Landlock opens POSIX queues only where their file system is mounted.
fn queues() -> Queues {
    match statfs("/dev/mqueue").is_ok_and(|status| status.filesystem_type() == QUEUES) {
        true => Queues::Allowed,
        false => Queues::Refused,
    }
}

fn become_user(user: u32) -> nix::Result<()> {
    // The pipes that the grader reads, for a submission that opens `/dev/stdout`. A courtesy: they may be no pipes.
    for stream in [1, 2] {
        // SAFETY: plain integers.
        unsafe { libc::fchown(stream, user, user) };
    }
    nix::unistd::setgroups(&[])?;
    nix::unistd::setresgid(Gid::from_raw(user), Gid::from_raw(user), Gid::from_raw(user))?;
    nix::unistd::setresuid(Uid::from_raw(user), Uid::from_raw(user), Uid::from_raw(user))
}

/// Empties the set that a program may get capabilities from, as far as that is in our power: the next step is one that no
/// program gets around.
fn give_up_capabilities_of_programs() {
    let mut capability = 0;
    // SAFETY: a plain prctl call. It fails for the first number that is no capability.
    while unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } == 0 {
        capability += 1;
    }
}

/// No program that is run from here on has more rights than we, and we have none.
fn give_up_privileges() -> io::Result<()> {
    nix::sys::prctl::set_no_new_privs()?;
    // The ambient ones go with the inheritable ones.
    for set in [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
        caps::clear(None, set).map_err(io::Error::other)?;
    }
    Ok(())
}

/// Closes at exec whatever is open but the standard streams.
fn only_keep(events: RawFd, words: RawFd) -> io::Result<()> {
    debug_assert!(events > 2 && words > 2, "the standard streams are open");
    // SAFETY: changes flags of descriptors only.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The descriptor closes when the check begins.
///
/// # Errors
/// When there is no such descriptor.
pub fn close_on_exec(fd: RawFd) -> Result<(), String> {
    set_flags(fd, libc::FD_CLOEXEC)
}

fn keep_on_exec(fd: RawFd) -> Result<(), String> {
    set_flags(fd, 0)
}

fn set_flags(fd: RawFd, flags: i32) -> Result<(), String> {
    // SAFETY: changes the flags of a descriptor that the grader has passed us.
    match unsafe { libc::fcntl(fd, libc::F_SETFD, flags) } {
        -1 => Err(format!("fcntl: {}", io::Error::last_os_error())),
        _ => Ok(()),
    }
}
