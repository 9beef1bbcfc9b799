//! Part 2: POSIX objects and their mappings.

use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::SeqCst};

use harness::faults::{self, Plan};
use harness::{Check, Ending, Options, Outcome, Shared, Stop, Wire, ensure};
use shared_memory::{Access, Mapping, Shareable, unlink};

use crate::trusted::{
    Name, Told, contents, descriptors_to, drop_privileges, maps_of, me, page_size, pattern, posix_works,
    told, went_well, went_well_at, went_wrong, write_at,
};

/// Keeps the mapping to the end of the process: dropping it is another check's question.
fn keep<T>(mapping: Mapping, look: impl FnOnce(&Mapping) -> T) -> T {
    let seen = look(&mapping);
    std::mem::forget(mapping);
    seen
}

fn object(name: &Name, call: &str) -> Result<std::fs::File, Stop> {
    name.object().map_err(|error| {
        Stop::failed(format!("{call} makes an object of that name"), format!("opening it: {error}"), call)
    })
}

/// A new object, of the size and with the permissions asked for; never one that is there already.
pub fn create_never_takes_an_existing_object(check: &mut Check) -> Outcome {
    posix_works(check)?;
    let name = Name::new(check);
    let len = 1 + check.rng().below(20_000) as usize;
    let mode = 0o600 | check.rng().below(0o100) as u32;
    let call = format!("`Mapping::create(name, {len}, {mode:#o})`");
    let create =
        |len: usize| told(Mapping::create(name.text(), len, mode).map(|mapping| keep(mapping, Mapping::len)));
    let secret = pattern(check, len);
    let (made, again, still_there) = check.ask("`Mapping::create`", || {
        // SAFETY: sets this process's umask.
        unsafe { libc::umask(0o022) };
        let made = create(len).map(|len| len as u64);
        if let Ok(file) = name.object() {
            let _ = file.write_all_at(&secret, 0);
        }
        (made, create(len / 2 + 1).map(|len| len as u64), name.exists())
    })?;
    let seen = went_well(made, &call)?;
    ensure!(seen == len as u64, expected: "`len()` of the mapping is {len}", observed: "{seen}", look: "`Mapping::create`");
    ensure!(
        still_there,
        expected: "a refused `create` leaves the existing object and its name as they were",
        observed: "the name is gone after a second `create`",
        look: "`Mapping::create`: what it does when the name is taken"
    );
    let file = object(&name, &call)?;
    let status = file.metadata().map_err(|error| Stop::inconclusive(error.to_string()))?;
    let size = status.size();
    went_wrong(
        again,
        "AlreadyExists",
        "`Mapping::create` with a name that is taken",
        "the flags of `shm_open` in `create`: which one refuses an existing object?",
    )?;
    ensure!(size == len as u64, expected: "{call} makes an object of {len} bytes", observed: "{size} bytes", look: "`ftruncate` in `Mapping::create`");
    let (wanted, seen) = (mode & !0o022, status.mode() & 0o777);
    ensure!(seen == wanted, expected: "under umask 022 {call} makes an object with permissions {wanted:#o}", observed: "{seen:#o}", look: "the mode in `shm_open`");
    let mut bytes = vec![0; len];
    let read = file.read_exact_at(&mut bytes, 0);
    ensure!(read.is_ok() && bytes == secret, expected: "a refused `create` leaves the existing object as it was", observed: "its contents have changed", look: "`Mapping::create`: what it does when the name is taken");
    Ok(())
}

