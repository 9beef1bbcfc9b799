//! Part 4: how long memory stays.

use std::fs::{self, File};
use std::path::PathBuf;
use std::ptr::NonNull;

use harness::{Check, Ending, Outcome, Stop, ensure, observe};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use shared_memory::{Mapping, Persistence, persistence_of};

use crate::traced::Child;
use crate::trusted::{
    Attached, Key, Name, Told, bytes_at, contents, descriptors_to, map, map_at, me, pattern, posix_works,
    remove_segment, told, went_well, went_well_at, went_wrong, write_at,
};

fn unable(error: std::io::Error) -> Stop {
    Stop::inconclusive(error.to_string())
}

/// A path in the check's own directory, which the grader removes.
fn path(check: &mut Check) -> PathBuf {
    std::env::temp_dir().join(format!("a file {:08x}", check.rng().next_u64() & 0xffff_ffff))
}

/// Everybody who had the file mapped is killed; what they wrote is in the file.
pub fn a_file_outlives_its_processes(check: &mut Check) -> Outcome {
    let path = path(check);
    let len = 5_000 + check.rng().below(9_000) as usize;
    let secret = pattern(check, len);
    for (half, range) in [(0, 0..len / 2), (1, len / 2..len)] {
        let ending = check.ending("`Mapping::of_file`, then SIGKILL", || {
            let memory = told(Mapping::of_file(&path, len));
            memory.map(|memory| {
                // SAFETY: `len` bytes are mapped.
                unsafe { write_at(memory.as_ptr().wrapping_add(range.start), &secret[range]) };
                // SAFETY: ends this process without a chance to clean up.
                unsafe { libc::raise(libc::SIGKILL) };
            })
        })?;
        match ending {
            Ending::Signalled(libc::SIGKILL) => {}
            Ending::Returned(answer) => went_well(answer, "`Mapping::of_file`")?,
            other => {
                return Err(Stop::failed(
                    "`Mapping::of_file` returns",
                    format!("process {half}: {other:?}"),
                    "`Mapping::of_file`",
                ));
            }
        }
    }
    let found = observe::contents(&path).unwrap_or_default();
    let (bytes, good) = (found.len(), found.iter().zip(&secret).filter(|(a, b)| a == b).count());
    ensure!(found == secret, expected: "the file holds the {len} bytes that two processes wrote to its mapping before SIGKILL ended them", observed: "{bytes} bytes, {good} of them as written", look: "`Mapping::of_file`: `MAP_SHARED`, and no contents thrown away when it is opened again");
    let seen = check.ask("`Mapping::of_file` in a process that comes later", || {
        told(Mapping::of_file(&path, len)).map(|memory| {
            let seen = contents(&memory, len);
            std::mem::forget(memory);
            seen
        })
    })?;
    ensure!(went_well(seen, "`Mapping::of_file`")? == secret, expected: "a process that comes later finds what the dead ones wrote", observed: "other bytes", look: "`Mapping::of_file`");
    Ok(())
}

/// Longer, equal, shorter, missing: contents stay, the length never shrinks, no descriptor stays open.
pub fn a_file_keeps_what_it_holds(check: &mut Check) -> Outcome {
    let path = path(check);
    let mut student = check.respondent("`Mapping::of_file`", |len: u64| {
        told(Mapping::of_file(&path, len as usize)).map(|memory| {
            let seen = (memory.len() as u64, contents(&memory, usize::MAX), descriptors_to("a file") as u64);
            std::mem::forget(memory);
            seen
        })
    })?;
    went_wrong(student.ask(0)?, "InvalidInput", "`Mapping::of_file` with 0 bytes", "`Mapping::of_file`")?;
    for (before, len) in [(0, 3_000), (10_000, 10_000), (10_000, 4_100), (4_100, 30_000)] {
        let secret = pattern(check, before);
        if before == 0 {
            let _ = fs::remove_file(&path);
        } else {
            fs::write(&path, &secret).map_err(unable)?;
        }
        let state = if before == 0 { "a missing file".into() } else { format!("a file of {before} bytes") };
        let call = format!("`Mapping::of_file(path, {len})` of {state}");
        let (size, seen, open) = went_well(student.ask(len as u64)?, &call)?;
        ensure!(size == len as u64, expected: "{call} has `len()` {len}", observed: "{size}", look: "`Mapping::of_file`");
        let mut wanted = secret.clone();
        wanted.resize(before.max(len), 0);
        ensure!(seen == wanted[..len], expected: "{call} shows what the file held, and zeros behind it", observed: "other bytes", look: "`Mapping::of_file`: how the file is opened");
        let found = observe::contents(&path).unwrap_or_default();
        let (long, bytes) = (wanted.len(), found.len());
        ensure!(found == wanted, expected: "after {call} the file has {long} bytes, the old ones in front", observed: "{bytes} bytes, or others in front", look: "`Mapping::of_file`: a file is made longer, never shorter");
        ensure!(open == 0, expected: "no descriptor of the file stays open", observed: "{open}", look: "`Mapping::of_file`");
    }
    Ok(())
}

