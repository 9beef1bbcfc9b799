//! Which tiers this machine offers, found out by making each one and running a tiny check in it.
//!
//! The tiny check is the grader's own program: it does what checks do, tries what they must not be able to, and says over the
//! event socket what went wrong.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use harness::event::Event;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socket};
use nix::unistd::{ForkResult, fork};

use super::tier::Tier;
use super::{Order, run};
use crate::course::Course;
use crate::error::{Error, Result};
use crate::judge::judge;
use crate::manifest;
use crate::scratch::Scratch;

/// The name of the tiny check, for each tier another.
const NAME: &str = "sandbox-probe-";

/// A tier, and why it cannot be had here, if it cannot.
pub type Finding = (Tier, std::result::Result<(), String>);

/// The tier to run checks in: `forced`, or the best that works here. `required` is the least that will do.
///
/// # Errors
/// [`Error::Sandbox`] when there is no such tier here.
pub fn choose(
    course: &Course,
    scratch: &Scratch,
    forced: Option<Tier>,
    required: Option<Tier>,
) -> Result<Tier> {
    let chosen = match forced {
        Some(tier) => match try_out(course, scratch, tier)? {
            Ok(()) => tier,
            Err(why) => {
                return Err(Error::Sandbox(format!("this machine does not offer tier {tier}: {why}")));
            }
        },
        None => {
            let findings = tiers(course, scratch, false)?;
            findings.iter().find(|(_, finding)| finding.is_ok()).map_or(Tier::Open, |(tier, _)| *tier)
        }
    };
    match required {
        Some(required) if chosen < required => Err(Error::Sandbox(format!(
            "tier {required} is required, and this is tier {chosen}: `grader doctor` says what is missing"
        ))),
        _ => Ok(chosen),
    }
}

/// Tries the tiers from best to worst until one works; with `all`, every one.
///
/// # Errors
/// When even an open check cannot be run.
pub fn tiers(course: &Course, scratch: &Scratch, all: bool) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for tier in Tier::ALL {
        let finding = try_out(course, scratch, tier)?;
        let works = finding.is_ok();
        findings.push((tier, finding));
        if works && !all {
            break;
        }
    }
    Ok(findings)
}

/// The folders that a check may read besides the system's: the sources of labs, subjects and harness, which are quoted when
/// an exploration has found something.
pub fn shown(course: &Course, scratch: &Scratch) -> Vec<PathBuf> {
    let manifest = course.root.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).unwrap_or_default();
    // Parts of it are compiled into what is explored.
    let harness = manifest::folder_of("harness", &manifest, &text);
    let explore = harness.as_ref().map(|harness| harness.with_file_name("explore"));
    let own = [course.root.join("labs"), scratch.root.join("subjects")];
    own.into_iter().chain(harness).chain(explore).filter(|folder| folder.is_dir()).collect()
}

fn try_out(course: &Course, scratch: &Scratch, tier: Tier) -> Result<std::result::Result<(), String>> {
    if tier == Tier::SeparateUser && !nix::unistd::geteuid().is_root() {
        return Ok(Err("the grader does not run as root".to_owned()));
    }
    let this = this_program(scratch)?;
    let execution = run(&Order {
        binary: &this,
        check: &format!("{NAME}{tier}"),
        seed: 0,
        deadline: Duration::from_secs(5),
        slowness: 1.0,
        options: &["--reads", &course.root.join("labs").to_string_lossy()],
        scratch: &scratch.root,
        tier,
        hidden: &[PathBuf::from("/home"), PathBuf::from("/root")],
        shown: &shown(course, scratch),
        sockets: true,
        without: None,
    });
    match execution {
        Ok(execution) => {
            let verdict = judge(&execution);
            Ok(if verdict.is_passed() { Ok(()) } else { Err(verdict.why().unwrap_or_default()) })
        }
        Err(Error::Internal(why)) if tier != Tier::Open => Ok(Err(why)),
        Err(error) => Err(error),
    }
}

/// This program by a path that can be shown in namespaces: its own, or, when it has been removed or built anew meanwhile, that
/// of a copy.
fn this_program(scratch: &Scratch) -> Result<PathBuf> {
    let failed = |error: io::Error| Error::Internal(format!("this program cannot be found: {error}"));
    // The kernel says of a file that is gone `NAME (deleted)`.
    if let Some(path) = std::env::current_exe().ok().filter(|path| path.is_file()) {
        return Ok(path);
    }
    let (copy, part) = (scratch.root.join("grader"), scratch.root.join("grader.part"));
    let running = super::this_program().map_err(failed)?;
    fs::copy(running, &part).and_then(|_| fs::rename(&part, &copy)).map_err(failed)?;
    Ok(copy)
}

