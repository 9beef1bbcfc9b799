//! Part 1: System V segments.

use harness::{Check, Ending, Outcome, Shared, Stop, ensure};
use shared_memory::{Access, Segment};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use crate::trusted::{
    Attached, Key, Told, bytes_at, drop_privileges, me, pattern, remove_segment, segment_status, told,
    went_well, went_well_at, went_wrong, write_at,
};

fn kernel(id: i32) -> Result<libc::shmid_ds, Stop> {
    segment_status(id).map_err(|error| {
        Stop::failed(
            format!("{id}, which the submission returned, is the identifier of a segment"),
            format!("the kernel says: {error}"),
            "what `shmget` returns",
        )
    })
}

/// A new segment, as asked for; never one that is there already; no flags smuggled in as permissions.
pub fn create_never_takes_an_existing_segment(check: &mut Check) -> Outcome {
    let (key, other) = (Key::new(check)?, Key::new(check)?);
    let size = 1 + check.rng().below(20_000) as usize;
    let mode = 0o600 | check.rng().below(0o100) as u32;
    let mut student = check.respondent("`Segment::create`", |(key, size, mode): (i32, u64, u32)| {
        told(Segment::create(key, size as usize, mode).map(Segment::id))
    })?;
    let number = key.number();
    let call = format!("`Segment::create({number:#x}, {size}, {mode:#o})`");
    let id = went_well(student.ask((number, size as u64, mode))?, &call)?;
    let raw = kernel(id)?;
    let (found, segsz) = (raw.shm_perm.__key, raw.shm_segsz);
    ensure!(found == number, expected: "{call} makes a segment with that key", observed: "a segment with key {found:#x}", look: "the first argument of `shmget`");
    ensure!(segsz == size, expected: "{call} makes a segment of {size} bytes", observed: "{segsz} bytes", look: "the second argument of `shmget`");
    let seen = u32::from(raw.shm_perm.mode) & 0o777;
    ensure!(seen == mode, expected: "{call} makes a segment with permissions {mode:#o}", observed: "{seen:#o}", look: "the flags of `shmget`: the permissions belong in there");
    let again = student.ask((number, size as u64, mode))?;
    went_wrong(
        again,
        "AlreadyExists",
        "`Segment::create` with a key that is taken",
        "the flags of `shmget`: which one refuses an existing segment?",
    )?;
    for mode in [0o1600, 0o2600, 0o10600, 0o40600] {
        let call = format!("`Segment::create` with mode {mode:#o}");
        let look = "`Segment::create`: bits beyond 0o777 are flags to `shmget`";
        went_wrong(student.ask((other.number(), 100, mode))?, "InvalidInput", &call, look)?;
    }
    went_wrong(
        student.ask((other.number(), 0, 0o600))?,
        "InvalidInput",
        "`Segment::create` with size 0",
        "the second argument of `shmget`",
    )?;
    ensure!(other.find().is_err(), expected: "a refused `create` makes no segment", observed: "it made one", look: "`Segment::create`");
    Ok(())
}

/// `open` finds what another process made, whatever its size, and makes nothing.
pub fn open_finds_and_never_creates(check: &mut Check) -> Outcome {
    let (key, missing) = (Key::new(check)?, Key::new(check)?);
    let wanted = key.make(1 + check.rng().below(9_000) as usize, 0o600)?;
    let mut student =
        check.respondent("`Segment::open`", |key: i32| told(Segment::open(key).map(Segment::id)))?;
    let id = went_well(student.ask(key.number())?, "`Segment::open` with the key of a segment")?;
    ensure!(id == wanted, expected: "`Segment::open` finds the segment with identifier {wanted}", observed: "identifier {id}", look: "`Segment::open`");
    let call = "`Segment::open` with a key that nobody has used";
    went_wrong(
        student.ask(missing.number())?,
        "NotFound",
        call,
        "the flags of `shmget` in `open`: `IPC_CREAT` has no place there",
    )?;
    ensure!(missing.find().is_err(), expected: "{call} makes no segment", observed: "it made one", look: "`Segment::open`");
    Ok(())
}