/// The pages of a mapping of `len` bytes at `place` for which `body` asks the kernel and waits, by the calls that it is seen to
/// make; `None` where processes may not be traced.
fn pages_written_back(place: usize, len: usize, body: impl FnOnce()) -> Option<Vec<bool>> {
    let mut child = Child::start_stopped(body).ok()?;
    let mut written = vec![false; len.div_ceil(PAGE)];
    while child.pass(1).ok()? {
        let Some(call) = child.call() else { continue };
        let [address, length, flags, ..] = call.arguments.map(|argument| argument as usize);
        let range = match call.name {
            "msync" if flags & libc::MS_SYNC as usize != 0 => address..address.saturating_add(length),
            "fsync" | "fdatasync" | "sync" | "syncfs" => place..usize::MAX,
            _ => continue,
        };
        for (number, page) in written.iter_mut().enumerate() {
            *page |= range.contains(&(place + number * PAGE));
        }
    }
    Some(written)
}

/// The size of a page on this architecture.
const PAGE: usize = 4096;

/// After `sync` no page of the mapping is dirty, by the kernel's own account; where the file system does not keep one, by the calls
/// that were made.
pub fn sync_reaches_the_disk(check: &mut Check) -> Outcome {
    const LEN: usize = 40_000;
    let path = path(check);
    let file = File::create_new(&path)
        .and_then(|_| File::options().read(true).write(true).open(&path))
        .map_err(unable)?;
    file.set_len(LEN as u64).map_err(unable)?;
    let in_memory = statfs(&path).is_ok_and(|found| found.filesystem_type() == TMPFS_MAGIC);
    let answer = check.ask("`Mapping::sync`", || -> Told<_> {
        let place = told(map(&file, LEN))?;
        // SAFETY: a shared mapping of that length; the value is forgotten again.
        let memory = std::mem::ManuallyDrop::new(unsafe { Mapping::from_raw(place, LEN) });
        // SAFETY: mapped.
        unsafe { write_at(place.as_ptr(), &[7; LEN]) };
        let dirty = || {
            let memory = observe::memory_of(me(), place.as_ptr().addr(), LEN).unwrap_or_default();
            memory.private_dirty_kib + memory.shared_dirty_kib
        };
        let before = dirty();
        told(memory.sync())?;
        let after = dirty();
        let written = pages_written_back(place.as_ptr().addr(), LEN, || _ = memory.sync());
        Ok((before, after, written))
    })?;
    let (before, after, written) = went_well(answer, "`Mapping::sync`")?;
    if in_memory || before == 0 {
        let Some(written) = written else {
            return Err(Stop::inconclusive(
                "this file system does not tell dirty pages from clean ones, and the calls of `sync` may not be traced",
            ));
        };
        let (pages, seen) = (written.len(), written.iter().filter(|&&page| page).count());
        ensure!(seen == pages, expected: "`sync` asks the kernel to write back all {pages} pages of the mapping, and waits (msync with MS_SYNC)", observed: "it did so for {seen} of them", look: "`Mapping::sync`: the whole length, and the flag that waits: `MS_SYNC`");
        check.note(
            "this file system does not tell dirty pages from clean ones; the calls of `sync` were seen",
        );
        return Ok(());
    }
    ensure!(after == 0, expected: "when `sync` returns, none of the {before} KiB just written is still only in memory", observed: "{after} KiB are dirty", look: "`Mapping::sync`: the whole length, and the flag that waits: `MS_SYNC`");
    Ok(())
}

/// Anonymous memory: the parent and the children forked afterwards share it; nothing leads to it from outside.
pub fn anonymous_memory_is_for_the_family(check: &mut Check) -> Outcome {
    let len = 1 + check.rng().below(20_000) as usize;
    let secret = 1 + check.rng().below(255) as u8;
    let answer = check.ask("`Mapping::anonymous` and a fork", || -> Told<_> {
        let empty = told(Mapping::anonymous(0).map(std::mem::forget));
        let memory = told(Mapping::anonymous(len))?;
        let zero = contents(&memory, len).iter().all(|&byte| byte == 0);
        let (address, last) = (memory.as_ptr(), len - 1);
        // SAFETY: mapped, `len` bytes. The child writes one byte and ends.
        unsafe {
            address.write_volatile(0);
            match libc::fork() {
                -1 => return Err(std::io::Error::last_os_error().to_string()),
                0 => {
                    address.add(last).write_volatile(secret);
                    libc::_exit(0);
                }
                pid => _ = libc::waitpid(pid, std::ptr::null_mut(), 0),
            }
        }
        // SAFETY: as above.
        let seen = unsafe { address.add(last).read_volatile() };
        let line = map_at(me(), address.addr()).unwrap_or_default();
        let seen_len = memory.len() as u64;
        std::mem::forget(memory);
        Ok((empty, zero, seen, line, seen_len))
    })?;
    let (empty, zero, seen, line, seen_len) = went_well(answer, "`Mapping::anonymous`")?;
    went_wrong(empty, "InvalidInput", "`Mapping::anonymous(0)`", "`Mapping::anonymous`")?;
    ensure!(seen_len == len as u64 && zero, expected: "`Mapping::anonymous({len})` is {len} zero bytes", observed: "{seen_len} bytes, all zero: {zero}", look: "`Mapping::anonymous`");
    ensure!(seen == secret, expected: "the parent reads the {secret} that its child wrote after the fork", observed: "{seen}", look: "`Mapping::anonymous`: the flag that says what becomes of the pages at a fork");
    let path = line.splitn(6, ' ').nth(5).unwrap_or_default().trim();
    ensure!(path.is_empty() || path.ends_with("(deleted)"), expected: "nothing leads to anonymous memory from outside", observed: "the kernel says it is `{path}`", look: "`Mapping::anonymous`: `MAP_ANONYMOUS`");
    Ok(())
}