/// What one process writes the other one reads, in both directions, while both are there.
pub fn two_processes_share_an_object(check: &mut Check) -> Outcome {
    posix_works(check)?;
    let name = Name::new(check);
    let len = 8_000 + check.rng().below(9_000) as usize;
    let (first, second) = (pattern(check, len / 2), pattern(check, len - len / 2));
    let turn = Shared::new(AtomicU32::new(0));
    let creator = check.spawn("the process that creates the object", || -> Told<(bool, Vec<u8>)> {
        let memory = told(Mapping::create(name.text(), len, 0o600)).inspect_err(|_| turn.store(9, SeqCst))?;
        let zero = contents(&memory, len).iter().all(|&byte| byte == 0);
        // SAFETY: `len` bytes are mapped.
        unsafe { write_at(memory.as_ptr(), &first) };
        turn.store(1, SeqCst);
        while turn.load(SeqCst) < 2 {
            std::thread::yield_now();
        }
        let seen = contents(&memory, len);
        std::mem::forget(memory);
        Ok((zero, seen))
    })?;
    check.wait_until("the object is made and written", || turn.load(SeqCst) > 0)?;
    let seen = check.ask("`Mapping::open` in another process", || {
        let answer = told(Mapping::open(name.text(), Access::ReadWrite)).map(|memory| {
            keep(memory, |memory| {
                let seen = contents(memory, len / 2);
                if memory.len() == len {
                    // SAFETY: `len` bytes are mapped.
                    unsafe { write_at(memory.as_ptr().wrapping_add(len / 2), &second) };
                }
                seen
            })
        });
        turn.store(9, SeqCst);
        answer
    });
    let (zero, back) = went_well(creator.join()?, "`Mapping::create`")?;
    ensure!(zero, expected: "a new object holds zero bytes", observed: "other bytes", look: "`Mapping::create`");
    ensure!(went_well(seen?, "`Mapping::open`")? == first, expected: "another process reads what the creator wrote", observed: "other bytes", look: "the flags of `mmap`: `MAP_SHARED`, in `create` and in `open`");
    ensure!(back[len / 2..] == second, expected: "the creator reads what another process wrote", observed: "other bytes", look: "the flags of `mmap`: `MAP_SHARED`, in `create` and in `open`");
    Ok(())
}

/// The object says how long it is; a missing one is not made, an empty one not mapped.
pub fn open_takes_the_size_from_the_object(check: &mut Check) -> Outcome {
    posix_works(check)?;
    let mut student = check.respondent("`Mapping::open`", |name: String| {
        told(
            Mapping::open(&name, Access::ReadWrite)
                .map(|memory| keep(memory, |memory| (memory.len() as u64, contents(memory, usize::MAX)))),
        )
    })?;
    let page = page_size();
    for len in [1, page - 1, page, page + 1, 7 * page + check.rng().below(page as u64) as usize] {
        let name = Name::new(check);
        let secret = pattern(check, len);
        let file = name.make(len, 0o600)?;
        file.write_all_at(&secret, 0).map_err(|error| Stop::inconclusive(error.to_string()))?;
        let (seen, bytes) = went_well(student.ask(name.text().to_string())?, "`Mapping::open`")?;
        ensure!(seen == len as u64, expected: "the mapping of an object of {len} bytes has `len()` {len}", observed: "{seen}", look: "`Mapping::open`: the size comes from `fstat`");
        ensure!(bytes == secret, expected: "the mapping shows the object's {len} bytes", observed: "other bytes", look: "`Mapping::open`: the offset in `mmap`");
    }
    let missing = Name::new(check);
    let call = "`Mapping::open` of a name that does not exist";
    went_wrong(
        student.ask(missing.text().to_string())?,
        "NotFound",
        call,
        "the flags of `shm_open` in `open`: `O_CREAT` has no place there",
    )?;
    ensure!(!missing.exists(), expected: "{call} makes no object", observed: "it made one", look: "`Mapping::open`");
    let empty = Name::new(check);
    let _file = empty.make(0, 0o600)?;
    went_wrong(
        student.ask(empty.text().to_string())?,
        "",
        "`Mapping::open` of an object without bytes",
        "`Mapping::open`: its creator has not called `ftruncate` yet",
    )
}