/// `IPC_PRIVATE`: another segment each time, found by its identifier only, shared all the same.
pub fn private_segments_have_no_key(check: &mut Check) -> Outcome {
    let mut student = check.respondent("`Segment::create(IPC_PRIVATE, …)`", |_: ()| {
        told(Segment::create(libc::IPC_PRIVATE, 100, 0o600).map(Segment::id))
    })?;
    let call = "`Segment::create(IPC_PRIVATE, 100, 0o600)`";
    let first = went_well(student.ask(())?, call)?;
    let second = student.ask(());
    let secret = check.rng().next_u64();
    let written = Attached::to(first).map(|memory| {
        // SAFETY: the segment has 100 bytes.
        unsafe { write_at(memory.place().as_ptr(), &secret.to_le_bytes()) };
    });
    let seen = check.ask("`Segment::attach` by identifier", || {
        told(Segment::from_id(first).attach(Access::ReadWrite).map(|memory| {
            // SAFETY: the segment has 100 bytes.
            let bytes = unsafe { bytes_at(memory.as_ptr(), 8) };
            std::mem::forget(memory);
            bytes
        }))
    });
    remove_segment(first);
    let second = second?;
    if let Ok(id) = second {
        remove_segment(id);
    }
    let second = went_well(second, call)?;
    ensure!(first != second, expected: "two calls of {call} make two segments", observed: "both returned identifier {first}", look: "`Segment::create`: IPC_PRIVATE is not a key");
    written.map_err(|error| Stop::inconclusive(error.to_string()))?;
    let seen = went_well(seen?, "`Segment::attach` in a process that knows the identifier")?;
    ensure!(seen == secret.to_le_bytes(), expected: "a process that knows the identifier finds what was written: {secret:#x}", observed: "the bytes {seen:02x?}", look: "`Segment::attach`");
    Ok(())
}

/// All five fields, at several moments.
pub fn status_is_what_the_kernel_knows(check: &mut Check) -> Outcome {
    let mut student = check.respondent("`Segment::status`", |id: i32| {
        told(Segment::from_id(id).status().map(|status| {
            (
                status.size as u64,
                status.attached,
                format!("{:#o}", status.mode),
                status.creator,
                status.removed,
            )
        }))
    })?;
    for attached in [0, 1, 3] {
        let key = Key::new(check)?;
        let size = 1 + check.rng().below(30_000);
        let mode = 0o400 | check.rng().below(0o400) as u32;
        let id = key.make(size as usize, mode.cast_signed())?;
        let places: Vec<_> = (0..attached).filter_map(|_| Attached::to(id).ok()).collect();
        let attached = places.len() as u64;
        let mut wanted = (size, attached, format!("{mode:#o}"), me(), false);
        let answer = student.ask(id);
        remove_segment(id);
        let after = student.ask(id);
        drop(places);
        let seen = went_well(answer?, "`Segment::status`")?;
        let order = "(size, attached, mode, creator, removed)";
        ensure!(seen == wanted, expected: "{order} = {wanted:?}", observed: "{seen:?}", look: "`Segment::status`: which field of `shmid_ds` is which");
        if attached == 0 {
            went_wrong(
                after?,
                "",
                "`status` of a segment that is gone",
                "`Segment::status`: the answer of `shmctl`",
            )?;
        } else {
            wanted.4 = true;
            let seen = went_well(after?, "`Segment::status` of a removed segment with attachments")?;
            ensure!(seen == wanted, expected: "after IPC_RMID with attachments {order} = {wanted:?}", observed: "{seen:?}", look: "`Segment::status`: SHM_DEST in `shm_perm.mode`");
        }
    }
    Ok(())
}