/// Each kind of memory, named and unnamed, before and after its removal.
pub fn persistence_is_told(check: &mut Check) -> Outcome {
    posix_works(check)?;
    let (name, gone, key, removed) = (Name::new(check), Name::new(check), Key::new(check)?, Key::new(check)?);
    let (path, lost) = (path(check), path(check));
    let file = |path: &PathBuf| {
        fs::write(path, [0; 5000])?;
        map(&File::options().read(true).write(true).open(path)?, 5000)
    };
    let on_disk = file(&path).map_err(unable)?;
    let was_on_disk = file(&lost).map_err(unable)?;
    fs::remove_file(&lost).map_err(unable)?;
    let in_memory = statfs(&path).is_ok_and(|found| found.filesystem_type() == TMPFS_MAGIC);
    let object = map(&name.make(5000, 0o600)?, 5000).map_err(unable)?;
    let nameless = map(&gone.make(5000, 0o600)?, 5000).map_err(unable)?;
    gone.remove();
    let segment = Attached::to(key.make(5000, 0o600)?).map_err(unable)?;
    let id = removed.make(5000, 0o600)?;
    let dying = Attached::to(id).map_err(unable)?;
    remove_segment(id);
    let private = |flags, file: Option<&File>| {
        let fd = file.map_or(-1, std::os::fd::AsRawFd::as_raw_fd);
        // SAFETY: at an address that the kernel chooses.
        let address = unsafe { libc::mmap(std::ptr::null_mut(), 5000, libc::PROT_READ, flags, fd, 0) };
        NonNull::new(address.cast::<u8>())
            .filter(|_| address != libc::MAP_FAILED)
            .ok_or_else(std::io::Error::last_os_error)
    };
    let opened = File::open(&path).map_err(unable)?;
    let copy = private(libc::MAP_PRIVATE, Some(&opened)).map_err(unable)?;
    let anonymous = private(libc::MAP_SHARED | libc::MAP_ANONYMOUS, None).map_err(unable)?;
    let heap = Box::new(7_u8);
    let named = if in_memory { Persistence::Kernel } else { Persistence::FileSystem };
    let cases = [
        ("a shared mapping of a file", on_disk, named),
        ("a shared mapping of a file whose name has been removed", was_on_disk, Persistence::Process),
        ("a private mapping of a file", copy, Persistence::Process),
        ("a POSIX object", object, Persistence::Kernel),
        ("a POSIX object after `shm_unlink`", nameless, Persistence::Process),
        ("a System V segment", segment.place(), Persistence::Kernel),
        ("a System V segment after `IPC_RMID`", dying.place(), Persistence::Process),
        ("shared anonymous memory", anonymous, Persistence::Process),
        ("the heap", NonNull::from(&*heap), Persistence::Process),
    ];
    let mut student = check.respondent("`persistence_of`", |address: u64| {
        told(persistence_of(std::ptr::without_provenance(address as usize)).map(|found| format!("{found:?}")))
    })?;
    const LOOK: &str = "`persistence_of`: the path in the line, and `(deleted)`: which paths name a file system on a disk, which none?";
    for (what, place, wanted) in &cases {
        // The first byte, one in the middle, and the last one of the second page.
        let ends = if *what == "the heap" { vec![0] } else { vec![0, 3000, 8191] };
        for offset in ends {
            let address = (place.as_ptr().addr() + offset) as u64;
            let line = map_at(me(), address as usize).unwrap_or_default();
            let call = format!("`persistence_of` {what}");
            let seen = went_well_at(student.ask(address)?, &call, LOOK)?;
            let wanted = format!("{wanted:?}");
            ensure!(seen == wanted, expected: "{call} is `{wanted}`", observed: "`{seen}`; the line is: {line}", look: "{LOOK}");
        }
    }
    went_wrong(
        student.ask(16)?,
        "NotFound",
        "`persistence_of` an address where nothing is mapped",
        "`persistence_of`",
    )?;
    // SAFETY: a byte that lives on: the compiler must not take the heap case away.
    let _ = unsafe { bytes_at(&raw const *heap, 1) };
    Ok(())
}
