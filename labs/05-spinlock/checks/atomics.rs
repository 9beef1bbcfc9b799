//! Part 1: the three atomic instructions.

use super::*;

/// Operands that matter: the borders, and random ones.
fn operand(rng: &mut Rng) -> u32 {
    match rng.below(8) {
        0 => 0,
        1 => 1,
        2 => u32::MAX,
        3 => 1 << 31,
        _ => rng.next_u64() as u32,
    }
}

/// `atomic_swap` stores the new value and returns the old one.
pub fn swap_returns_the_old_value(check: &mut Check) -> Outcome {
    let mut student = check.respondent("`atomic_swap`", |(mut word, new): (u32, u32)| {
        // SAFETY: a live, aligned local.
        let old = unsafe { atomic_swap(&raw mut word, new) };
        (old, word)
    })?;
    for _ in 0..300 {
        let (word, new) = (operand(check.rng()), operand(check.rng()));
        let (old, after) = student.ask((word, new))?;
        ensure!(
            old == word && after == new,
            expected: "`atomic_swap` on a word that is {word:#x} with new value {new:#x} returns {word:#x} and leaves {new:#x}",
            observed: "it returned {old:#x} and left {after:#x}",
            look: "`atomic_swap`: the register goes in with the new value and comes out with the old one (`inout`)",
        );
    }
    check.note("300 pairs of operands");
    Ok(())
}

/// `compare_and_swap` swaps exactly when the word is as expected, and returns what was there in both cases.
pub fn compare_and_swap_compares(check: &mut Check) -> Outcome {
    let mut student =
        check.respondent("`compare_and_swap`", |(mut word, expected, new): (u32, u32, u32)| {
            // SAFETY: a live, aligned local.
            let old = unsafe { compare_and_swap(&raw mut word, expected, new) };
            (old, word)
        })?;
    for _ in 0..600 {
        let (word, new) = (operand(check.rng()), operand(check.rng()));
        let expected = if check.rng().chance(50) { word } else { operand(check.rng()) };
        let (old, after) = student.ask((word, expected, new))?;
        let wanted = if word == expected { new } else { word };
        ensure!(
            after == wanted,
            expected: "`compare_and_swap(address, {expected:#x}, {new:#x})` on a word that is {word:#x} leaves {wanted:#x}",
            observed: "it left {after:#x}",
            look: "`compare_and_swap`: `cmpxchg` compares with eax",
        );
        ensure!(
            old == word,
            expected: "`compare_and_swap(address, {expected:#x}, {new:#x})` returns what was there: {word:#x}",
            observed: "it returned {old:#x}",
            look: "`compare_and_swap`: `cmpxchg` leaves the old value in eax, so eax is an output as well",
        );
    }
    check.note("600 triples of operands, half of them matching");
    Ok(())
}

/// `fetch_and_add` adds with wrap-around and returns the value from before.
pub fn fetch_and_add_adds(check: &mut Check) -> Outcome {
    let mut student = check.respondent("`fetch_and_add`", |(mut word, amount): (u32, u32)| {
        // SAFETY: a live, aligned local.
        let old = unsafe { fetch_and_add(&raw mut word, amount) };
        (old, word)
    })?;
    for _ in 0..300 {
        let (word, amount) = (operand(check.rng()), operand(check.rng()));
        let (old, after) = student.ask((word, amount))?;
        let sum = word.wrapping_add(amount);
        ensure!(
            old == word && after == sum,
            expected: "`fetch_and_add` of {amount:#x} to a word that is {word:#x} returns {word:#x} and leaves {sum:#x}",
            observed: "it returned {old:#x} and left {after:#x}",
            look: "`fetch_and_add`: `xadd` leaves the old value in its register",
        );
    }
    check.note("300 pairs of operands");
    Ok(())
}