/// Reading needs permission to read only, and does not let anybody write.
pub fn read_only_is_read_only(check: &mut Check) -> Outcome {
    posix_works(check)?;
    let name = Name::new(check);
    let _file = name.make(100, 0o400)?;
    let (reading, writing) = check.ask("`Mapping::open` without permission to write", || {
        drop_privileges();
        let open = |access| told(Mapping::open(name.text(), access).map(|memory| keep(memory, Mapping::len)));
        (open(Access::ReadOnly).map(|len| len as u64), open(Access::ReadWrite).map(|len| len as u64))
    })?;
    went_well_at(
        reading,
        "`open(name, ReadOnly)` by the owner of an object with mode 0o400",
        "`Mapping::open`: with `ReadOnly`, `O_RDONLY` for `shm_open` and no `PROT_WRITE` for `mmap`",
    )?;
    let look = "the flags of `shm_open` in `Mapping::open`";
    went_wrong(
        writing,
        "PermissionDenied",
        "`open(name, ReadWrite)` by the owner of an object with mode 0o400",
        look,
    )?;
    let other = Name::new(check);
    let _file = other.make(100, 0o600)?;
    let ending = check.ending("a write to a `ReadOnly` mapping", || {
        let memory = told(Mapping::open(other.text(), Access::ReadOnly));
        // SAFETY: mapped; the write is the question.
        memory.map(|memory| keep(memory, |memory| unsafe { memory.as_ptr().write_volatile(1) }))
    })?;
    ensure!(ending == Ending::Signalled(libc::SIGSEGV), expected: "a write to a `ReadOnly` mapping ends the process with SIGSEGV", observed: "{ending:?}", look: "the protection in `mmap`: `PROT_READ` alone");
    Ok(())
}

/// Descriptor and name are ways to the memory; the mapping does not need them any more.
pub fn a_mapping_needs_no_descriptor_and_no_name(check: &mut Check) -> Outcome {
    posix_works(check)?;
    check.options(Options { may_keep_descriptors: true, ..Options::default() });
    let (name, missing) = (Name::new(check), Name::new(check));
    let secret = check.rng().next_u64() | 1;
    let answer = check.ask("`Mapping::create`, `Mapping::open` and `unlink`", || -> Told<_> {
        let file_name = name.text().trim_start_matches('/');
        let first = told(Mapping::create(name.text(), 100, 0o600))?;
        let after_create = descriptors_to(file_name) as u64;
        let second = told(Mapping::open(name.text(), Access::ReadWrite))?;
        let after_open = descriptors_to(file_name) as u64 - after_create;
        told(unlink(name.text()))?;
        let gone = !name.exists();
        // SAFETY: 100 bytes are mapped.
        unsafe { write_at(first.as_ptr(), &secret.to_le_bytes()) };
        let seen = contents(&second, 8);
        let third = told(Mapping::create(name.text(), 100, 0o600))?;
        let fresh = contents(&third, 8);
        [first, second, third].into_iter().for_each(std::mem::forget);
        let again = told(unlink(missing.text()));
        Ok(((after_create, after_open), gone, seen, fresh, again))
    })?;
    let ((after_create, after_open), gone, seen, fresh, again) = went_well_at(
        answer,
        "`Mapping::create`, `Mapping::open`, `unlink` and `create` again with the same name",
        "`unlink`: `shm_unlink`, which frees the name at once",
    )?;
    ensure!(after_create == 0, expected: "no descriptor of the object stays open after `create`", observed: "{after_create} open", look: "`Mapping::create`: once mapped, the descriptor is closed, on every way out");
    ensure!(after_open == 0, expected: "no descriptor of the object stays open after `open`", observed: "{after_open} open", look: "`Mapping::open`: once mapped, the descriptor is closed, on every way out");
    ensure!(gone, expected: "`unlink` removes the name at once, although the object is mapped", observed: "the name is still there", look: "`unlink`");
    ensure!(seen == secret.to_le_bytes(), expected: "two mappings of an object without a name still share it: {secret:#x} written, the same read", observed: "the bytes {seen:02x?}", look: "the flags of `mmap`: `MAP_SHARED`");
    ensure!(fresh == [0; 8], expected: "a new object with the old name is new memory, all zero", observed: "the bytes {fresh:02x?}", look: "`unlink` and `Mapping::create`");
    went_wrong(
        again,
        "NotFound",
        "`unlink` of a name that does not exist",
        "`unlink`: the answer of `shm_unlink`",
    )
}

