//! Part 3: the page map, asked between two readings of the check itself.

use super::*;

/// Gives up the privilege that shows frame numbers, so that every machine shows the same.
fn drop_privilege() {
    let header = [0x2008_0522u32, 0];
    let none = [0u32; 6];
    // SAFETY: a version-3 header for this process and the two empty sets it asks for.
    unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
}

/// (shared, exclusive, file, absent).
type Counts = (usize, usize, usize, usize);

fn counts(sharing: PageSharing) -> Counts {
    (sharing.shared, sharing.exclusive, sharing.file, sharing.absent)
}

fn show((shared, exclusive, file, absent): Counts) -> String {
    format!("shared {shared}, exclusive {exclusive}, file {file}, absent {absent}")
}

/// The check's own reading of the same pages.
fn own_reading(range: &Range<usize>) -> Option<Counts> {
    let mut seen = (0, 0, 0, 0);
    for page in observe::page_map(me(), range.start, range.len()).ok()? {
        match (page.present, page.file_or_shared, page.exclusive) {
            (false, _, _) => seen.3 += 1,
            (true, true, _) => seen.2 += 1,
            (true, false, true) => seen.1 += 1,
            (true, false, false) => seen.0 += 1,
        }
    }
    Some(seen)
}

/// Calls `resident_sharing` in a worker after `prepare`, between two readings of the check's own; both must show `expected`.
fn sharing(
    check: &mut Check,
    region: Region,
    expected: Counts,
    what: &str,
    prepare: impl FnOnce(),
) -> Outcome {
    let (before, answer, after) = ask(check, "`resident_sharing`", "`resident_sharing`", |home| {
        drop_privilege();
        prepare();
        let before = own_reading(&region.range());
        let answer = text(home.call(|| resident_sharing(region.range())).map(counts));
        (before, answer, own_reading(&region.range()))
    })?;
    if before != Some(expected) {
        let seen = before.map_or("nothing".to_string(), show);
        return Err(Stop::inconclusive(format!(
            "this kernel's page map shows {seen} for {what}, not {}",
            show(expected)
        )));
    }
    let (wanted, pages) = (show(expected), region.pages);
    let after = after.map_or("nothing".to_string(), show);
    ensure!(after == wanted, expected: "the pages are after the call as before it: {wanted} for {pages} pages, {what}", observed: "after the call they were: {after}", look: "`resident_sharing`: it must not touch the pages it counts, a read brings absent ones in");
    let look = answer.as_ref().map_or("`resident_sharing`", |answer| wrong_bit(*answer, expected));
    let seen = answer.map_or_else(|error| format!("the error \"{error}\""), show);
    ensure!(seen == wanted, expected: "{wanted} for {pages} pages, {what}", observed: "{seen}", look: look.to_string());
    Ok(())
}

/// Where the pages went that were counted wrongly, and so which bit to look at.
fn wrong_bit(seen: Counts, expected: Counts) -> &'static str {
    if seen.3 != expected.3 {
        "`resident_sharing`: bit 63 first, without it the other bits say nothing"
    } else if seen.2 != expected.2 {
        "`resident_sharing`: bit 61 before bit 56, for shared memory may be mapped once"
    } else {
        "`resident_sharing`: bit 56 tells whether a page is mapped once; the frame number reads as 0 without privilege"
    }
}

/// Pages that nobody has written since the fork are shared.
pub fn untouched_pages_stay_shared(check: &mut Check) -> Outcome {
    let pages = 20 + check.rng().below(200) as usize;
    let region = Region::new(pages, libc::MAP_PRIVATE);
    (0..pages).for_each(|index| region.write(index, 1));
    sharing(check, region, (pages, 0, 0, 0), "filled before the `fork` and only read since", || {
        std::hint::black_box(region.bytes().iter().map(|&byte| u64::from(byte)).sum::<u64>());
    })
}

/// Exactly the pages written since the fork are exclusive.
pub fn written_pages_are_exclusive(check: &mut Check) -> Outcome {
    for _ in 0..4 {
        let pages = 20 + check.rng().below(300) as usize;
        let region = Region::new(pages, libc::MAP_PRIVATE);
        (0..pages).for_each(|index| region.write(index, 1));
        let percent = 10 + check.rng().below(80);
        let written: Vec<usize> = (0..pages).filter(|_| check.rng().chance(percent)).collect();
        let count = written.len();
        let what = format!("filled before the `fork`, {count} of them written in the child");
        sharing(check, region, (pages - count, count, 0, 0), &what, || {
            written.iter().for_each(|&index| region.write(index, 2));
        })?;
    }
    check.note("4 regions with a random set of pages written");
    Ok(())
}

