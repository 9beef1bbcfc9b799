//! What the lab about processes asks for.

use std::path::Path;

use harness::{Check, Outcome, Stop, ensure};

harness::checks! {
    "comes-back" => comes_back,
    "stays-alive" => stays_alive,
    "comes-to-an-end" => comes_to_an_end,
    "leaves-no-process" => leaves_no_process,
    "leaves-no-zombie" => leaves_no_zombie,
    "closes-what-it-opens" => closes_what_it_opens,
    "finds-its-device" => finds_its_device,
}

/// `come_back` returns 7.
fn comes_back(check: &mut Check) -> Outcome {
    let answer = check.ask("`come_back`", processes::come_back)?;
    ensure!(answer == 7, expected: "7", observed: "{answer}", look: "`come_back`");
    Ok(())
}

/// `stay_alive` returns 7.
fn stays_alive(check: &mut Check) -> Outcome {
    let answer = check.ask("`stay_alive`", processes::stay_alive)?;
    ensure!(answer == 7, expected: "7", observed: "{answer}", look: "`stay_alive`");
    Ok(())
}

/// `come_to_an_end` returns.
fn comes_to_an_end(check: &mut Check) -> Outcome {
    check.ask("`come_to_an_end`", processes::come_to_an_end)
}

/// No process runs on.
fn leaves_no_process(check: &mut Check) -> Outcome {
    check.ask("`leave_no_process`", processes::leave_no_process)
}

/// No child goes without being waited for.
fn leaves_no_zombie(check: &mut Check) -> Outcome {
    check.ask("`leave_no_zombie`", processes::leave_no_zombie)
}

/// No descriptor stays open.
fn closes_what_it_opens(check: &mut Check) -> Outcome {
    check.ask("`close_what_it_opens`", processes::close_what_it_opens)
}

/// A machine without the device can show nothing.
fn finds_its_device(check: &mut Check) -> Outcome {
    let device = check.ask("`device`", processes::device)?;
    if !Path::new(&device).exists() {
        return Err(Stop::inconclusive(format!("this machine has no `{device}`")));
    }
    Ok(())
}
