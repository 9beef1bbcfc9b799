//! Runs unmodified Rust code in every interleaving up to a bound, under the C11 memory model.

mod api;
mod arena;
mod asm;
mod crash;
mod engine;
mod explorer;
mod finding;
mod futex;
mod instrument;
mod interpose;
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
pub use explorer::{Budget, Coverage, Explorer, Report};
pub use finding::{Blocked, Cause, Finding, Site, Waker};
pub use memory::clock::MAX_THREADS;
pub use memory::race::Touch;
pub use refusal::refuse;
pub use report::{Kind, Line, Place, Step, Told};
pub use schedule::{Decision, Deviation, NotASchedule, Schedule};
pub use thread::Woken;
pub use trace::{Event, Trace, What};