/// Pages that were never touched are absent, before the call and after it.
pub fn absent_pages_stay_absent(check: &mut Check) -> Outcome {
    let pages = 50 + check.rng().below(100) as usize;
    let region = Region::new(pages, libc::MAP_PRIVATE);
    let parent = 5 + check.rng().below(20) as usize;
    let child = 1 + check.rng().below(20) as usize;
    (0..parent).for_each(|index| region.write(index, 1));
    let what = format!("{parent} touched before the `fork`, {child} others in the child");
    sharing(check, region, (parent, child, 0, pages - parent - child), &what, || {
        (pages - child..pages).for_each(|index| region.write(index, 2));
    })
}

/// Pages of shared memory are counted apart, however many processes map them.
pub fn shared_memory_is_counted_apart(check: &mut Check) -> Outcome {
    let pages = 30 + check.rng().below(50) as usize;
    let region = Region::new(pages, libc::MAP_SHARED);
    let both = 3 + check.rng().below(10) as usize;
    let alone = 3 + check.rng().below(10) as usize;
    (0..both).for_each(|index| region.write(index, 1));
    let what = format!("MAP_SHARED, {both} touched by parent and child, {alone} by the child alone");
    sharing(check, region, (0, 0, both + alone, pages - both - alone), &what, || {
        (0..both + alone).for_each(|index| region.write(index, 2));
    })
}

/// A page counts if one byte of it is in the range; a reversed or impossible range is an error.
pub fn ranges_need_not_be_aligned(check: &mut Check) -> Outcome {
    let region = Region::new(8, libc::MAP_PRIVATE);
    (0..8).for_each(|index| region.write(index, 1));
    let (start, page) = (region.start, region.page);
    let inside = 1 + check.rng().below(page as u64 - 2) as usize;
    let cases = [
        (start..start + page, 1),
        (start + inside..start + inside + 1, 1),
        (start + inside..start + page + 1, 2),
        (start + page - 1..start + 3 * page + 1, 4),
        (start + inside..start + page + inside, 2),
        (start + inside..start + inside, 0),
        (start..start, 0),
    ];
    let (answers, reversed, beyond) = ask(check, "`resident_sharing`", "`resident_sharing`", |home| {
        drop_privilege();
        let answers: Vec<Result<Counts, String>> = cases
            .iter()
            .map(|(range, _)| text(home.call(|| resident_sharing(range.clone())).map(counts)))
            .collect();
        #[expect(clippy::reversed_empty_ranges, reason = "the case that is asked about")]
        let reversed = home.call(|| resident_sharing(8192..4096)).map(counts);
        let top = usize::MAX - 8 * page + 1;
        let beyond = home.call(|| resident_sharing(top..top + page)).map(counts);
        let invalid = |error: io::Error| error.kind() == io::ErrorKind::InvalidInput;
        (answers, reversed.map_err(invalid), text(beyond))
    })?;
    for ((range, pages), answer) in cases.iter().zip(answers) {
        let (from, to) = (range.start - start, range.end - start);
        let seen = match answer {
            Ok((shared, exclusive, file, absent)) if shared + exclusive + file + absent == *pages => continue,
            Ok(counts) => show(counts),
            Err(error) => format!("the error \"{error}\""),
        };
        return Err(Stop::failed(
            format!(
                "{pages} page(s) of {page} bytes for the bytes {from}..{to} of a region that starts on a page border"
            ),
            seen,
            "`resident_sharing`: first page and end, rounded outwards",
        ));
    }
    let seen = reversed.map_or_else(|_| "an error of another kind".to_string(), show);
    ensure!(reversed == Err(true), expected: "an error of kind `InvalidInput` for a range that ends before it starts", observed: "{seen}", look: "`resident_sharing`");
    ensure!(beyond.is_err(), expected: "an error for addresses beyond user space", observed: beyond.map_or_else(|error| error, show), look: "`resident_sharing`: reads at the end of the page map return 0 bytes");
    Ok(())
}