/// Each instruction changes its own four bytes and none beside them.
pub fn atomics_touch_only_their_word(check: &mut Check) -> Outcome {
    let mut student =
        check.respondent("the atomic instructions", |(operation, mut words): (u8, Vec<u32>)| {
            let middle = words[1];
            let address = &raw mut words[1];
            // SAFETY: the middle one of three live, aligned words.
            unsafe {
                match operation {
                    0 => atomic_swap(address, 0x0123_4567),
                    1 => compare_and_swap(address, middle, 0x0123_4567),
                    _ => fetch_and_add(address, 0x89ab_cdef),
                }
            };
            words
        })?;
    for round in 0..120 {
        let before: Vec<u32> = (0..3).map(|_| operand(check.rng())).collect();
        let operation = (round % 3) as u8;
        let name = ["`atomic_swap`", "`compare_and_swap`", "`fetch_and_add`"][usize::from(operation)];
        let after = student.ask((operation, before.clone()))?;
        ensure!(
            after.len() == 3 && after[0] == before[0] && after[2] == before[2],
            expected: "{name} on the middle one of the words {before:x?} leaves its neighbours alone",
            observed: "afterwards the words were {after:x?}",
            look: "{name}: the operand must be a 32-bit register (`{{value:e}}`), or eight bytes are written",
        );
    }
    check.note("120 calls between neighbours");
    Ok(())
}

/// Each of the three is one locked instruction: nothing can come in between.
pub fn each_is_one_locked_instruction(check: &mut Check) -> Outcome {
    type Call = (&'static str, fn(*mut u32, usize) -> u32);
    let calls: [Call; 3] = [
        ("`atomic_swap`", |word, index| {
            // SAFETY: the address of a live word in shared memory.
            unsafe { atomic_swap(word, 11 + index as u32) }
        }),
        ("`compare_and_swap`", |word, index| {
            // SAFETY: as above.
            unsafe { compare_and_swap(word, 7, 11 + index as u32) }
        }),
        ("`fetch_and_add`", |word, index| {
            // SAFETY: as above.
            unsafe { fetch_and_add(word, 11 + index as u32) }
        }),
    ];
    let mut interleavings = 0;
    for (name, call) in calls {
        let word = Shared::new(AtomicU32::new(7));
        let change = step::first_change(check, name, Watch::of(&word), || {
            call(word.as_ptr(), 0);
        })?;
        let Some(change) = change else {
            return Err(Stop::failed(
                format!("{name} changes the word at its address"),
                "the word in shared memory stayed as it was",
                name,
            ));
        };
        change.report(check, "changes-lock-word");
        word.store(7, Ordering::Relaxed);
        interleavings += step::races(
            check,
            &word,
            name,
            &|index| call(word.as_ptr(), index).into(),
            |race| {
                let after = word.load(Ordering::Relaxed);
                let [first, second] = race.results;
                // Whoever came first got the 7; the other one got what the first had left.
                let (swapped, added) = ([first, second, u64::from(after)], first != second);
                let fine = match name {
                    "`atomic_swap`" => swapped == [7, 11, 12] || swapped == [12, 7, 11],
                    "`compare_and_swap`" => swapped == [7, 11, 11] || swapped == [12, 7, 12],
                    _ => {
                        added && after == 30 && first.min(second) == 7 && matches!(first.max(second), 18 | 19)
                    }
                };
                ensure!(
                    fine,
                    expected: "two calls of {name} on one word act as if one came after the other",
                    observed: "the word was 7; call A (operand 11) was stopped in the middle, call B (operand 12) ran, A went on: A returned {first}, B returned {second}, and the word was {after}",
                    look: "{name}: read and write must be one instruction",
                );
                Ok(())
            },
        )?;
    }
    for function in ["atomic_swap", "compare_and_swap", "fetch_and_add"] {
        check.instruction(&format!("read-modify-write-is-locked:spinlock::{function}"), 0, &[]);
    }
    check.note(format!("{interleavings} interleavings of two calls"));
    Ok(())
}