/// What one process writes the other one reads, in both directions, while both are there.
pub fn two_processes_share_a_segment(check: &mut Check) -> Outcome {
    let key = Key::new(check)?;
    let size = 8_000 + check.rng().below(9_000) as usize;
    let (first, second) = (pattern(check, size / 2), pattern(check, size - size / 2));
    let turn = Shared::new(AtomicU32::new(0));
    let creator = check.spawn("the process that creates the segment", || -> Told<Vec<u8>> {
        let segment = told(Segment::create(key.number(), size, 0o600));
        let memory = segment.and_then(|segment| told(segment.attach(Access::ReadWrite)));
        let memory = memory.inspect_err(|_| turn.store(9, SeqCst))?;
        // SAFETY: the segment has `size` bytes.
        unsafe { write_at(memory.as_ptr(), &first) };
        turn.store(1, SeqCst);
        while turn.load(SeqCst) < 2 {
            std::thread::yield_now();
        }
        // SAFETY: as above.
        let seen = unsafe { bytes_at(memory.as_ptr(), size) };
        std::mem::forget(memory);
        Ok(seen)
    })?;
    check.wait_until("the segment is made and written", || turn.load(SeqCst) > 0)?;
    let seen = check.ask("`Segment::open` and `attach` in another process", || {
        let memory =
            told(Segment::open(key.number())).and_then(|segment| told(segment.attach(Access::ReadWrite)));
        let answer = memory.map(|memory| {
            let len = memory.len();
            // SAFETY: the segment has `size` bytes.
            let seen = unsafe { bytes_at(memory.as_ptr(), size / 2) };
            // SAFETY: as above.
            unsafe { write_at(memory.as_ptr().wrapping_add(size / 2), &second) };
            std::mem::forget(memory);
            (seen, len as u64)
        });
        turn.store(9, SeqCst);
        answer
    });
    let back = went_well(creator.join()?, "`Segment::create` and `attach`")?;
    let (seen, len) = went_well_at(
        seen?,
        "`Segment::open` and `attach`, in another process while the creator is attached and has removed nothing,",
        "`Segment::open` and `attach`: which key, which flags, and nothing that ends the segment before `remove`",
    )?;
    ensure!(len == size as u64, expected: "the attachment has the segment's {size} bytes", observed: "`len()` is {len}", look: "`Segment::attach`: ask the kernel for the size");
    ensure!(seen == first, expected: "another process reads what the creator wrote", observed: "other bytes", look: "`Segment::attach`");
    ensure!(back[size / 2..] == second, expected: "the creator reads what another process wrote", observed: "other bytes", look: "`Segment::attach`");
    Ok(())
}

/// Permissions are set alone, and they bind.
pub fn permissions_hold(check: &mut Check) -> Outcome {
    let key = Key::new(check)?;
    let id = key.make(100, 0o600)?;
    // The owner may give the segment to another group: `set_mode` must not take it back.
    let mut raw = kernel(id)?;
    raw.shm_perm.gid = raw.shm_perm.gid.wrapping_add(1);
    // SAFETY: IPC_SET reads one `shmid_ds`.
    unsafe { libc::shmctl(id, libc::IPC_SET, &raw mut raw) };
    let before = kernel(id)?.shm_perm;
    let mode = 0o400 | check.rng().below(0o100) as u32;
    let (set, bad) = check.ask("`Segment::set_mode`", || {
        let segment = Segment::from_id(id);
        (told(segment.set_mode(mode)), told(segment.set_mode(0o1600)))
    })?;
    went_well(set, "`Segment::set_mode`")?;
    went_wrong(bad, "InvalidInput", "`set_mode(0o1600)`", "`Segment::set_mode`: nine bits are permissions")?;
    let after = kernel(id)?.shm_perm;
    let seen = u32::from(after.mode) & 0o777;
    ensure!(seen == mode, expected: "`set_mode({mode:#o})` sets the permissions to {mode:#o}", observed: "{seen:#o}", look: "`Segment::set_mode`");
    let (wanted, seen) = ((before.uid, before.gid), (after.uid, after.gid));
    ensure!(seen == wanted, expected: "`set_mode` leaves user and group as they are: {wanted:?}", observed: "{seen:?}", look: "`Segment::set_mode`: `IPC_SET` writes them as well, so fill them in by `IPC_STAT`");
    let (reading, writing) = check.ask("`Segment::attach` without permission to write", || {
        drop_privileges();
        let attach = |access| {
            told(Segment::from_id(id).attach(access).map(|memory| {
                let address = memory.as_ptr().addr();
                std::mem::forget(memory);
                address
            }))
        };
        (attach(Access::ReadOnly).map(|_| ()), attach(Access::ReadWrite))
    })?;
    went_well_at(
        reading,
        "`attach(ReadOnly)` by the owner of a segment with mode 0o400",
        "the flags of `shmat` in `Segment::attach`: `SHM_RDONLY` asks for no more than is allowed",
    )?;
    went_wrong(
        writing,
        "PermissionDenied",
        "`attach(ReadWrite)` by the owner of a segment with mode 0o400",
        "`Segment::attach`: the flags, and the address that means an error: -1",
    )?;
    let ending = check.ending("a write to a `ReadOnly` attachment", || {
        let memory = told(Segment::from_id(id).attach(Access::ReadOnly));
        // SAFETY: mapped; the write is the question.
        memory.map(|memory| unsafe { memory.as_ptr().write_volatile(1) })
    })?;
    ensure!(ending == Ending::Signalled(libc::SIGSEGV), expected: "a write to a `ReadOnly` attachment ends the process with SIGSEGV", observed: "{ending:?}", look: "`Segment::attach`: SHM_RDONLY");
    Ok(())
}

