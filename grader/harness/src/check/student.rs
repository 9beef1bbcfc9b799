//! One worker in the background.

use std::marker::PhantomData;
use std::rc::Rc;

use super::process::Process;
use super::supervisor::{Supervisor, Waited};
use super::{decoded, finished};
use crate::stop::{Ending, Stop};
use crate::wire::Wire;

/// A worker that runs while the check goes on. Dropped: killed and reaped.
pub struct Student<T> {
    supervisor: Rc<Supervisor>,
    process: [Process; 1],
    answer: PhantomData<T>,
}

impl<T: Wire> Student<T> {
    pub(super) fn new(supervisor: Rc<Supervisor>, process: Process) -> Student<T> {
        Student { supervisor, process: [process], answer: PhantomData }
    }

    /// The worker's process number.
    pub fn pid(&self) -> i32 {
        self.process[0].pid
    }

    /// Whether the worker has ended.
    pub fn ended(&mut self) -> bool {
        self.process[0].reap()
    }

    /// Waits for the answer.
    ///
    /// # Errors
    /// As [`Check::ask`](crate::Check::ask).
    pub fn join(self) -> Result<T, Stop> {
        let what = self.process[0].what.clone();
        finished(&what, self.ending()?)
    }

    /// Waits for the end, whatever it is.
    ///
    /// # Errors
    /// As [`Check::ending`](crate::Check::ending).
    pub fn ending(mut self) -> Result<Ending<T>, Stop> {
        let mut clock = self.supervisor.clock();
        match self.supervisor.wait(&mut clock, &mut self.process, || false)? {
            Waited::All | Waited::Died(_) | Waited::Early => {}
        }
        self.supervisor.forget(self.process[0].pid);
        let what = self.process[0].what.clone();
        let ending = decoded(&what, self.process[0].ending()?)?;
        if matches!(ending, Ending::Returned(_)) {
            self.supervisor.left_over(&what)?;
        }
        Ok(ending)
    }

    /// Kills the worker and everything below it.
    pub fn kill(mut self) {
        self.supervisor.kill(&mut self.process);
    }
}

impl<T> Drop for Student<T> {
    fn drop(&mut self) {
        if !self.process[0].reap() {
            self.supervisor.kill(&mut self.process);
        }
        self.supervisor.forget(self.process[0].pid);
    }
}
