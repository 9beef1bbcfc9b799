//! What the checks of a lab are written with.
//!
//! A check runs in a process of its own, the *supervisor*, which never calls the submission: the
//! submission runs in forked *workers* only. The supervisor watches them, asks the kernel about
//! them, judges their answers, and tells the grader what it saw ([`event`]). Whatever a worker
//! does (panics, exits, hangs, forks and forgets), the supervisor says so and cleans up.
//!
//! ```text
//! use harness::{Check, Outcome, ensure};
//!
//! harness::checks! {
//!     "the-sum-is-right" => the_sum_is_right,
//! }
//!
//! fn the_sum_is_right(check: &mut Check) -> Outcome {
//!     let sum = check.ask("`add(2, 2)`", || subject::add(2, 2))?;
//!     ensure!(sum == 4, expected: "4", observed: "{sum}", look: "`add`");
//!     Ok(())
//! }
//! ```

mod bystander;
mod check;
mod deadline;
mod entry;
pub mod event;
mod exploration;
pub mod faults;
#[cfg(test)]
mod mangled;
pub mod observe;
mod panics;
#[cfg(test)]
mod properties;
mod rng;
mod shared;
#[cfg(target_arch = "x86_64")]
pub mod step;
mod stop;
mod wire;

pub use bystander::Bystander;
pub use check::{Check, Options, Respondent, Stress, Student, Worker};
pub use deadline::stood_still;
pub use entry::run;
pub use exploration::{Exploration, JoinHandle, Model, exploring, note};
pub use rng::Rng;
pub use shared::{Shared, SharedSlice};
pub use stop::{Ending, Failure, Outcome, Stop};
pub use wire::Wire;

/// Declares the checks of a lab: defines `main`, and the libc functions that [`faults`] interposes.
///
/// Takes `"name" => function` pairs, each function a `fn(&mut Check) -> Outcome`.
#[macro_export]
macro_rules! checks {
    ($($name:literal => $function:path),+ $(,)?) => {
        $crate::interpose!();

        fn main() -> ::std::process::ExitCode {
            $crate::run(&[$(($name, $function)),+])
        }
    };
}
