//! What the lab about sums asks for.

use harness::{Check, Outcome, ensure};

harness::checks! {
    "adds" => adds,
    "doubles" => doubles,
    "halves" => halves,
    "picks-the-last" => picks_the_last,
}

/// `add` returns the sum.
fn adds(check: &mut Check) -> Outcome {
    let sum = check.ask("`add(2, 5)`", || sums::add(2, 5))?;
    ensure!(sum == 7, expected: "7", observed: "{sum}", look: "`add`");
    check.note("one pair of numbers");
    Ok(())
}

/// `double` returns twice its argument.
fn doubles(check: &mut Check) -> Outcome {
    let twice = check.ask("`double(21)`", || sums::double(21))?;
    ensure!(twice == 42, expected: "`double(21)` is 42", observed: "{twice}", look: "`double`");
    Ok(())
}

/// `halve` rounds down.
fn halves(check: &mut Check) -> Outcome {
    let half = check.ask("`halve(7)`", || sums::halve(7))?;
    ensure!(half == 3, expected: "3", observed: "{half}", look: "`halve`");
    Ok(())
}

/// `last` returns the last number, if there is one.
fn picks_the_last(check: &mut Check) -> Outcome {
    let (last, none) = check.ask("`last`", || (sums::last(&[1, 2, 3]), sums::last(&[])))?;
    ensure!((last, none) == (3, 0), expected: "3 and 0", observed: "{last} and {none}", look: "`last`");
    Ok(())
}