/// When called by a warden as the tiny check: is it.
pub fn in_place_of_check() -> Option<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [command, name, option, events, .., reads] = arguments.as_slice() else { return None };
    let tier: Tier = name.strip_prefix(NAME)?.parse().ok()?;
    if command != "run" || option != "--events" {
        return None;
    }
    // SAFETY: the warden has passed us this descriptor, for us alone.
    let events = unsafe { OwnedFd::from_raw_fd(events.parse().ok()?) };
    let mut frames = vec![Event::Finished];
    if let Err(why) = be_a_check(tier, Path::new(reads)) {
        frames.insert(0, Event::Inconclusive { why });
    }
    for event in frames {
        let sent = send(events.as_raw_fd(), &event.encode(), MsgFlags::MSG_NOSIGNAL);
        if sent.is_err() {
            return Some(ExitCode::FAILURE);
        }
    }
    Some(ExitCode::SUCCESS)
}

fn be_a_check(tier: Tier, reads: &Path) -> std::result::Result<(), String> {
    use_what_checks_use().map_err(|(what, error)| format!("{what}: {error}"))?;
    fs::read_dir(reads).map_err(|error| format!("{}: {error}", reads.display()))?;
    if tier >= Tier::Gate {
        refused("a network socket", || {
            let made = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None);
            made.map(drop).map_err(io::Error::from)
        })?;
    }
    if tier >= Tier::Domain {
        refused("a file outside", || {
            fs::write("/var/tmp/grader-probe", "").and_then(|()| fs::remove_file("/var/tmp/grader-probe"))
        })?;
    }
    if tier == Tier::Domain {
        // SAFETY: signal 0 is none.
        refused("a signal to the warden", || is_zero(unsafe { libc::kill(libc::getppid(), 0) }))?;
    }
    if tier.has_namespaces() {
        let others = fs::read_dir("/proc").map_err(|error| format!("/proc: {error}"))?.flatten();
        let numbers = others.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let count = numbers.count();
        if count > 2 {
            return Err(format!("{count} processes can be seen in namespaces that have two"));
        }
        // Below its title there is nothing in a new network namespace.
        if fs::read_to_string("/proc/self/net/route").is_ok_and(|routes| routes.lines().nth(1).is_some()) {
            return Err("a way into the network can be seen".to_owned());
        }
    }
    Ok(())
}

fn refused(what: &str, attempt: impl FnOnce() -> io::Result<()>) -> std::result::Result<(), String> {
    match attempt() {
        Ok(()) => Err(format!("{what} was not refused")),
        Err(_) => Ok(()),
    }
}

type Used = std::result::Result<(), (&'static str, io::Error)>;

fn use_what_checks_use() -> Used {
    let here = std::env::current_dir().map_err(|error| ("the directory", error))?;
    fs::write(here.join("file"), "text").map_err(|error| ("a file", error))?;
    fs::remove_file(here.join("file")).map_err(|error| ("a file", error))?;
    fs::read("/proc/self/stat").map_err(|error| ("/proc", error))?;
    fs::File::open("/proc/self/exe").map_err(|error| ("the program", error))?;
    fs::OpenOptions::new().write(true).open("/dev/null").map_err(|error| ("/dev/null", error))?;
    let name: &CStr = c"/grader-probe";
    // SAFETY: the name is a C string; what is made is removed by that name.
    unsafe {
        let fd = libc::shm_open(name.as_ptr(), libc::O_CREAT | libc::O_RDWR, 0o600);
        is_made("shared memory by name", fd)?;
        libc::close(fd);
        libc::shm_unlink(name.as_ptr());
        let id = libc::shmget(libc::IPC_PRIVATE, 4096, libc::IPC_CREAT | 0o600);
        is_made("System V shared memory", id)?;
        libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut());
    }
    socket(AddressFamily::Unix, SockType::Stream, SockFlag::empty(), None)
        .map_err(|error| ("a UNIX socket", error.into()))?;
    std::thread::spawn(|| ()).join().map_err(|_| ("a thread", io::Error::other("it panicked")))?;
    // SAFETY: the only other thread has ended.
    match unsafe { fork() }.map_err(|error| ("a process", error.into()))? {
        // SAFETY: ends the child at once.
        ForkResult::Child => unsafe { libc::_exit(0) },
        ForkResult::Parent { child } => {
            nix::sys::wait::waitpid(child, None).map_err(|error| ("a process", error.into()))?;
        }
    }
    Ok(())
}

fn is_zero(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn is_made(what: &'static str, result: i32) -> Used {
    if result >= 0 { Ok(()) } else { Err((what, io::Error::last_os_error())) }
}