/// After the drop no page of the mapping is left, and its neighbours are whole.
pub fn a_dropped_mapping_is_unmapped_whole(check: &mut Check) -> Outcome {
    posix_works(check)?;
    let page = page_size();
    let names: [Name; 3] = std::array::from_fn(|_| Name::new(check));
    let len = 3 * page + 1 + check.rng().below(page as u64 - 1) as usize;
    for name in &names {
        name.make(len, 0o600)?;
    }
    let answer = check.ask("dropping a `Mapping`", || -> Told<_> {
        let lines = |which: usize| maps_of(me(), names[which].text().trim_start_matches('/'));
        let first = told(Mapping::open(names[0].text(), Access::ReadWrite))?;
        let middle = told(Mapping::open(names[1].text(), Access::ReadOnly))?;
        let last = told(Mapping::open(names[2].text(), Access::ReadWrite))?;
        let before = (lines(0), lines(2));
        drop(middle);
        let left = lines(1);
        let neighbours = before == (lines(0), lines(2));
        [first, last].into_iter().for_each(std::mem::forget);
        Ok((left, neighbours))
    })?;
    let (left, neighbours) = went_well(answer, "`Mapping::open`")?;
    let left = left.join("; ");
    ensure!(left.is_empty(), expected: "after the drop of a mapping of {len} bytes nothing of it is left in /proc/self/maps", observed: "still there: {left}", look: "`Drop` of `Mapping`: `munmap` with the address and the whole length");
    ensure!(neighbours, expected: "the drop of a mapping leaves other mappings alone", observed: "the mapping beside it has changed", look: "`Drop` of `Mapping`: the length in `munmap`");
    Ok(())
}

/// When a later step fails, the earlier ones are undone, and the error is told.
pub fn a_failed_create_leaves_nothing(check: &mut Check) -> Outcome {
    posix_works(check)?;
    check.options(Options { may_keep_descriptors: true, ..Options::default() });
    let cases: [(&str, usize, bool); 3] = [
        ("of more bytes than there can be", usize::MAX / 2, false),
        ("when `mmap` fails", 5_000, true),
        ("of 0 bytes", 0, false),
    ];
    for (how, len, fail) in cases {
        let name = Name::new(check);
        let call = format!("`Mapping::create` {how}");
        let (answer, descriptors) = check.ask(&call, || {
            let plan = if fail { Plan::fail("mmap", 0, libc::ENOMEM) } else { Plan::none() };
            let create = || told(Mapping::create(name.text(), len, 0o600).map(std::mem::forget));
            let (answer, _) = faults::with(plan, create);
            (answer, descriptors_to(name.text().trim_start_matches('/')) as u64)
        })?;
        let kind = match (len, fail) {
            (0, _) => "InvalidInput",
            (_, true) => "OutOfMemory",
            _ => "",
        };
        went_wrong(answer, kind, &call, "`Mapping::create`: the answers of `ftruncate` and `mmap`")?;
        let left = name.exists();
        ensure!(!left, expected: "after {call} there is no object of that name", observed: "the name is still there", look: "`Mapping::create`: what was made before the error must be removed");
        ensure!(descriptors == 0, expected: "after {call} no descriptor is left open", observed: "{descriptors}", look: "`Mapping::create`: the way out after an error");
    }
    Ok(())
}

