//! What a check says about an exploration. The body of one is compiled in both builds of a check binary; only the
//! explored one, made with the feature `explore`, can run it.

/// What is explored, and how much of it. All limits are counts, so the result never depends on the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exploration {
    /// At most this many deviations from the default in one execution: preemptions, old values read, and so on.
    pub bound: u8,
    /// At most this many executions.
    pub executions: u64,
    /// Futex waits may end for no reason, or by a signal, once in an execution.
    pub spurious: bool,
    /// Reads may take old values where C11 allows it.
    pub weak: bool,
}

impl Default for Exploration {
    fn default() -> Exploration {
        Exploration { bound: 3, executions: 200_000, spurious: true, weak: true }
    }
}

#[cfg(feature = "explore")]
pub use explore::{JoinHandle, Model, exploring, note};

/// Ends the execution when explored code makes a call that the explorer has no model of.
#[cfg(feature = "explore")]
pub(crate) fn refuse(call: &'static str) {
    // These do not wait, and what they change is not looked at.
    if exploring() && !matches!(call, "write" | "writev" | "mmap" | "mmap64" | "munmap") {
        explore::refuse(call);
    }
}

/// Nothing is explored.
#[cfg(not(feature = "explore"))]
pub(crate) fn refuse(_call: &'static str) {}

#[cfg(not(feature = "explore"))]
pub use plain::{JoinHandle, Model, exploring, note};

/// What stands in for the explorer in the plain build: it has the same names, and nobody can have a value of it.
#[cfg(not(feature = "explore"))]
mod plain {
    use std::convert::Infallible;
    use std::marker::PhantomData;

    /// The exploration, as the body sees it.
    #[derive(Debug)]
    pub struct Model(Infallible);

    impl Model {
        /// Starts a model thread with a name for the report.
        pub fn spawn<T: 'static>(&self, _name: &str, _body: impl FnOnce() -> T + 'static) -> JoinHandle<T> {
            match self.0 {}
        }

        /// Puts a value where all threads can refer to it, until the end of the execution.
        pub fn share<T>(&self, _value: T) -> &'static T {
            match self.0 {}
        }
    }

    /// A running model thread.
    #[derive(Debug)]
    pub struct JoinHandle<T>(Infallible, PhantomData<T>);

    impl<T> JoinHandle<T> {
        /// Waits for the thread's end and returns what it returned.
        pub fn join(self) -> T {
            match self.0 {}
        }

        /// The thread's number in reports.
        pub fn number(&self) -> usize {
            match self.0 {}
        }
    }

    /// Adds a line to the report of a failing execution, at this point of it; nothing outside an exploration.
    pub fn note(_text: &str) {}

    /// Whether this code runs inside an exploration.
    pub fn exploring() -> bool {
        false
    }
}
