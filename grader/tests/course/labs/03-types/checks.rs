//! What the lab about types asks for.

use harness::{Check, Outcome, ensure};

harness::checks! { "greets" => greets, "counts" => counts }

/// The name is in the greeting.
fn greets(check: &mut Check) -> Outcome {
    let said = check.ask("`greet`", || types::greet("Ada"))?;
    ensure!(said.contains("Ada"), expected: "the name", observed: "{said}", look: "`greet`");
    Ok(())
}

/// Letters are counted, not bytes.
fn counts(check: &mut Check) -> Outcome {
    let letters = check.ask("`count`", || types::count("été"))?;
    ensure!(letters == 3, expected: "3 letters in `été`", observed: "{letters}", look: "`count`");
    Ok(())
}