/// The kernel counts one attachment while it lives and none afterwards; the segment stays.
pub fn a_dropped_attachment_is_detached(check: &mut Check) -> Outcome {
    let key = Key::new(check)?;
    let id = key.make(10_000, 0o600)?;
    let count = || segment_status(id).map_or(u64::MAX, |raw| raw.shm_nattch);
    let counts = check.ask("`Segment::attach`, then the drop", || {
        let one = told(Segment::from_id(id).attach(Access::ReadWrite))?;
        let two = told(Segment::from_id(id).attach(Access::ReadOnly))?;
        let during = count();
        drop(two);
        let between = count();
        drop(one);
        Ok((during, between, count()))
    })?;
    let seen = went_well(counts, "`Segment::attach`")?;
    ensure!(seen == (2, 1, 0), expected: "2 attachments, then 1, then 0 as they are dropped, by the kernel's count", observed: "{seen:?}", look: "`Drop` of `Attachment`: `shmdt` with the address that `shmat` returned");
    ensure!(count() == 0, expected: "the segment is still there after the last detach, for detaching is not removing", observed: "it is gone", look: "`Drop` of `Attachment`");
    Ok(())
}

/// `remove` frees the key at once and the memory with the last attachment.
pub fn removed_memory_stays_while_attached(check: &mut Check) -> Outcome {
    let key = Key::new(check)?;
    let id = key.make(5_000, 0o600)?;
    let memory = Attached::to(id).map_err(|error| Stop::inconclusive(error.to_string()))?;
    let secret = check.rng().next_u64() | 1;
    let answer = check.ask("`Segment::remove` while attached", || told(Segment::from_id(id).remove()));
    // SAFETY: 5,000 bytes, attached here.
    let survived = unsafe {
        write_at(memory.place().as_ptr(), &secret.to_le_bytes());
        bytes_at(memory.place().as_ptr(), 8) == secret.to_le_bytes()
    };
    let key_is_free = key.find().is_err();
    drop(memory);
    let gone = segment_status(id).is_err();
    remove_segment(id);
    went_well(answer?, "`Segment::remove`")?;
    ensure!(key_is_free, expected: "after `remove` the key leads nowhere, although somebody is attached", observed: "the segment is still found by its key", look: "`Segment::remove`: `IPC_RMID`");
    ensure!(survived, expected: "who is attached goes on reading and writing", observed: "the memory has changed", look: "`Segment::remove`");
    ensure!(gone, expected: "the segment is gone after the last detach", observed: "it is still there", look: "`Segment::remove`");
    Ok(())
}
