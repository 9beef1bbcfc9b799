//! Runs unmodified Rust code in every interleaving up to a bound, under the C11 memory model.
//!
//! A *body* makes its objects and starts *model threads*; [`Explorer::run`] runs it again and again, each time another way,
//! until an execution fails or the [`Budget`] is used up. The [`Report`] says what was covered and, if an execution failed,
//! has the [`Finding`]: one with as few preemptions as any, replayed twice, with the [`Schedule`] that repeats it.
//!
//! ```no_run
//! use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
//! use explore::{Budget, Explorer};
//!
//! let report = Explorer::new(Budget::default()).run(|model| {
//!     let count: &'static AtomicU32 = model.share(AtomicU32::new(0));
//!     let add = move || count.store(count.load(Relaxed) + 1, Relaxed);
//!     let threads = [model.spawn("first", add), model.spawn("second", add)];
//!     threads.into_iter().for_each(|thread| thread.join());
//!     assert_eq!(count.load(Relaxed), 2, "an update was lost");
//! });
//! println!("{}", report.coverage);
//! if let Some(finding) = report.finding {
//!     println!("{}", finding.render(110));
//! }
//! ```
//!
//! **What must be built how.** The crates that are explored, body included, are compiled with [`twin::ARGUMENTS`], by
//! `RUSTC_WORKSPACE_WRAPPER`; everything else, this crate included, without. Other threads are let in before each atomic
//! operation, fence, futex call and yield of explored code, and its plain accesses are checked for data races. Code that is not
//! instrumented runs in one piece and is not checked; where it would wait, in one of std's own locks for example, the execution
//! is [refused](Cause::Refused).
//!
//! **What counts as a deviation.** By default the running thread runs on, a read takes the newest store, and a wake-up goes
//! to the first waiter. A preemption, an old value that C11 lets a read take, a store that goes before another in modification
//! order, a wait that ends for no reason, and a wake-up out of order are deviations; where the running thread cannot run on,
//! any other one may, at no cost. Bound after bound, all executions with at most so many deviations are visited, but for those
//! that are equivalent to another one.
//!
//! **What a result depends on.** The program and the budget, which counts executions and steps: never the clock. What the model
//! leaves out: values out of thin air and load buffering (as RC11 does); effects of plain races, which end the execution; and
//! thread-locals of explored code, which model threads share.

mod api;
mod arena;
mod asm;
mod coverage;
mod crash;
mod engine;
mod explorer;
mod finding;
mod futex;
mod instrument;
mod interpose;
mod mapped;
mod memory;
mod operations;
mod process;
mod refusal;
mod report;
mod schedule;
mod search;
mod shim;
mod thread;
mod trace;
pub mod twin;

pub use api::{JoinHandle, Model, exploring, note, outcome, spawn};
pub use coverage::{Coverage, Older};
pub use explorer::{Budget, Explorer, Report};
pub use finding::{Blocked, Cause, Finding, Site, Waker};
pub use memory::clock::MAX_THREADS;
pub use memory::race::Touch;
pub use refusal::refuse;
pub use report::{Kind, Line, Place, Step, Told};
pub use schedule::{Decision, Deviation, NotASchedule, Schedule};
pub use thread::Woken;
pub use trace::{Event, Trace, What};