/// A view is inside the mapping and aligned, or an error.
pub fn views_stay_inside(check: &mut Check) -> Outcome {
    posix_works(check)?;
    let name = Name::new(check);
    let len = 200 + check.rng().below(100) as usize;
    let secret = pattern(check, len);
    let file = name.make(len, 0o600)?;
    file.write_all_at(&secret, 0).map_err(|error| Stop::inconclusive(error.to_string()))?;
    let place = crate::trusted::map(&file, len).map_err(|error| Stop::inconclusive(error.to_string()))?;
    /// Where the view begins in the mapping, and what it reads.
    fn look<T: Shareable, V: Wire + Default>(
        memory: &Mapping,
        offset: u64,
        load: impl FnOnce(&T) -> V,
    ) -> Told<(u64, V)> {
        told(memory.view::<T>(offset as usize)).map(|view| {
            let begin = (&raw const *view).addr().wrapping_sub(memory.as_ptr().addr());
            // What is not in the mapping is not read.
            let inside = begin.checked_add(size_of::<T>()).is_some_and(|end| end <= memory.len());
            (begin as u64, if inside { load(view) } else { V::default() })
        })
    }
    let mut student = check.respondent("`Mapping::view`", |(kind, offset): (u8, u64)| {
        // SAFETY: mapped by the supervisor, inherited; the value is forgotten again.
        let memory = unsafe { Mapping::from_raw(place, len) };
        let seen = match kind {
            0 => look(&memory, offset, |view: &AtomicU8| u64::from(view.load(SeqCst))),
            1 => look(&memory, offset, |view: &AtomicU16| u64::from(view.load(SeqCst))),
            2 => look(&memory, offset, |view: &AtomicU32| u64::from(view.load(SeqCst))),
            3 => look(&memory, offset, |view: &AtomicU64| view.load(SeqCst)),
            _ => look(&memory, offset, |view: &[AtomicU32; 5]| u64::from(view[0].load(SeqCst))),
        };
        std::mem::forget(memory);
        seen
    })?;
    let kinds = [
        ("AtomicU8", 1, 1),
        ("AtomicU16", 2, 2),
        ("AtomicU32", 4, 4),
        ("AtomicU64", 8, 8),
        ("[AtomicU32; 5]", 20, 4),
    ];
    let mut questions = 0;
    for (kind, (name, size, align)) in kinds.into_iter().enumerate() {
        let end = len as u64;
        let far = [u64::MAX, u64::MAX - 7, u64::MAX - size + 1, 1 << 63, end + 4096];
        for offset in (0..=end + 9).chain(far) {
            let fits = offset.checked_add(size).is_some_and(|last| last <= end) && offset % align == 0;
            let call = format!("`view::<{name}>({offset})` of a mapping of {len} bytes");
            let look = "`Mapping::view`: the end (without overflow) and the alignment";
            let answer = student.ask((kind as u8, offset)).map_err(|stop| match stop {
                // A reference that may not be made ends the process at once.
                Stop::Crashed { how, .. } if !fits => Stop::failed(format!("{call} is an error"), how, look),
                stop => stop,
            })?;
            questions += 1;
            if !fits {
                went_wrong(answer, "InvalidInput", &call, look)?;
                continue;
            }
            let (begin, value) = went_well(answer, &call)?;
            let width = if size == 20 { 4 } else { size as usize };
            let mut bytes = [0; 8];
            bytes[..width].copy_from_slice(&secret[offset as usize..offset as usize + width]);
            let wanted = u64::from_le_bytes(bytes);
            ensure!(begin == offset && value == wanted, expected: "{call} begins at byte {offset} and reads {wanted:#x}", observed: "it begins at byte {begin} and reads {value:#x}", look: "`Mapping::view`: the offset counts bytes");
        }
    }
    check.note(format!("{questions} views: every offset, five types"));
    Ok(())
}

/// Kernel persistence: the creator is killed, and its object is there for the next process.
pub fn an_object_outlives_its_processes(check: &mut Check) -> Outcome {
    posix_works(check)?;
    let name = Name::new(check);
    let len = 1_000 + check.rng().below(9_000) as usize;
    let secret = pattern(check, len);
    let ending = check.ending("`Mapping::create`, then SIGKILL", || {
        let memory = told(Mapping::create(name.text(), len, 0o600));
        memory.map(|memory| {
            // SAFETY: `len` bytes are mapped.
            unsafe { write_at(memory.as_ptr(), &secret) };
            // SAFETY: ends this process without a chance to clean up.
            unsafe { libc::raise(libc::SIGKILL) };
        })
    })?;
    match ending {
        Ending::Signalled(libc::SIGKILL) => {}
        Ending::Returned(answer) => went_well(answer, "`Mapping::create`")?,
        other => {
            return Err(Stop::failed("`Mapping::create` returns", format!("{other:?}"), "`Mapping::create`"));
        }
    }
    let seen = check.ask("`Mapping::open` after the death of the creator", || {
        told(
            Mapping::open(name.text(), Access::ReadOnly)
                .map(|memory| keep(memory, |memory| contents(memory, len))),
        )
    })?;
    let seen = went_well(seen, "`Mapping::open` after the death of the creator")?;
    ensure!(seen == secret, expected: "the object holds what its killed creator wrote", observed: "other bytes", look: "the flags of `mmap` in `Mapping::create`: `MAP_SHARED`");
    Ok(())
}
